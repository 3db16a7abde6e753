"""What does a worker cost while thousands of its tasks wait for their providers? Its heartbeats.

All tasks start, and end only when the watch is over. What the event loop spends on their timers counts.
"""

from __future__ import annotations

import asyncio

from benchmarks.bench import Bench
from benchmarks.draining import all_started, all_stored
from benchmarks.load import TYPE, specs
from benchmarks.machine import cpu_of
from benchmarks.probe import Cost
from benchmarks.results import Goal, Result

_SETTLE = 1.0
_SPARE = 1.5
"""Times as long as the watch are tasks in flight, so that none ends before it."""


async def measure(bench: Bench) -> list[Result]:
    tasks, watch = bench.sizes.flight, bench.sizes.flight_seconds
    seconds = (_SETTLE + watch * bench.sizes.runs) * _SPARE
    costs, used = list[Cost](), list[float]()
    async with bench.queue() as queue:
        await queue.pause(type=TYPE)
        await queue.enqueue_many(specs(0, tasks))
        with bench.marks(tasks) as marks:
            async with bench.workers(1, queue, marks, concurrency=tasks, seconds=seconds) as crew:
                (worker,) = crew
                await queue.resume(type=TYPE)
                await all_started(marks, crew)
                await asyncio.sleep(_SETTLE)
                for _ in range(bench.sizes.runs):
                    before = cpu_of(worker.pid)
                    with bench.probe.cost() as cost:
                        await asyncio.sleep(watch)
                    used.append(cpu_of(worker.pid) - before)
                    costs.append(cost)
                in_flight = (await queue.stats()).processing
                await all_stored(queue)
    shares = tuple(100 * cpu / cost.wall for cpu, cost in zip(used, costs, strict=True))
    return [
        Result(
            case=f"{tasks:,} in flight: the worker's CPU",
            unit="% of a core",
            values=shares,
            tasks=in_flight,
            goal=Goal("at most", 2.0),
        ),
        Result(
            case=f"{tasks:,} in flight: the server's CPU",
            unit="% of a core",
            values=tuple(100 * cost.server_cpu / cost.wall for cost in costs),
            tasks=in_flight,
        ),
    ]
