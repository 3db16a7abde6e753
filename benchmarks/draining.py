"""A full queue and some workers: how long until the last task has started, and what it cost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.load import TYPE, specs
from benchmarks.marks import Marks
from benchmarks.probe import Cost
from benchmarks.workers import Worker, until
from taskqueue import TaskQueue
from taskqueue.partitions import PartitionedQueue

_PATIENCE = 300.0
_POLL = 0.01


@dataclass(frozen=True, slots=True)
class Drained:
    """What came out of one drain.

    Attributes:
        started: Seconds from the first start of a handler to the last.
        ended: Seconds from the first start to the last end of a handler that takes its time.
        worker_cpu: Seconds of CPU that the workers spent.
        cost: What it cost the server, until the last result was stored.
    """

    started: float
    ended: float
    worker_cpu: float
    cost: Cost


async def drain(
    bench: Bench, tasks: int, *, processes: int = 1, concurrency: int | None = None, seconds: float = 0.0
) -> Drained:
    """Queue tasks, let workers have them all, and return when every result is stored.

    The type is paused until all workers are there, so that none has a start over the others.
    """
    async with bench.queue() as queue:
        await queue.pause(type=TYPE)
        await queue.enqueue_many(specs(0, tasks))
        with bench.marks(tasks) as marks:
            running = bench.workers(processes, queue, marks, concurrency=concurrency, seconds=seconds)
            async with running as crew:
                with bench.probe.cost() as cost:
                    await queue.resume(type=TYPE)
                    await all_started(marks, crew)
                    await all_stored(queue)
            started, ended = marks.last_start - marks.first_start, marks.last_end - marks.first_start
        return Drained(started / 1e9, ended / 1e9, sum(worker.cpu for worker in crew), cost)


async def all_stored(queue: TaskQueue | PartitionedQueue) -> None:
    """Return when nothing of the queue runs any more."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            if not (await queue.stats()).processing:
                return
            await asyncio.sleep(_POLL)


async def all_started(marks: Marks, crew: list[Worker]) -> None:
    """Return when every task has started."""
    starts, count, at = marks.starts, marks.tasks, 0

    def is_so() -> bool:
        # Goes on where it stopped the last time: to look at all marks again would take CPU time
        # away from the workers.
        nonlocal at
        while at < count and starts[at]:
            at += 1
        return at == count

    await until(is_so, crew, _PATIENCE)
