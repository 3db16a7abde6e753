"""Handlers with providers on a real server: who is asked, who is asked next, and what waits meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from scheduler import (
    Context,
    Fixed,
    GiveUp,
    Handlers,
    Misconfigured,
    RateLimited,
    Rejected,
    Retry,
    Scheduler,
    Unavailable,
)
from taskqueue import Task, TaskQueue, TaskSpec, TaskState
from taskqueue.errors import InvalidSetting

CHAIN = ("first", "second")


class Outside:
    """Two outside services: what each says to the next tasks, and who was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.says: dict[str, list[BaseException]] = {}

    async def answer(self, payload: dict[str, Any], context: Context) -> dict[str, Any]:
        """Raise what the provider of this task says next, if anything, else answer."""
        provider = context.provider
        assert provider is not None
        self.asked.append(provider)
        if waiting := self.says.get(provider):
            raise waiting.pop(0)
        context.spend(200)
        return {"by": provider}


@pytest.fixture
def outside() -> Outside:
    """Both services work."""
    return Outside()


@pytest.fixture
def scheduler(queue: TaskQueue, outside: Outside) -> Scheduler:
    """A scheduler whose one handler has a chain of two."""
    made = Scheduler(queue=queue, concurrency=10, backoff=Fixed(timedelta(0)), max_attempts=3)
    made.handler("ASK", providers=CHAIN)(outside.answer)
    return made


async def ended(scheduler: Scheduler, queue: TaskQueue, task: Task) -> Task:
    """Run everything that is queued, and return what became of *task*."""
    async with asyncio.timeout(20):
        await scheduler.run(burst=True, handle_signals=False)
    found = await queue.get(task.id)
    assert found is not None
    return found


async def until(predicate: Callable[[], object]) -> None:
    """Let the event loop turn until something is true."""
    async with asyncio.timeout(10):
        while not predicate():
            await asyncio.sleep(0.005)


async def test_the_first_of_a_chain_is_asked(scheduler: Scheduler, queue: TaskQueue) -> None:
    """The record says who answered; nobody else was tried."""
    task = await ended(scheduler, queue, await queue.enqueue("ASK", {}))

    assert (task.state, task.result, task.provider, task.tried) == (
        TaskState.COMPLETED,
        {"by": "first"},
        "first",
        (),
    )


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (Unavailable("down"), "failed"),
        (Misconfigured("no such key"), "misconfigured"),
        (RateLimited(timedelta(seconds=9)), "limited"),
        (RateLimited(), "limited"),
        (ZeroDivisionError("a mistake in the provider's code"), "failed"),
    ],
)
async def test_the_next_takes_over_in_the_same_attempt(
    scheduler: Scheduler, queue: TaskQueue, outside: Outside, error: Exception, verdict: str
) -> None:
    """The record says who answered and what was tried."""
    outside.says["first"] = [error]

    task = await ended(scheduler, queue, await queue.enqueue("ASK", {}))

    assert (task.state, task.attempt, task.provider) == (TaskState.COMPLETED, 1, "second")
    assert task.tried == (f"first:{verdict}",)
    assert outside.asked == ["first", "second"]


@pytest.mark.parametrize(
    ("error", "code"), [(Rejected("too rude"), "REJECTED"), (GiveUp("no", code="NO"), "NO")]
)
async def test_a_task_that_was_rejected_is_asked_of_nobody_else(
    scheduler: Scheduler, queue: TaskQueue, outside: Outside, error: Exception, code: str
) -> None:
    """The provider works: its breaker counts nothing."""
    outside.says["first"] = [error]

    task = await ended(scheduler, queue, await queue.enqueue("ASK", {}))

    assert task.error is not None
    assert (task.state, task.error.code, outside.asked) == (TaskState.FAILED, code, ["first"])
    assert task.tried == ("first:answered",)
    (state,) = await queue.store.providers()
    assert (state.failures, state.used) == (0, 0)


async def test_a_retry_stays_with_its_provider(
    scheduler: Scheduler, queue: TaskQueue, outside: Outside
) -> None:
    """It says nothing about the provider; the next attempt begins at the head of the chain."""
    outside.says["first"] = [Retry(timedelta(0), "once more")]

    task = await ended(scheduler, queue, await queue.enqueue("ASK", {}))

    assert (task.result, task.attempt, outside.asked) == ({"by": "first"}, 2, ["first", "first"])


async def test_an_attempt_is_spent_when_the_whole_chain_failed(
    scheduler: Scheduler, queue: TaskQueue, outside: Outside
) -> None:
    """After the last attempt the task has FAILED, with the last reason."""
    outside.says = {"first": [Unavailable("down")] * 3, "second": [Unavailable("also down")] * 3}

    task = await ended(scheduler, queue, await queue.enqueue("ASK", {}))

    assert task.error is not None
    assert (task.state, task.attempt, task.error.message) == (TaskState.FAILED, 3, "also down")
    assert outside.asked == ["first", "second"] * 3


async def test_a_failure_spends_the_attempt_though_the_last_was_only_limited(
    scheduler: Scheduler, queue: TaskQueue, outside: Outside
) -> None:
    """Else a broken and a limited provider would send a task round in circles for free."""
    outside.says = {"first": [Unavailable("down")], "second": [RateLimited(timedelta(seconds=60))]}

    task = await ended(scheduler, queue, await queue.enqueue("ASK", {}))

    assert (task.state, task.attempt, task.result) == (TaskState.COMPLETED, 2, {"by": "first"})


async def test_a_limited_chain_spends_nothing_and_keeps_the_place(queue: TaskQueue, outside: Outside) -> None:
    """The task goes back to its old place, and is claimed again when the first provider has cooled."""
    order: list[str] = []

    async def note(payload: dict[str, Any], context: Context) -> dict[str, Any]:
        result = await outside.answer(payload, context)
        order.append(payload["name"])
        return result

    scheduler = Scheduler(queue=queue, concurrency=1)
    scheduler.handler("ASK", providers=["first"])(note)
    outside.says["first"] = [RateLimited(timedelta(milliseconds=300))]
    tasks = await queue.enqueue_many([TaskSpec(type="ASK", payload={"name": name}) for name in "abc"])

    task = await ended(scheduler, queue, tasks[0])

    assert (task.state, task.attempt, task.deliveries, order) == (TaskState.COMPLETED, 1, 2, ["a", "b", "c"])


async def test_a_dead_provider_delays_nobody_else(queue: TaskQueue) -> None:
    """While its tasks wait for the breaker, those of another type run, lower priorities too."""
    done: list[str] = []

    async def dead(payload: dict[str, Any], context: Context) -> None:
        raise Unavailable("connection refused")

    async def well(payload: dict[str, Any]) -> None:
        done.append(payload["name"])

    scheduler = Scheduler(queue=queue, concurrency=4, backoff=Fixed(timedelta(0)), max_attempts=100)
    scheduler.handler("DEAD", providers=["dead"])(dead)
    scheduler.handler("WELL")(well)
    await queue.enqueue_many([TaskSpec(type="DEAD", payload={}, priority=10) for _ in range(200)])
    async with scheduler:
        async with asyncio.timeout(10):
            while (states := await queue.store.providers()) == [] or states[0].condition != "open":
                await asyncio.sleep(0.01)
        for name in "abc":
            task = await queue.enqueue("WELL", {"name": name})
            assert (await queue.wait(task.id, timeout=5)).state is TaskState.COMPLETED

    assert done == ["a", "b", "c"]
    assert (await queue.stats(type="DEAD")).queued == 200


async def test_tokens_count_in_the_provider_that_used_them(
    scheduler: Scheduler, queue: TaskQueue, outside: Outside
) -> None:
    """Also those of a provider that failed in the end."""

    async def costly(payload: dict[str, Any], context: Context) -> None:
        context.spend(700)
        raise Unavailable("broke off")

    costly_scheduler = Scheduler(queue=queue, backoff=Fixed(timedelta(0)), max_attempts=1)
    costly_scheduler.handler("COSTLY", providers=["first"])(costly)
    await queue.store.set_provider("first", {"tokens": "1000"})
    await ended(costly_scheduler, queue, await queue.enqueue("COSTLY", {}))
    await ended(scheduler, queue, await queue.enqueue("ASK", {}))

    client = queue.store._client
    spare = float(await client.hget(queue.store.keys.limit_provider("first"), "spare"))
    # A second refills 17 of them.
    assert 100 <= spare < 250


async def test_a_cancelled_task_leaves_its_provider_with_a_free_slot(queue: TaskQueue) -> None:
    """And says nothing about it."""
    running = asyncio.Event()

    async def forever(payload: dict[str, Any], context: Context) -> None:
        running.set()
        await asyncio.Event().wait()

    scheduler = Scheduler(queue=queue)
    scheduler.handler("ASK", providers=CHAIN)(forever)
    async with scheduler:
        task = await queue.enqueue("ASK", {})
        await running.wait()
        await queue.cancel(task.id)
        assert (await queue.wait(task.id, timeout=5)).state is TaskState.CANCELLED

    assert [(each.used, each.failures) for each in await queue.store.providers()] == [(0, 0)]


async def test_failures_are_logged_without_their_text_if_it_is_unknown(
    scheduler: Scheduler, queue: TaskQueue, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    """The text of an exception that is none of ours may quote anything."""
    outside.says["first"] = [ValueError("a secret"), Misconfigured("the key is refused")]
    with caplog.at_level(logging.DEBUG, "scheduler.providers"):
        await ended(scheduler, queue, await queue.enqueue("ASK", {}))
        await ended(scheduler, queue, await queue.enqueue("ASK", {}))

    told = [record.getMessage() for record in caplog.records if record.name == "scheduler.providers"]
    assert "a secret" not in " ".join(told)
    assert [record.levelname for record in caplog.records if record.name == "scheduler.providers"] == [
        "WARNING",
        "ERROR",
    ]
    assert "the key is refused" in told[1]


async def test_a_group_opens_what_its_handlers_share_and_closes_it_last(
    queue: TaskQueue, outside: Outside
) -> None:
    """Before the first task, and after the last one has ended."""
    seen: list[str] = []

    @asynccontextmanager
    async def shared() -> AsyncIterator[None]:
        seen.append("opened")
        yield
        seen.append("closed")

    async def handle(payload: dict[str, Any]) -> None:
        seen.append("ran")

    group = Handlers(shared)
    group.handler("ASK")(handle)
    scheduler = Scheduler(queue=queue)
    scheduler.include(group)

    await ended(scheduler, queue, await queue.enqueue("ASK", {}))

    assert seen == ["opened", "ran", "closed"]


@pytest.mark.parametrize(
    "chain", ["first", [""], ["a b"], ["first", "first"], [1], [str(number) for number in range(17)], None]
)
def test_a_chain_that_is_none_is_refused(chain: Any) -> None:
    """Each name once, up to 16, in the letters of names."""
    with pytest.raises(InvalidSetting, match="providers"):
        Handlers().handler("ASK", providers=chain)


def test_only_an_async_handler_with_a_context_can_have_providers() -> None:
    """Another one could not know which provider it was sent to."""

    def blocking(payload: dict[str, Any], context: Context) -> None: ...

    async def blind(payload: dict[str, Any]) -> None: ...

    for function in (blocking, blind):
        with pytest.raises(InvalidSetting, match="async function of \\(payload, context\\)"):
            Handlers().handler("ASK", providers=CHAIN)(function)
