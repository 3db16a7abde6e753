"""How much memory of the server does a task take, while it is queued and after it has ended?

What the server says that it uses, less what it used before, by the number of tasks. The producer
has left when it is read, so that its connection's buffers do not count.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.lending import Lending
from benchmarks.load import TYPE, specs
from benchmarks.results import Goal, Result
from taskqueue import TaskQueue

_BATCH = 1_000


async def measure(bench: Bench) -> list[Result]:
    runs = await bench.repeat(lambda: _bytes_per_task(bench))
    tasks = bench.sizes.memory
    queued, completed = (tuple(values) for values in zip(*runs, strict=True))
    return [
        Result(case="queued", unit="bytes/task", values=queued, tasks=tasks, goal=Goal("at most", 450)),
        Result(case="completed", unit="bytes/task", values=completed, tasks=tasks),
    ]


async def _bytes_per_task(bench: Bench) -> tuple[float, float]:
    tasks = bench.sizes.memory
    async with bench.queue() as queue:
        # What is there once, such as the scripts, is there before the first reading.
        await _enqueue(bench, queue, 1)
        await _complete(bench, queue, 1)
        before = bench.probe.memory()
        await _enqueue(bench, queue, tasks)
        queued = bench.probe.memory()
        await _complete(bench, queue, tasks)
        completed = bench.probe.memory()
    return (queued - before) / tasks, (completed - before) / tasks


async def _enqueue(bench: Bench, queue: TaskQueue, tasks: int) -> None:
    async with TaskQueue.connect(bench.url, name=queue.name) as producer:
        await producer.enqueue_many(specs(0, tasks))


async def _complete(bench: Bench, queue: TaskQueue, tasks: int) -> None:
    async with TaskQueue.connect(bench.url, name=queue.name) as worker:
        done = await Lending(worker, [TYPE], _BATCH).take_all()
    assert done == tasks, f"{done:,} of {tasks:,} tasks were completed"
