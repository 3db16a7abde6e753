"""How many tasks go through one and two worker processes in a second?

Counted from the first start of a handler to the last. Every result is stored, heartbeats and
maintenance run; the handler does nothing.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.draining import drain
from benchmarks.results import Goal, Result, medians

PROCESSES = (1, 2)


async def measure(bench: Bench) -> list[Result]:
    return [
        await _rate(bench, processes, concurrency)
        for concurrency in bench.concurrency
        for processes in PROCESSES
    ]


async def _rate(bench: Bench, processes: int, concurrency: int) -> Result:
    tasks = bench.sizes.drain
    runs = await bench.repeat(lambda: drain(bench, tasks, processes=processes, concurrency=concurrency))
    also = medians(
        {
            "worker CPU us/task": run.worker_cpu / tasks * 1e6,
            "server CPU us/task": run.cost.server_cpu / tasks * 1e6,
            "tasks/script call": tasks / run.cost.script_calls,
        }
        for run in runs
    )
    return Result(
        case=f"{processes} worker process{'es' * (processes > 1)}, {concurrency} slots each",
        unit="tasks/s",
        values=tuple((tasks - 1) / run.started for run in runs),
        tasks=tasks,
        also=also,
        goal=Goal("at least", 45_000) if processes == 1 and concurrency == bench.concurrency[0] else None,
    )
