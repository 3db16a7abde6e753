"""SIGTERM lets a worker finish what it can, and gives the rest back; a second one ends it at once."""

from __future__ import annotations

import signal
import time

import pytest

from taskqueue import TaskQueue, TaskState
from tests.crash.conftest import StartWorker
from tests.crash.harness import Journal, enqueue_notes, until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_the_worker(
    queue: TaskQueue, journal: Journal, start_worker: StartWorker, number: signal.Signals
) -> None:
    """Short tasks end within the grace period, long ones go back unspent, waiting ones are not touched."""
    worker = start_worker(grace=1.5, concurrency=4)
    await worker.ready()
    short = await enqueue_notes(queue, 2, seconds=0.5)
    long = await enqueue_notes(queue, 2, seconds=60)
    waiting = await enqueue_notes(queue, 2, seconds=0)
    await until(lambda: len(journal.events("start")) == 4, "four tasks have started", 10)

    worker.send(number)
    assert await worker.ended(timeout=8) == 0

    states = [await queue.get(task.id) for task in (*short, *long, *waiting)]
    told = [(task.state, task.attempt, task.deliveries, task.crashes) for task in states if task is not None]
    assert told == [
        (TaskState.COMPLETED, 1, 1, 0),
        (TaskState.COMPLETED, 1, 1, 0),
        (TaskState.QUEUED, 0, 1, 0),
        (TaskState.QUEUED, 0, 1, 0),
        (TaskState.QUEUED, 0, 0, 0),
        (TaskState.QUEUED, 0, 0, 0),
    ]
    assert {event.task for event in journal.events("cancel")} == {task.id for task in long}
    assert len(journal.events("start")) == 4
    assert await queue.store.workers() == []


async def test_the_next_worker_goes_on_where_the_first_was_stopped(
    queue: TaskQueue, journal: Journal, start_worker: StartWorker
) -> None:
    """What was given back runs first, without waiting for a lease; its first attempt is its first."""
    first = start_worker(grace=0, concurrency=1)
    await first.ready()
    [interrupted] = await enqueue_notes(queue, 1, seconds=1)
    [later] = await enqueue_notes(queue, 1, seconds=0)
    await until(lambda: journal.events("start"), "the task has started", 10)
    first.send(signal.SIGTERM)
    assert await first.ended(timeout=8) == 0

    second = start_worker(concurrency=1)
    ended = await queue.wait(interrupted.id, timeout=15)
    await queue.wait(later.id, timeout=10)

    assert (ended.state, ended.attempt, ended.deliveries) == (TaskState.COMPLETED, 1, 2)
    order = [event.task for event in journal.events("start") if event.pid == second.pid]
    assert order == [interrupted.id, later.id]


async def test_a_second_signal_ends_the_worker_at_once(
    queue: TaskQueue, journal: Journal, start_worker: StartWorker
) -> None:
    """However long the grace period is; the task is left to its lease."""
    worker = start_worker(grace=60)
    await worker.ready()
    [task] = await enqueue_notes(queue, 1, seconds=60)
    await until(lambda: journal.events("start"), "the task has started", 10)

    worker.send(signal.SIGTERM)
    await until(lambda: "a second signal exits at once" in worker.log, "the first signal is heard", 5)
    sent = time.monotonic()
    worker.send(signal.SIGTERM)
    code = await worker.ended(timeout=5)

    assert code == 128 + signal.SIGTERM
    assert time.monotonic() - sent < 2
    left = await queue.get(task.id)
    assert left is not None
    assert (left.state, left.deliveries) == (TaskState.PROCESSING, 1)
