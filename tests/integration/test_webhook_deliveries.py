"""From the end of a task to its receiver: every scheduler that the command line starts delivers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from scheduler import Context, Scheduler
from taskqueue import Task, TaskQueue, TaskState
from taskqueue.cli.deliveries import add_deliveries
from taskqueue.names import WEBHOOK_TYPE
from taskqueue.settings import Settings
from taskqueue.testing import FakeClock
from taskqueue.webhooks import EgressPolicy
from taskqueue.webhooks.delivering import deliver, wait_after
from tests.integration.webhook_receiver import receiver, silence, status

MINUTES = [2, 4, 8, 16]


@pytest.fixture
async def queue(url: str, queue_name: str, clock: FakeClock) -> AsyncIterator[TaskQueue]:
    """A queue whose clock the test moves."""
    async with TaskQueue.connect(url, name=queue_name, clock=clock) as opened:
        yield opened


def delivering(
    queue: TaskQueue,
    *,
    local: bool = True,
    secret: str | None = None,
    concurrency: int = 100,
    **settings: Any,
) -> Scheduler:
    """A scheduler as the command line starts it, with a handler that does nothing."""
    scheduler = Scheduler(queue=queue, concurrency=concurrency)

    @scheduler.handler("CHATGPT", max_attempts=1)
    async def answer(payload: dict[str, Any], context: Context) -> dict[str, Any]:
        if payload.get("fail"):
            raise ValueError("no")
        return {"text": "hello"}

    add_deliveries(scheduler, Settings.load(local_webhooks=local, secret=secret, **settings))
    return scheduler


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def delivery_of(queue: TaskQueue) -> Any:
    """Return the one delivery that there is."""
    [task] = [task async for task in queue.tasks(type=WEBHOOK_TYPE)]
    return task


@pytest.mark.parametrize("fail", [False, True], ids=["COMPLETED", "FAILED"])
async def test_the_end_of_a_task_reaches_its_receiver(queue: TaskQueue, fail: bool) -> None:
    """The body is what GET would return, without its webhook; then the record says when it was taken."""
    async with receiver(status(204)) as seen, delivering(queue):
        task = await queue.enqueue("CHATGPT", {"fail": fail}, webhook=seen.url(), cost=3)
        await until(lambda: seen.requests)
        found = await queue.get(task.id)
        while found is not None and found.delivered_at is None:
            await asyncio.sleep(0.01)
            found = await queue.get(task.id)

    [request] = seen.requests
    body = json.loads(request.body)
    assert request.line.startswith("POST /hook ")
    assert request.headers["Content-Type"] == "application/json"
    assert set(body) == {"task", "credits", "response"}
    assert (body["task"]["id"], body["task"]["status"]) == (task.id, "FAILED" if fail else "COMPLETED")
    assert body["credits"] == {"creditsToCharge": 3, "creditsCharged": 0 if fail else 3}
    assert body["response"]
    assert found is not None


async def test_a_delivery_is_tried_five_times(queue: TaskQueue, clock: FakeClock) -> None:
    """About 2, 4, 8 and 16 minutes apart; then it is given up, and the task is what it was."""
    async with receiver(status(500)) as seen, delivering(queue):
        task = await queue.enqueue("CHATGPT", {}, webhook=seen.url())
        for number, minutes in enumerate(MINUTES, start=1):
            await until(lambda number=number: len(seen.requests) == number)  # type: ignore[misc]
            while (waiting := await delivery_of(queue)).not_before is None:
                await asyncio.sleep(0.01)
            assert waiting.not_before - clock_time(clock) == timedelta(minutes=minutes)
            clock.advance(timedelta(minutes=minutes))
            await queue.store.promote()
        await until(lambda: len(seen.requests) == 5)
        while (given_up := await delivery_of(queue)).state is not TaskState.FAILED:
            await asyncio.sleep(0.01)

    bodies = {request.body for request in seen.requests}
    found = await queue.get(task.id)
    assert given_up.attempt == 5
    assert len(bodies) == 1
    assert found is not None
    assert (found.state, found.delivered_at) == (TaskState.COMPLETED, None)


def clock_time(clock: FakeClock) -> Any:
    """Return the clock's instant."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(clock() / 1000, UTC)


def test_the_schedule_is_that_of_the_contract() -> None:
    """Minutes after the first, second, third and fourth attempt."""
    assert [wait_after(attempt) / timedelta(minutes=1) for attempt in (1, 2, 3, 4)] == MINUTES


async def test_an_address_that_may_not_be_called_is_not_called(queue: TaskQueue) -> None:
    """Not again either; and the tenant learns nothing about this network."""
    async with receiver(status(204)) as seen, delivering(queue, local=False):
        await queue.enqueue("CHATGPT", {}, webhook=seen.url())
        while True:
            found = [task async for task in queue.tasks(type=WEBHOOK_TYPE)]
            if found and found[0].state is TaskState.FAILED:
                break
            await asyncio.sleep(0.01)

    assert seen.connections == 0
    assert found[0].attempt == 1
    assert found[0].error is not None
    assert found[0].error.code == "DELIVERY_REFUSED"


async def test_a_receiver_that_hangs_delays_nobody_else(queue: TaskQueue) -> None:
    """Work goes on, and so do deliveries to other hosts."""
    async with receiver(silence) as hanging, receiver(status(200)) as quick, delivering(queue):
        for _ in range(6):
            await queue.enqueue("CHATGPT", {}, webhook=hanging.url("127.0.0.1"))
        await until(lambda: hanging.connections >= 4)
        task = await queue.enqueue("CHATGPT", {}, webhook=quick.url("localhost"))

        assert (await queue.wait(task.id, timeout=10)).state is TaskState.COMPLETED
        await until(lambda: quick.requests)
        assert hanging.connections == 4


async def test_receivers_that_hang_leave_half_of_the_slots_to_others(queue: TaskQueue) -> None:
    """A worker with four slots, and more deliveries to hosts that say nothing: two of them at a time."""
    async with receiver(silence) as hanging, delivering(queue, concurrency=4):
        for host in ("127.0.0.1", "localhost"):
            for _ in range(4):
                await queue.enqueue("CHATGPT", {}, webhook=hanging.url(host))
        await until(lambda: hanging.connections == 2)
        tasks = [await queue.enqueue("CHATGPT", {}) for _ in range(10)]

        assert {(await queue.wait(task.id, timeout=10)).state for task in tasks} == {TaskState.COMPLETED}
        assert hanging.connections == 2


async def test_a_scheduler_of_a_user_may_have_its_own_way(queue: TaskQueue) -> None:
    """A handler for deliveries that is there already stays."""
    scheduler = Scheduler(queue=queue)
    told: list[str] = []

    @scheduler.handler(WEBHOOK_TYPE)
    async def own(payload: dict[str, Any]) -> None:
        told.append(payload["task"])

    @scheduler.handler("CHATGPT")
    async def answer(payload: dict[str, Any]) -> None:
        del payload

    add_deliveries(scheduler, Settings.load())
    async with scheduler:
        task = await queue.enqueue("CHATGPT", {}, webhook="https://example.org")
        await until(lambda: told == [task.id])


async def test_how_often_and_when_is_tried_can_be_set(queue: TaskQueue, clock: FakeClock) -> None:
    """Three attempts, the second 10 s after the first, the third after 20 more; then it is given up."""
    settings: dict[str, Any] = {"webhook_attempts": 3, "webhook_backoff": "10s"}
    async with receiver(status(500)) as seen, delivering(queue, **settings):
        await queue.enqueue("CHATGPT", {}, webhook=seen.url())
        for attempt, seconds in ((1, 10), (2, 20)):
            while len(seen.requests) < attempt:
                await asyncio.sleep(0.01)
            while (waiting := await delivery_of(queue)).not_before is None:
                await asyncio.sleep(0.01)
            assert waiting.not_before - clock_time(clock) == timedelta(seconds=seconds)
            clock.advance(timedelta(seconds=seconds))
        while (given_up := await delivery_of(queue)).state is not TaskState.FAILED:
            await asyncio.sleep(0.01)

    assert (given_up.attempt, len(seen.requests)) == (3, 3)


async def test_what_has_nothing_to_tell_is_not_delivered(queue: TaskQueue) -> None:
    """Its record is gone, it was submitted again, or it has no webhook: nobody is called."""

    def body_of(task: Task) -> bytes:
        raise AssertionError("there is nothing to say")

    async with receiver(status(204)) as there:
        redriven = await queue.enqueue("CHATGPT", {}, webhook=there.url())
        await queue.cancel(redriven.id)
        await queue.redrive(redriven.id)
        silent = await queue.enqueue("CHATGPT", {})
        await queue.cancel(silent.id)

        for task_id in (redriven.id, silent.id, "unknown"):
            policy = EgressPolicy()
            assert await deliver(queue, task_id, 1, body_of=body_of, policy=policy, secrets=None) is None

        assert there.requests == []
