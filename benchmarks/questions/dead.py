"""What do others lose when a provider is dead and a hundred thousand tasks wait for it?

A scheduler in this process has a handler for two types: one whose only provider refuses every call, so
that its breaker is open and lets a probe through now and then, and one that works. Runs without and with
the backlog follow each other in turn; the ratio is of their medians.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from statistics import median
from typing import Any

from benchmarks.bench import Bench
from benchmarks.load import TYPE, specs
from benchmarks.marks import now
from benchmarks.payloads import payload
from benchmarks.results import Goal, Result
from scheduler import Context, Scheduler, Unavailable
from taskqueue import TaskQueue, TaskSpec

DEAD = "dead"
PROVIDER = "dead-provider"
_GAP = (0.002, 0.004)
_AT_ONCE = 20_000


async def measure(bench: Bench) -> list[Result]:
    waiting = bench.sizes.backlog
    found: dict[int, list[tuple[float, float]]] = {0: [], waiting: []}
    for _ in range(bench.sizes.runs):
        for backlog, values in found.items():
            values.append(await _others(bench, backlog))
    results = []
    for number, (what, unit, better) in enumerate(
        (("drain", "tasks/s", "at least"), ("latency p50", "ms", "at most"))
    ):
        without, beside = ([pair[number] for pair in found[backlog]] for backlog in found)
        tasks = bench.sizes.drain if number == 0 else bench.sizes.latency
        results += [
            Result(case=f"{what} of the others, alone", unit=unit, values=tuple(without), tasks=tasks),
            Result(
                case=f"{what}, {waiting:,} waiting for a dead provider",
                unit=unit,
                values=tuple(beside),
                tasks=tasks,
            ),
            Result(
                case=f"{what}, with / without",
                unit="times",
                values=(median(beside) / median(without),),
                tasks=tasks,
                goal=Goal("at least", 0.95) if better == "at least" else Goal("at most", 1.05),
            ),
        ]
    return results


async def _others(bench: Bench, backlog: int) -> tuple[float, float]:
    """Return tasks a second and the median latency in ms of the type that works."""
    async with bench.queue() as queue:
        for first in range(0, backlog, _AT_ONCE):
            count = min(_AT_ONCE, backlog - first)
            await queue.enqueue_many([TaskSpec(type=DEAD, payload={}, priority=10) for _ in range(count)])
        starts: dict[int, int] = {}
        async with _working(queue, starts, bench.concurrency[0]):
            if backlog:
                await _breaker_open(queue)
            rate = await _drained(queue, starts, bench.sizes.drain)
            latencies = [await _latency(queue, starts, number) for number in range(bench.sizes.latency)]
    return rate, median(latencies)


@asynccontextmanager
async def _working(queue: TaskQueue, starts: dict[int, int], concurrency: int) -> AsyncIterator[None]:
    scheduler = Scheduler(queue=queue, concurrency=concurrency, max_attempts=1000)

    @scheduler.handler(DEAD, providers=[PROVIDER])
    async def dead(_: dict[str, Any], __: Context) -> None:
        raise Unavailable("connection refused")

    @scheduler.handler(TYPE)
    async def well(payload: dict[str, Any]) -> None:
        starts[payload["i"]] = now()

    async with scheduler:
        yield


async def _breaker_open(queue: TaskQueue) -> None:
    while True:
        states = await queue.store.providers()
        if any(state.condition == "open" for state in states):
            return
        await asyncio.sleep(0.01)


async def _drained(queue: TaskQueue, starts: dict[int, int], count: int) -> float:
    await queue.pause(type=TYPE)
    await queue.enqueue_many(specs(0, count))
    await queue.resume(type=TYPE)
    while len(starts) < count or (await queue.stats(type=TYPE)).processing:  # noqa: ASYNC110  no event says so
        await asyncio.sleep(0.01)
    took = max(starts.values()) - min(starts.values())
    starts.clear()
    return count / (took / 1e9)


async def _latency(queue: TaskQueue, starts: dict[int, int], number: int) -> float:
    await asyncio.sleep(Random(number).uniform(*_GAP))
    called = now()
    task = await queue.enqueue(TYPE, payload(number))
    await queue.wait(task.id)
    return (starts[number] - called) / 1e6
