"""Waiting for the end of a task."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskqueue import TaskNotFound, TaskQueue, TaskQueueError, TaskState, WaitTimeout
from taskqueue.errors import InvalidSetting
from taskqueue.testing import drain

HANDLERS = {"ADD": lambda payload: payload["a"] + payload["b"], "BREAK": lambda payload: 1 / 0}


async def test_wait_returns_the_finished_task(queue: TaskQueue) -> None:
    """Somebody waits, then the task runs: the waiter gets its result."""
    task = await queue.enqueue("ADD", {"a": 1, "b": 2})
    waiter = asyncio.create_task(queue.wait(task.id, timeout=30))

    await drain(queue, HANDLERS)

    finished = await waiter
    assert (finished.state, finished.result) == (TaskState.COMPLETED, 3)


async def test_wait_returns_at_once_if_the_task_has_finished(queue: TaskQueue) -> None:
    """There is nothing left to wait for."""
    task = await queue.enqueue("ADD", {"a": 1, "b": 2})
    await drain(queue, HANDLERS)

    assert (await queue.wait(task.id)).result == 3
    assert (await queue.wait(task.id, timeout=0)).result == 3


async def test_wait_returns_whatever_the_end_is(queue: TaskQueue) -> None:
    """A failed and a cancelled task have ended too."""
    failing = await queue.enqueue("BREAK", {})
    unwanted = await queue.enqueue("ADD", {})
    waiters = asyncio.gather(queue.wait(failing.id, 30), queue.wait(unwanted.id, 30))

    await queue.cancel(unwanted.id)
    await drain(queue, HANDLERS)

    failed, cancelled = await waiters
    assert failed.state is TaskState.FAILED
    assert failed.error is not None
    assert "ZeroDivisionError" in failed.error.message
    assert cancelled.state is TaskState.CANCELLED


async def test_many_may_wait_for_one_task_and_one_for_many(queue: TaskQueue) -> None:
    """Three waiters for each of twenty tasks, all of which run."""
    tasks = [await queue.enqueue("ADD", {"a": n, "b": 0}) for n in range(20)]
    waiters = [asyncio.create_task(queue.wait(task.id, 30)) for task in tasks for _ in range(3)]

    await drain(queue, HANDLERS)

    assert [task.result for task in await asyncio.gather(*waiters)] == [
        n for n in range(20) for _ in range(3)
    ]


async def test_who_waits_too_long_is_told_and_the_task_goes_on(queue: TaskQueue) -> None:
    """WaitTimeout is a TimeoutError; the task is still there, and runs later."""
    task = await queue.enqueue("ADD", {"a": 1, "b": 2})

    for timeout in (0, 0.05):
        with pytest.raises(WaitTimeout) as expired:
            await queue.wait(task.id, timeout)
        assert isinstance(expired.value, TimeoutError)
        assert (expired.value.task_id, expired.value.timeout) == (task.id, timeout)

    await drain(queue, HANDLERS)
    assert (await queue.wait(task.id)).result == 3


async def test_one_who_gives_up_does_not_disturb_the_others(queue: TaskQueue) -> None:
    """Two wait for the same task; one of them is cancelled."""
    task = await queue.enqueue("ADD", {"a": 1, "b": 2})
    patient = asyncio.create_task(queue.wait(task.id, 30))
    impatient = asyncio.create_task(queue.wait(task.id, 30))
    await asyncio.sleep(0)
    impatient.cancel()

    await drain(queue, HANDLERS)

    assert (await patient).result == 3
    assert impatient.cancelled()


@pytest.mark.parametrize("task_id", ["unknown", "not an id", ""])
async def test_nobody_waits_for_what_is_not_there(queue: TaskQueue, task_id: str) -> None:
    """An unknown id would be waited for until the end of time."""
    for timeout in (None, 0, 5):
        with pytest.raises(TaskNotFound):
            await queue.wait(task_id, timeout)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon", True])
async def test_a_time_that_makes_no_sense_is_refused(queue: TaskQueue, timeout: Any) -> None:
    """Seconds, 0 or more, or None."""
    with pytest.raises(InvalidSetting, match="timeout"):
        await queue.wait("t", timeout)


async def test_closing_the_queue_wakes_those_who_wait(url: str, queue_name: str) -> None:
    """They get an error and are not left hanging."""
    async with TaskQueue.connect(url, name=queue_name) as queue:
        task = await queue.enqueue("ADD", {})
        waiter = asyncio.create_task(queue.wait(task.id))
        await asyncio.sleep(0)

    with pytest.raises(TaskQueueError, match="closed"):
        await waiter
