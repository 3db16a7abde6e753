"""What does a worker cost that has nothing to do? Commands, CPU time and memory."""

from __future__ import annotations

import asyncio

from benchmarks.bench import Bench
from benchmarks.probe import Cost
from benchmarks.results import Result

_SETTLE = 1.0


async def measure(bench: Bench) -> list[Result]:
    costs: list[Cost] = []
    async with bench.queue() as queue:
        with bench.marks(1) as marks:
            async with bench.workers(1, queue, marks) as crew:
                await asyncio.sleep(_SETTLE)
                for _ in range(bench.sizes.runs):
                    with bench.probe.cost() as cost:
                        await asyncio.sleep(bench.sizes.idle_seconds)
                    costs.append(cost)
    watched = _SETTLE + sum(cost.wall for cost in costs)
    (worker,) = crew
    return [
        _per_second("script calls", "/s", [(cost.script_calls, cost.wall) for cost in costs]),
        _per_second("all commands", "/s", [(cost.calls.total(), cost.wall) for cost in costs]),
        _per_second("server CPU", "ms/s", [(cost.server_cpu * 1000, cost.wall) for cost in costs]),
        Result(case="worker CPU", unit="ms/s", values=(worker.cpu * 1000 / watched,), tasks=0),
        Result(case="worker memory, at most", unit="MiB", values=(worker.peak_memory / 2**20,), tasks=0),
    ]


def _per_second(case: str, unit: str, counted: list[tuple[float, float]]) -> Result:
    return Result(case=case, unit=unit, values=tuple(count / wall for count, wall in counted), tasks=0)
