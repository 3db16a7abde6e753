"""How long from the call of enqueue() to the start of the handler, on an idle worker?

One task at a time, with a small random gap in between in which everything falls asleep. Nothing
polls meanwhile: the start is read when the gap is over.
"""

from __future__ import annotations

import asyncio
from random import Random

from benchmarks.bench import Bench
from benchmarks.load import TYPE
from benchmarks.marks import Marks, now
from benchmarks.payloads import payload
from benchmarks.results import Goal, Result
from benchmarks.workers import Worker, until
from taskqueue import TaskQueue

_GAP = (0.005, 0.010)
_PATIENCE = 20.0
_WARM_UP = 20


async def measure(bench: Bench) -> list[Result]:
    runs = await bench.repeat(lambda: _latencies(bench))
    tasks = bench.sizes.latency
    return [
        Result(
            case="p50", unit="ms", values=_percentiles(runs, 0.50), tasks=tasks, goal=Goal("at most", 0.8)
        ),
        Result(case="p99", unit="ms", values=_percentiles(runs, 0.99), tasks=tasks),
    ]


def _percentiles(runs: list[list[float]], share: float) -> tuple[float, ...]:
    return tuple(sorted(run)[min(len(run) - 1, int(len(run) * share))] for run in runs)


async def _latencies(bench: Bench) -> list[float]:
    chance, count = Random(1), bench.sizes.latency + _WARM_UP
    async with bench.queue() as queue:
        with bench.marks(count) as marks:
            async with bench.workers(1, queue, marks) as crew:
                measured = [await _latency(queue, marks, number, crew, chance) for number in range(count)]
    return measured[_WARM_UP:]


async def _latency(queue: TaskQueue, marks: Marks, number: int, crew: list[Worker], chance: Random) -> float:
    called = now()
    await queue.enqueue(TYPE, payload(number))
    await asyncio.sleep(chance.uniform(*_GAP))
    await until(lambda: bool(marks.starts[number]), crew, _PATIENCE)
    return (marks.starts[number] - called) / 1e6
