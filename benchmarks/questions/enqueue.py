"""How many tasks are accepted in a second? One at a time, by 50 coroutines at once, and in bulk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from benchmarks.bench import Bench
from benchmarks.load import TYPE, specs
from benchmarks.payloads import payload
from benchmarks.results import Goal, Result, medians
from taskqueue import TaskQueue

PRODUCERS = 50
BULK = 1_000
WARM_UP = 200

Enqueue = Callable[[TaskQueue, int], Awaitable[None]]


async def measure(bench: Bench) -> list[Result]:
    sizes = bench.sizes
    return [
        await _rate(bench, "one awaited at a time", one_at_a_time, sizes.one),
        await _rate(
            bench, f"{PRODUCERS} at once", many_at_once, sizes.concurrent, goal=Goal("at least", 40_000)
        ),
        await _rate(
            bench, f"enqueue_many() of {BULK:,} each", in_bulk, sizes.bulk, goal=Goal("at least", 80_000)
        ),
        await _rate(bench, "one enqueue_many() of all", all_at_once, sizes.bulk),
    ]


async def one_at_a_time(queue: TaskQueue, count: int) -> None:
    for number in range(count):
        await queue.enqueue(TYPE, payload(number))


async def many_at_once(queue: TaskQueue, count: int) -> None:
    numbers = iter(range(count))

    async def produce() -> None:
        for number in numbers:
            await queue.enqueue(TYPE, payload(number))

    await asyncio.gather(*(produce() for _ in range(PRODUCERS)))


async def in_bulk(queue: TaskQueue, count: int) -> None:
    for first in range(0, count, BULK):
        await queue.enqueue_many(specs(first, min(BULK, count - first)))


async def all_at_once(queue: TaskQueue, count: int) -> None:
    await queue.enqueue_many(specs(0, count))


async def _rate(bench: Bench, case: str, enqueue: Enqueue, count: int, *, goal: Goal | None = None) -> Result:
    async def run() -> tuple[float, dict[str, float]]:
        async with bench.queue() as queue:
            await enqueue(queue, min(WARM_UP, count))
            with bench.probe.cost() as cost:
                await enqueue(queue, count)
        also = {
            "client CPU us/task": cost.client_cpu / count * 1e6,
            "server CPU us/task": cost.server_cpu / count * 1e6,
        }
        return count / cost.wall, also

    runs = await bench.repeat(run)
    return Result(
        case=case,
        unit="tasks/s",
        values=tuple(rate for rate, _ in runs),
        tasks=count,
        also=medians(also for _, also in runs),
        goal=goal,
    )
