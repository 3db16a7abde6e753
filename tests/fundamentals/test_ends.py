"""How tasks end, and what an operator can do about it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import TaskNotFound, TaskQueue, TaskState
from taskqueue.errors import TaskNotFinished
from taskqueue.testing import FakeClock, drain


def work(payload: dict[str, object]) -> object:
    """Fail if told so, else return the payload."""
    if payload.get("broken"):
        raise RuntimeError("no paper")
    return payload


HANDLERS = {"PRINT": work}


async def test_a_finished_task_has_its_result_and_its_times(queue: TaskQueue, clock: FakeClock) -> None:
    """Accepted, started two seconds later, done at once: latency counts from the start."""
    task = await queue.enqueue("PRINT", {"pages": 3})
    clock.advance(timedelta(seconds=2))

    [done] = await drain(queue, HANDLERS)

    assert (done.id, done.state, done.attempt) == (task.id, TaskState.COMPLETED, 1)
    assert done.result == {"pages": 3}
    assert done.started_at == task.created_at + timedelta(seconds=2)
    assert done.finished_at == done.started_at
    assert done.latency == timedelta(0)
    assert done.error is None


async def test_a_failed_task_says_why(queue: TaskQueue) -> None:
    """Code for programs, message for people."""
    await queue.enqueue("PRINT", {"broken": True})

    [failed] = await drain(queue, HANDLERS)

    assert failed.state is TaskState.FAILED
    assert failed.error is not None
    assert failed.error.code == "HANDLER_ERROR"
    assert failed.error.message == "RuntimeError: no paper"


async def test_a_result_that_cannot_be_carried_fails_the_task(queue: TaskQueue) -> None:
    """The handler returned a set, which no queue can carry: the task says so, the others run."""
    await queue.enqueue("TAGS", {})
    await queue.enqueue("PRINT", {})

    failed, done = await drain(queue, {"TAGS": lambda payload: {"a", "b"}, **HANDLERS})

    assert failed.error is not None
    assert failed.error.message.startswith("InvalidTask: result")
    assert done.state is TaskState.COMPLETED


async def test_a_queued_task_is_cancelled_at_once(queue: TaskQueue) -> None:
    """It never runs."""
    task = await queue.enqueue("PRINT", {})

    cancelled = await queue.cancel(task.id)

    assert cancelled.state is TaskState.CANCELLED
    assert cancelled.finished_at is not None
    assert await drain(queue, HANDLERS) == []


async def test_a_delayed_task_can_be_cancelled(queue: TaskQueue, clock: FakeClock) -> None:
    """Its instant comes and nothing happens."""
    task = await queue.enqueue("PRINT", {}, delay=timedelta(hours=1))

    await queue.cancel(task.id)
    clock.advance(timedelta(hours=2))

    assert await drain(queue, HANDLERS) == []
    assert (await queue.stats()).queued == 0


async def test_cancelling_what_has_ended_changes_nothing(queue: TaskQueue) -> None:
    """The task is returned as it ended."""
    task = await queue.enqueue("PRINT", {"pages": 3})
    await drain(queue, HANDLERS)

    assert (await queue.cancel(task.id)).state is TaskState.COMPLETED
    assert (await queue.cancel(task.id)).result == {"pages": 3}


async def test_a_completion_that_comes_first_wins(queue: TaskQueue) -> None:
    """The task is cancelled while it runs, but its handler finishes all the same."""

    async def unstoppable(payload: dict[str, object]) -> str:
        asked = await queue.cancel(task.id)
        assert asked.state is TaskState.PROCESSING
        return "done"

    task = await queue.enqueue("PRINT", {})
    [done] = await drain(queue, {"PRINT": unstoppable})

    assert (done.state, done.result) == (TaskState.COMPLETED, "done")


async def test_a_failed_task_can_be_redriven(queue: TaskQueue) -> None:
    """As a new submission: behind those that came meanwhile, its counts at zero, the same id."""
    broken = await queue.enqueue("PRINT", {"broken": True})
    await drain(queue, HANDLERS)
    waiting = await queue.enqueue("PRINT", {})

    again = await queue.redrive(broken.id)

    assert (again.id, again.state, again.attempt, again.error) == (broken.id, TaskState.QUEUED, 0, None)
    assert again.sequence > waiting.sequence
    ran = await drain(queue, {"PRINT": lambda payload: "printed"})
    assert [(task.id, task.result) for task in ran] == [(waiting.id, "printed"), (broken.id, "printed")]


async def test_a_cancelled_task_can_be_redriven(queue: TaskQueue) -> None:
    """Somebody changed their mind."""
    task = await queue.enqueue("PRINT", {})
    await queue.cancel(task.id)

    assert (await queue.redrive(task.id)).state is TaskState.QUEUED
    assert [done.state for done in await drain(queue, HANDLERS)] == [TaskState.COMPLETED]


async def test_only_what_failed_or_was_cancelled_can_be_redriven(queue: TaskQueue) -> None:
    """A queued and a completed task are refused by their state."""
    task = await queue.enqueue("PRINT", {})

    with pytest.raises(TaskNotFinished, match="QUEUED"):
        await queue.redrive(task.id)
    await drain(queue, HANDLERS)
    with pytest.raises(TaskNotFinished, match="COMPLETED"):
        await queue.redrive(task.id)


@pytest.mark.parametrize("task_id", ["unknown", "no id at all"])
async def test_an_unknown_task_is_unknown_everywhere(queue: TaskQueue, task_id: str) -> None:
    """get() answers None, since a caller may well ask; verbs refuse."""
    assert await queue.get(task_id) is None
    with pytest.raises(TaskNotFound):
        await queue.cancel(task_id)
    with pytest.raises(TaskNotFound):
        await queue.redrive(task_id)
    assert await queue.discard([task_id]) == 0


async def test_dead_letters_can_be_listed_redriven_and_discarded(queue: TaskQueue) -> None:
    """They are the FAILED tasks; what is queued is never discarded."""
    for tenant in ("ada", "bob"):
        await queue.enqueue("PRINT", {"broken": True}, tenant=tenant)
    await drain(queue, HANDLERS)
    queued = await queue.enqueue("PRINT", {})

    dead = [task async for task in queue.tasks(state=TaskState.FAILED)]
    assert {task.tenant for task in dead} == {"ada", "bob"}
    [of_ada] = [task async for task in queue.tasks(state="FAILED", tenant="ada")]
    await queue.redrive(of_ada.id)
    assert [task.tenant async for task in queue.tasks(state=TaskState.FAILED)] == ["bob"]

    assert await queue.discard([task.id for task in dead] + [queued.id]) == 1
    assert [task async for task in queue.tasks(state=TaskState.FAILED)] == []
    assert await queue.get(queued.id) is not None


async def test_clear_removes_what_is_queued(queue: TaskQueue) -> None:
    """By tenant or by type, delayed ones too; finished tasks stay."""
    done = await queue.enqueue("PRINT", {}, tenant="ada")
    await drain(queue, HANDLERS)
    for tenant in ("ada", "bob"):
        await queue.enqueue("PRINT", {}, tenant=tenant)
        await queue.enqueue("SCAN", {}, tenant=tenant, delay=timedelta(hours=1))

    assert await queue.clear(tenant="ada") == 2
    assert await queue.clear(type="SCAN") == 1
    assert (await queue.stats()).queued == 1
    assert await queue.clear() == 1
    assert (await queue.stats()).queued == 0
    assert await queue.get(done.id) is not None
