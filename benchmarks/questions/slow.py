"""How well are slots used by tasks that take 50 ms each? From the first start to the last end."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.draining import drain
from benchmarks.results import Result

SECONDS = 0.05


async def measure(bench: Bench) -> list[Result]:
    tasks, slots = bench.sizes.slow, bench.concurrency[0]
    runs = await bench.repeat(lambda: drain(bench, tasks, seconds=SECONDS))
    rounds = -(-tasks // slots)
    return [
        Result(
            case=f"{tasks:,} tasks of {SECONDS * 1000:g} ms in {slots} slots",
            unit="s",
            values=tuple(run.ended for run in runs),
            tasks=tasks,
            also={"s would be ideal": rounds * SECONDS},
        )
    ]
