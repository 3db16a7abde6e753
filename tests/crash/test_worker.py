"""A worker dies in the middle of its work: another one takes over, and every task still ends."""

from __future__ import annotations

import time

import pytest

from taskqueue import TaskQueue, TaskState
from tests.crash.conftest import StartWorker
from tests.crash.harness import Journal, enqueue_notes, say, until

TAKEOVER = 5.0
"""Seconds beyond the lease within which the task of a dead worker runs again."""


@pytest.mark.parametrize(
    "lease", [2.0, pytest.param(15.0, marks=[pytest.mark.slow, pytest.mark.timeout(120)])]
)
async def test_the_task_of_a_killed_worker_runs_again_within_its_lease_and_five_seconds(
    queue: TaskQueue, journal: Journal, start_worker: StartWorker, lease: float
) -> None:
    """SIGKILL while the handler sleeps: another worker runs it again, and its result is stored once."""
    first = start_worker(lease=lease)
    await first.ready()
    [task] = await enqueue_notes(queue, 1, seconds=60)
    await until(lambda: journal.events("start"), "the task has started", 10)
    second = start_worker(lease=lease)
    await second.ready()

    first.kill9()
    killed = time.monotonic()
    await until(lambda: journal.pids(after=killed), "another worker runs it", lease + TAKEOVER)
    [again] = journal.events("start", after=killed)

    running = await queue.get(task.id)
    assert again.pid == second.pid
    assert again.at - killed <= lease + TAKEOVER
    assert running is not None
    assert (running.state, running.crashes, running.attempt) == (TaskState.PROCESSING, 1, 2)
    say(f"lease {lease:g} s: run again {again.at - killed:.2f} s after the kill")


async def test_a_task_that_was_taken_over_ends_once(
    queue: TaskQueue, journal: Journal, start_worker: StartWorker
) -> None:
    """Ten tasks are lost with their worker; each ends with the result of the other worker, and only that."""
    first = start_worker(lease=1, concurrency=10)
    await first.ready()
    tasks = await enqueue_notes(queue, 10, seconds=1)
    await until(lambda: len(journal.events("start")) == 10, "all tasks have started", 10)
    first.kill9()
    second = start_worker(lease=1, concurrency=10)
    await second.ready()

    ended = [await queue.wait(task.id, timeout=20) for task in tasks]

    for task in ended:
        assert (task.state, task.crashes, task.deliveries) == (TaskState.COMPLETED, 1, 2)
        assert task.result == {"pid": second.pid, "delivery": 2}
    assert set(journal.ended().values()) == {1}


async def test_a_task_that_kills_its_worker_three_times_is_a_dead_letter(
    queue: TaskQueue, journal: Journal, start_worker: StartWorker
) -> None:
    """The handler exits its process: after the third time it is FAILED, and the last worker is named."""
    bystander = start_worker(lease=1)
    await bystander.ready()
    task = await queue.enqueue("KILLER", {})
    pids = []

    for number in (1, 2, 3):
        worker = start_worker(lease=1, types="KILLER")
        pids.append(worker.pid)
        assert await worker.ended(timeout=20) == 9
        assert len(journal.events("start", task=task.id)) == number

    dead = await queue.wait(task.id, timeout=10)
    assert (dead.state, dead.crashes, dead.deliveries) == (TaskState.FAILED, 3, 3)
    assert dead.error is not None
    assert dead.error.code == "CRASHED"
    assert dead.worker is not None
    assert f"-{pids[-1]}-" in dead.worker
    assert [event.pid for event in journal.events("start")] == pids
    assert bystander.is_running
