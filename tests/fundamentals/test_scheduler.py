"""Running tasks with a scheduler: handlers in, finished tasks out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from scheduler import Context, Fixed, GiveUp, Retry, Scheduler
from taskqueue import Task, TaskQueue, TaskSpec, TaskState


class Order(BaseModel):
    """What the payload of a BUY task must look like."""

    item: str
    count: int


@pytest.fixture
async def queue(url: str, queue_name: str) -> AsyncIterator[TaskQueue]:
    """A queue that lives by the server's clock."""
    async with TaskQueue.connect(url, name=queue_name) as connected:
        yield connected


@pytest.fixture
def scheduler(queue: TaskQueue) -> Scheduler:
    """A scheduler for that queue which retries at once."""
    return Scheduler(queue=queue, concurrency=10, backoff=Fixed(timedelta(0)))


async def finished(scheduler: Scheduler, queue: TaskQueue, task: Task) -> Task:
    """Run everything that is queued, then return the task."""
    await scheduler.run(burst=True)
    return await queue.wait(task.id, timeout=0)


async def test_a_handler_gets_the_payload_and_returns_the_result(
    scheduler: Scheduler, queue: TaskQueue
) -> None:
    """The whole way of a task, in six lines."""

    @scheduler.handler("ADD")
    async def add(payload: dict[str, Any]) -> int:
        total: int = payload["a"] + payload["b"]
        return total

    task = await queue.enqueue("ADD", {"a": 1, "b": 2})

    done = await finished(scheduler, queue, task)
    assert (done.state, done.result, done.attempt) == (TaskState.COMPLETED, 3, 1)


async def test_a_scheduler_can_run_inside_of_a_service(scheduler: Scheduler, queue: TaskQueue) -> None:
    """It works in the background for as long as the block lasts; the service waits for its results."""

    @scheduler.handler("ADD")
    async def add(payload: dict[str, Any]) -> Any:
        return payload["a"] + payload["b"]

    async with scheduler:
        task = await queue.enqueue("ADD", {"a": 1, "b": 2})
        assert (await queue.wait(task.id, timeout=30)).result == 3


async def test_a_handler_may_be_an_ordinary_function(scheduler: Scheduler, queue: TaskQueue) -> None:
    """It runs in a thread, so that it may block."""

    @scheduler.handler("ADD")
    def add(payload: dict[str, Any]) -> Any:
        return payload["a"] + payload["b"]

    assert (await finished(scheduler, queue, await queue.enqueue("ADD", {"a": 1, "b": 2}))).result == 3


async def test_a_payload_can_be_checked_by_a_model(scheduler: Scheduler, queue: TaskQueue) -> None:
    """The handler gets the model; what does not fit it fails at once, by its fields, without a retry."""

    @scheduler.handler("BUY")
    async def buy(order: Order) -> str:
        return f"{order.count} x {order.item}"

    good = await queue.enqueue("BUY", {"item": "tea", "count": 2})
    bad = await queue.enqueue("BUY", {"item": "tea", "count": "many"})

    assert (await finished(scheduler, queue, good)).result == "2 x tea"
    failed = await queue.wait(bad.id, timeout=0)
    assert failed.error is not None
    assert failed.error.code == "INVALID_PAYLOAD"
    assert "count" in str(failed.error.details)
    assert failed.attempt == 1


async def test_a_failed_attempt_is_repeated(scheduler: Scheduler, queue: TaskQueue) -> None:
    """Twice it goes wrong, the third time it works."""

    @scheduler.handler("CALL")
    async def call(payload: dict[str, Any], context: Context) -> str:
        if context.attempt < 3:
            raise ConnectionError("the line is busy")
        return "connected"

    done = await finished(scheduler, queue, await queue.enqueue("CALL", {}))

    assert (done.state, done.result, done.attempt) == (TaskState.COMPLETED, "connected", 3)


async def test_a_task_that_always_fails_becomes_a_dead_letter(scheduler: Scheduler, queue: TaskQueue) -> None:
    """After the attempts that it may have; what went wrong last is kept."""

    @scheduler.handler("CALL")
    async def call(payload: dict[str, Any]) -> None:
        raise ConnectionError("the line is busy")

    dead = await finished(scheduler, queue, await queue.enqueue("CALL", {}, max_attempts=2))

    assert (dead.state, dead.attempt) == (TaskState.FAILED, 2)
    assert dead.error is not None
    assert "the line is busy" in dead.error.message
    assert [task.id async for task in queue.tasks(state=TaskState.FAILED)] == [dead.id]


async def test_a_handler_can_say_how_it_goes_on(scheduler: Scheduler, queue: TaskQueue) -> None:
    """`Retry` asks for another attempt, `GiveUp` says that none makes sense."""

    @scheduler.handler("CALL")
    async def call(payload: dict[str, Any], context: Context) -> None:
        if context.attempt == 1:
            raise Retry(after=timedelta(milliseconds=1))
        raise GiveUp("the number does not exist", code="UNKNOWN_NUMBER")

    failed = await finished(scheduler, queue, await queue.enqueue("CALL", {}))

    assert (failed.state, failed.attempt) == (TaskState.FAILED, 2)
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("UNKNOWN_NUMBER", "the number does not exist")


async def test_an_attempt_that_takes_too_long_is_stopped(scheduler: Scheduler, queue: TaskQueue) -> None:
    """The timeout of the task is over; its handler is cancelled, its slot is free."""

    @scheduler.handler("CALL")
    async def call(payload: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    task = await queue.enqueue("CALL", {}, timeout=timedelta(milliseconds=50), max_attempts=1)

    failed = await finished(scheduler, queue, task)
    assert failed.error is not None
    assert failed.error.code == "TIMEOUT"


async def test_a_running_task_can_be_cancelled(scheduler: Scheduler, queue: TaskQueue) -> None:
    """The handler is told at once, cleans up, and the task ends as CANCELLED."""
    began, cleaned_up = asyncio.Event(), asyncio.Event()

    @scheduler.handler("CALL")
    async def call(payload: dict[str, Any]) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    async with scheduler:
        task = await queue.enqueue("CALL", {})
        await began.wait()
        assert (await queue.cancel(task.id)).state is TaskState.PROCESSING

        assert (await queue.wait(task.id, timeout=30)).state is TaskState.CANCELLED
    assert cleaned_up.is_set()


async def test_a_handler_can_tell_how_far_it_is(scheduler: Scheduler, queue: TaskQueue) -> None:
    """Whoever looks at the task sees its progress while it runs."""
    told, looked = asyncio.Event(), asyncio.Event()

    @scheduler.handler("COPY")
    async def copy(payload: dict[str, Any], context: Context) -> None:
        await context.progress({"copied": 3, "of": 10})
        told.set()
        await looked.wait()

    async with scheduler:
        task = await queue.enqueue("COPY", {})
        await told.wait()
        running = await queue.get(task.id)
        looked.set()

    assert running is not None
    assert (running.state, running.progress) == (TaskState.PROCESSING, {"copied": 3, "of": 10})


async def test_a_handler_runs_no_more_tasks_at_once_than_it_may(
    scheduler: Scheduler, queue: TaskQueue
) -> None:
    """Two at a time, here; both slots are used."""
    running, most = 0, 0

    @scheduler.handler("CALL", concurrency=2)
    async def call(payload: dict[str, Any]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    await queue.enqueue_many([TaskSpec(type="CALL", payload={}) for _ in range(10)])

    summary = await scheduler.run(burst=True)
    assert (summary.completed, most) == (10, 2)


async def test_handlers_share_what_the_lifespan_opens(queue: TaskQueue) -> None:
    """A client, a pool: opened before the first task, closed after the last."""
    events: list[str] = []

    @asynccontextmanager
    async def phone() -> AsyncIterator[str]:
        events.append("plugged in")
        yield "the phone"
        events.append("unplugged")

    scheduler = Scheduler(queue=queue, lifespan=phone)

    @scheduler.handler("CALL")
    async def call(payload: dict[str, Any], context: Context) -> None:
        events.append(f"called with {context.state}")

    await queue.enqueue("CALL", {})
    await scheduler.run(burst=True)

    assert events == ["plugged in", "called with the phone", "unplugged"]
