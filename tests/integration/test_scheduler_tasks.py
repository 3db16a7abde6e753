"""A queue and a scheduler on a real server: what becomes of tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import redis
from pydantic import BaseModel

from scheduler import CallNext, Context, Fixed, GiveUp, Handlers, RateLimited, Retry, Scheduler, Summary
from taskqueue import Task, TaskQueue, TaskSpec, TaskState
from taskqueue.errors import TaskNotFound
from taskqueue.keys import Keys
from taskqueue.store import ClaimRequest, Release


@pytest.fixture
def scheduler(url: str, queue_name: str) -> Scheduler:
    """A scheduler on the test's queue, which retries at once."""
    return Scheduler(url, name=queue_name, concurrency=10, backoff=Fixed(timedelta(0)))


async def burst(scheduler: Scheduler) -> Summary:
    """Run everything that is queued."""
    async with asyncio.timeout(20):
        return await scheduler.run(burst=True)


async def after_burst(scheduler: Scheduler, queue: TaskQueue, task: Task) -> Task:
    """Run everything that is queued, and return what became of *task*."""
    await burst(scheduler)
    found = await queue.get(task.id)
    assert found is not None
    return found


async def until(predicate: Callable[[], object]) -> None:
    """Let the event loop turn until something is true."""
    async with asyncio.timeout(10):
        while not predicate():
            await asyncio.sleep(0.005)


async def test_a_task_is_run_and_its_result_is_stored(scheduler: Scheduler, queue: TaskQueue) -> None:
    """The whole way: enqueue, claim, handler, report."""

    @scheduler.handler("ADD")
    async def add(payload: dict[str, Any]) -> dict[str, int]:
        return {"sum": payload["a"] + payload["b"]}

    task = await after_burst(scheduler, queue, await queue.enqueue("ADD", {"a": 2, "b": 3}))

    assert (task.state, task.result, task.attempt) == (TaskState.COMPLETED, {"sum": 5}, 1)


async def test_one_slot_runs_tasks_in_exact_order(scheduler: Scheduler, queue: TaskQueue) -> None:
    """The highest priority first, and within one by submission, over all types."""
    ran: list[int] = []

    async def note(payload: dict[str, Any]) -> None:
        ran.append(payload["n"])

    one_slot = Scheduler(queue=queue, concurrency=1)
    one_slot.handler("A")(note)
    one_slot.handler("B")(note)
    priorities = [1, 5, 10, 5, 1, 7, 7, 10, 2, 5] * 5
    await queue.enqueue_many(
        TaskSpec(type="AB"[n % 2], payload={"n": n}, priority=priority)
        for n, priority in enumerate(priorities)
    )

    await burst(one_slot)

    assert ran == sorted(range(len(priorities)), key=lambda n: (-priorities[n], n))


async def test_concurrency_holds_for_each_handler_and_over_all(
    scheduler: Scheduler, queue: TaskQueue
) -> None:
    """While every slot is used."""
    running: dict[str, int] = {"A": 0, "B": 0, "SYNC": 0}
    most: dict[str, int] = {"A": 0, "B": 0, "SYNC": 0, "all": 0}

    def enter(type_: str) -> None:
        running[type_] += 1
        most[type_] = max(most[type_], running[type_])
        most["all"] = max(most["all"], sum(running.values()))

    async def handle(payload: dict[str, Any], context: Context) -> None:
        enter(context.task.type)
        await asyncio.sleep(0.01)
        running[context.task.type] -= 1

    def handle_in_thread(payload: dict[str, Any]) -> None:
        enter("SYNC")
        time.sleep(0.01)
        running["SYNC"] -= 1

    limited = Scheduler(queue=queue, concurrency=7)
    limited.handler("A", concurrency=3)(handle)
    limited.handler("B", concurrency=4)(handle)
    limited.handler("SYNC", concurrency=2)(handle_in_thread)
    await queue.enqueue_many(
        TaskSpec(type=type_, payload={}) for type_ in ("A", "B", "SYNC") for _ in range(40)
    )

    assert (await burst(limited)).completed == 120
    assert {type_: most[type_] for type_ in running} == {"A": 3, "B": 4, "SYNC": 2}
    assert most["all"] == 7


async def test_a_full_handler_does_not_hold_up_the_others(scheduler: Scheduler, queue: TaskQueue) -> None:
    """Tasks of a free type overtake a thousand of a full one, whatever their priority."""
    gate = asyncio.Event()
    ran: list[str] = []

    async def slow(payload: dict[str, Any]) -> None:
        await gate.wait()

    async def fast(payload: dict[str, Any]) -> None:
        ran.append("fast")

    scheduler.handler("SLOW", concurrency=2)(slow)
    scheduler.handler("FAST", concurrency=1)(fast)
    await queue.enqueue_many(TaskSpec(type="SLOW", payload={}, priority=10) for _ in range(1000))

    async with scheduler:
        await queue.enqueue_many(TaskSpec(type="FAST", payload={}) for _ in range(5))
        await until(lambda: len(ran) == 5)
        assert (await queue.stats(type="SLOW")).processing == 2
        scheduler.stop()
        gate.set()
    assert (await queue.clear(type="SLOW")) == 998


async def test_failed_attempts_are_repeated_until_one_works(scheduler: Scheduler, queue: TaskQueue) -> None:
    """Failed twice, done at the third."""

    @scheduler.handler("FLAKY")
    async def flaky(payload: dict[str, Any], context: Context) -> int:
        if context.attempt < 3:
            raise ConnectionError("try again")
        return context.attempt

    task = await after_burst(scheduler, queue, await queue.enqueue("FLAKY", {}))

    assert (task.state, task.result, task.attempt, task.deliveries) == (TaskState.COMPLETED, 3, 3, 3)


@pytest.mark.parametrize(("own", "attempts"), [(None, 4), (2, 2)])
async def test_used_up_attempts_end_a_task_as_failed(
    scheduler: Scheduler, queue: TaskQueue, own: int | None, attempts: int
) -> None:
    """The number given at enqueue beats the handler's; the last error is stored."""

    @scheduler.handler("BAD", max_attempts=4)
    async def bad(payload: dict[str, Any], context: Context) -> None:
        raise ValueError(f"attempt {context.attempt}")

    task = await after_burst(scheduler, queue, await queue.enqueue("BAD", {}, max_attempts=own))

    assert (task.state, task.attempt) == (TaskState.FAILED, attempts)
    assert task.error is not None
    assert (task.error.code, task.error.message) == ("HANDLER_ERROR", f"ValueError: attempt {attempts}")


async def test_give_up_ends_a_task_at_its_first_attempt(scheduler: Scheduler, queue: TaskQueue) -> None:
    """No further one makes sense."""

    @scheduler.handler("HOPELESS")
    async def hopeless(payload: dict[str, Any]) -> None:
        raise GiveUp("the account is closed", details={"status": 410})

    task = await after_burst(scheduler, queue, await queue.enqueue("HOPELESS", {}))

    assert (task.state, task.attempt) == (TaskState.FAILED, 1)
    assert task.error is not None
    assert (task.error.code, task.error.details) == ("GIVEN_UP", {"status": 410})


async def test_retry_waits_as_long_as_the_handler_says(scheduler: Scheduler, queue: TaskQueue) -> None:
    """And spends an attempt; a burst waits for it, too."""
    times: list[float] = []

    @scheduler.handler("LATER")
    async def later(payload: dict[str, Any]) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise Retry(after=0.3)

    task = await after_burst(scheduler, queue, await queue.enqueue("LATER", {}))

    assert (task.state, task.attempt) == (TaskState.COMPLETED, 2)
    assert 0.29 <= times[1] - times[0] < 1


async def test_rate_limited_spends_no_attempt(scheduler: Scheduler, queue: TaskQueue) -> None:
    """However often; deliveries count on."""

    @scheduler.handler("LIMITED", max_attempts=1)
    async def limited(payload: dict[str, Any], context: Context) -> None:
        if context.deliveries < 4:
            raise RateLimited(after=timedelta(milliseconds=20))

    task = await after_burst(scheduler, queue, await queue.enqueue("LIMITED", {}))

    assert (task.state, task.attempt, task.deliveries) == (TaskState.COMPLETED, 1, 4)


class Question(BaseModel):
    """A payload."""

    prompt: str


async def test_a_payload_that_does_not_fit_fails_with_its_fields(
    scheduler: Scheduler, queue: TaskQueue
) -> None:
    """At once; the next task of the type runs."""

    @scheduler.handler("ASK")
    async def ask(payload: Question) -> Question:
        return payload

    bad = await queue.enqueue("ASK", {"promt": "typo"}, priority=9)
    good = await queue.enqueue("ASK", {"prompt": "why"})
    await burst(scheduler)

    failed, done = await queue.get(bad.id), await queue.get(good.id)
    assert failed is not None
    assert done is not None
    assert (failed.state, failed.attempt) == (TaskState.FAILED, 1)
    assert failed.error is not None
    assert failed.error.code == "INVALID_PAYLOAD"
    assert [each["field"] for each in failed.error.details] == ["prompt"]
    assert (done.state, done.result) == (TaskState.COMPLETED, {"prompt": "why"})


async def test_a_result_that_cannot_be_stored_fails_its_task_only(
    scheduler: Scheduler, queue: TaskQueue
) -> None:
    """With the reason; the worker goes on."""

    @scheduler.handler("GIVE")
    async def give(payload: dict[str, Any]) -> Any:
        return {1, 2} if payload["bad"] else "fine"

    bad = await queue.enqueue("GIVE", {"bad": True}, priority=9)
    good = await queue.enqueue("GIVE", {"bad": False})
    summary = await burst(scheduler)

    failed = await queue.get(bad.id)
    assert failed is not None
    assert failed.error is not None
    assert failed.error.code == "INVALID_RESULT"
    assert (await queue.wait(good.id, timeout=1)).result == "fine"
    assert (summary.completed, summary.failed) == (1, 1)


async def test_a_timeout_ends_the_attempt(scheduler: Scheduler, queue: TaskQueue) -> None:
    """The next one may work."""

    @scheduler.handler("SLOW", timeout=0.05)
    async def slow(payload: dict[str, Any], context: Context) -> str:
        if context.attempt == 1:
            await asyncio.sleep(30)
        return "in time"

    task = await after_burst(scheduler, queue, await queue.enqueue("SLOW", {}))

    assert (task.state, task.attempt, task.result) == (TaskState.COMPLETED, 2, "in time")


async def test_cancelling_a_running_task_stops_its_handler_at_once(
    scheduler: Scheduler, queue: TaskQueue
) -> None:
    """Through the worker's inbox, long before the next heartbeat."""
    started, stopped = asyncio.Event(), asyncio.Event()

    @scheduler.handler("LONG")
    async def long(payload: dict[str, Any]) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async with scheduler:
        task = await queue.enqueue("LONG", {})
        await asyncio.wait_for(started.wait(), 5)
        await queue.cancel(task.id)
        await asyncio.wait_for(stopped.wait(), 2)
        assert (await queue.wait(task.id, timeout=5)).state is TaskState.CANCELLED


async def test_a_cancel_reaches_a_handler_in_a_thread(scheduler: Scheduler, queue: TaskQueue) -> None:
    """As `context.cancelled`; the heartbeat alone would do, too."""
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    @scheduler.handler("LONG")
    def long(payload: dict[str, Any], context: Context) -> None:
        loop.call_soon_threadsafe(started.set)
        while not context.cancelled:
            time.sleep(0.005)
        raise RuntimeError("stopped")

    async with scheduler:
        task = await queue.enqueue("LONG", {})
        await asyncio.wait_for(started.wait(), 5)
        await queue.cancel(task.id)
        assert (await queue.wait(task.id, timeout=5)).state is TaskState.CANCELLED


async def test_a_cancel_whose_message_was_lost_comes_with_the_heartbeat(
    url: str, queue_name: str, queue: TaskQueue, keys: Keys, client: redis.Redis
) -> None:
    """The inbox may be emptied by a connection that breaks."""
    started = asyncio.Event()
    scheduler = Scheduler(url, name=queue_name, lease=1, heartbeat=0.1)

    @scheduler.handler("LONG")
    async def long(payload: dict[str, Any]) -> None:
        started.set()
        await asyncio.sleep(60)

    async with scheduler:
        task = await queue.enqueue("LONG", {})
        await asyncio.wait_for(started.wait(), 5)
        client.hset(keys.run(task.id), "cancel", "1")
        assert (await queue.wait(task.id, timeout=5)).state is TaskState.CANCELLED


async def test_a_handler_whose_lease_is_lost_is_stopped_and_not_believed(
    url: str, queue_name: str, queue: TaskQueue, keys: Keys, client: redis.Redis
) -> None:
    """The task runs again, and only the second run counts."""
    runs: list[str] = []
    scheduler = Scheduler(url, name=queue_name, concurrency=1, lease=1, heartbeat=0.1)

    @scheduler.handler("LONG")
    async def long(payload: dict[str, Any], context: Context) -> str:
        runs.append("started")
        if context.deliveries == 1:
            try:
                await asyncio.sleep(60)
            finally:
                runs.append("stopped")
        return f"run {context.deliveries}"

    async with scheduler:
        task = await queue.enqueue("LONG", {})
        await until(lambda: runs)
        token = client.hget(keys.run(task.id), "token")
        assert isinstance(token, bytes)
        assert await queue.store.release([Release(task.id, token.decode())]) == ["released"]
        done = await queue.wait(task.id, timeout=10)

    assert done.result == "run 2"
    assert runs == ["started", "stopped", "started"]


async def test_a_handler_that_blocks_the_event_loop_keeps_its_lease(
    url: str, queue_name: str, queue: TaskQueue
) -> None:
    """For three leases, beside another worker that reaps: the heartbeat has a thread of its own."""
    scheduler = Scheduler(url, name=queue_name, lease=1)

    @scheduler.handler("BLOCK")
    async def block(payload: dict[str, Any]) -> str:
        time.sleep(3.2)
        return "done"

    async with another_worker(url, queue_name):
        task = await after_burst(scheduler, queue, await queue.enqueue("BLOCK", {}))

    assert (task.state, task.result) == (TaskState.COMPLETED, "done")
    assert (task.deliveries, task.crashes) == (1, 0)


async def test_the_tasks_of_a_worker_that_fell_silent_are_run_by_another(
    url: str, queue_name: str, queue: TaskQueue
) -> None:
    """This is what the lease is for: here it was claimed by nobody who beats."""
    scheduler = Scheduler(url, name=queue_name, lease=1)

    @scheduler.handler("T")
    async def handle(payload: dict[str, Any], context: Context) -> int:
        return context.deliveries

    task = await queue.enqueue("T", {})
    silent = ClaimRequest("silent", "request", {"T": 1}, 1, lease_ms=500)
    assert len((await queue.store.claim(silent)).tasks) == 1

    async with scheduler:
        done = await queue.wait(task.id, timeout=10)

    assert (done.result, done.crashes, done.attempt) == (2, 1, 2)


@asynccontextmanager
async def another_worker(url: str, queue_name: str) -> AsyncIterator[None]:
    """Run a worker in a thread of its own, which has no handler for the test's tasks but reaps."""
    other = Scheduler(url, name=queue_name, lease=1)
    other.handler("OTHER")(lambda payload: None)
    working = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(other.run())))
    try:
        yield
    finally:
        while not working.done():
            other.stop()
            await asyncio.wait([working], timeout=0.05)


async def test_progress_is_seen_while_a_task_runs(scheduler: Scheduler, queue: TaskQueue) -> None:
    """From async handlers and from threads."""
    seen: list[Any] = []
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    @scheduler.handler("ASYNC")
    async def asynchronous(payload: dict[str, Any], context: Context) -> None:
        await context.progress({"pages": 3})
        await gate.wait()

    @scheduler.handler("SYNC")
    def synchronous(payload: dict[str, Any], context: Context) -> None:
        context.progress({"pages": 3})
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()

    async with scheduler:
        for type_ in ("ASYNC", "SYNC"):
            task = await queue.enqueue(type_, {})
            async with asyncio.timeout(5):
                while (found := await queue.get(task.id)) is None or found.progress is None:
                    await asyncio.sleep(0.005)
            seen.append((found.state, found.progress))
        gate.set()

    assert seen == [(TaskState.PROCESSING, {"pages": 3})] * 2


async def test_a_delayed_task_starts_when_it_is_due(scheduler: Scheduler, queue: TaskQueue) -> None:
    """Not before, and not by the backstop either."""
    started: list[float] = []

    @scheduler.handler("DELAYED")
    async def delayed(payload: dict[str, Any]) -> None:
        started.append(time.monotonic())

    async with scheduler:
        enqueued = time.monotonic()
        task = await queue.enqueue("DELAYED", {}, delay=timedelta(seconds=0.4))
        await queue.wait(task.id, timeout=5)

    assert 0.39 <= started[0] - enqueued < 1


async def test_an_idle_scheduler_starts_a_new_task_in_milliseconds(
    scheduler: Scheduler, queue: TaskQueue
) -> None:
    """It is woken; it does not ask again and again."""
    started: list[float] = []

    @scheduler.handler("NOW")
    async def now(payload: dict[str, Any]) -> None:
        started.append(time.monotonic())

    latencies = []
    async with scheduler:
        for number in range(20):
            await asyncio.sleep(0.01)
            enqueued = time.monotonic()
            await queue.enqueue("NOW", {})
            await until(lambda number=number: len(started) == number + 1)  # type: ignore[misc]
            latencies.append(started[-1] - enqueued)

    assert sorted(latencies)[10] < 0.1


async def test_a_type_whose_handler_was_full_wakes_up_as_fast(scheduler: Scheduler, queue: TaskQueue) -> None:
    """It had no part in the wait that was pending when its slot became free."""
    gate, ran = asyncio.Event(), []

    @scheduler.handler("A", concurrency=1)
    async def a(payload: dict[str, Any]) -> None:
        ran.append(time.monotonic())
        await gate.wait()

    @scheduler.handler("B")
    async def b(payload: dict[str, Any]) -> None: ...

    async with scheduler:
        first = await queue.enqueue("A", {})
        await until(lambda: ran)
        await asyncio.sleep(0.05)
        gate.set()
        await queue.wait(first.id, timeout=5)
        await asyncio.sleep(0.05)
        enqueued = time.monotonic()
        await queue.enqueue("A", {})
        await until(lambda: len(ran) == 2)

    assert ran[1] - enqueued < 0.5


async def test_two_schedulers_share_a_queue_without_running_anything_twice(
    url: str, queue_name: str, queue: TaskQueue
) -> None:
    """Each task goes to one of them."""
    ran: list[int] = []
    tasks = await queue.enqueue_many(TaskSpec(type="T", payload={"n": n}) for n in range(300))

    async def handle(payload: dict[str, Any]) -> None:
        ran.append(payload["n"])
        await asyncio.sleep(0.001)

    async def work() -> int:
        scheduler = Scheduler(url, name=queue_name, concurrency=5)
        scheduler.handler("T")(handle)
        return (await scheduler.run(burst=True)).completed

    async with asyncio.timeout(20):
        shares = await asyncio.gather(work(), work())

    assert sorted(ran) == list(range(len(tasks)))
    assert sum(shares) == 300
    assert min(shares) > 0


async def test_a_task_that_is_cleared_while_it_is_queued_is_never_run(
    scheduler: Scheduler, queue: TaskQueue
) -> None:
    """And a burst over nothing ends at once."""

    @scheduler.handler("T")
    async def never(payload: dict[str, Any]) -> None:
        raise AssertionError

    task = await queue.enqueue("T", {})
    await queue.clear()

    assert await burst(scheduler) == Summary()
    with pytest.raises(TaskNotFound):
        await queue.wait(task.id, timeout=1)


# ---------------------------------------------------------------------- lifespan and middleware


@dataclass
class Client:
    """What handlers share."""

    is_open: bool = True


@pytest.mark.parametrize("takes_scheduler", [True, False])
async def test_what_the_lifespan_opens_is_reached_through_the_context(
    url: str, queue_name: str, queue: TaskQueue, takes_scheduler: bool
) -> None:
    """Open before the first task, closed after the last."""
    made: list[Client] = []

    @asynccontextmanager
    async def alone() -> Any:
        made.append(Client())
        yield made[0]
        made[0].is_open = False

    @asynccontextmanager
    async def with_scheduler(given: Scheduler) -> Any:
        schedulers.append(given)
        async with alone() as client:
            yield client

    schedulers: list[Scheduler] = []
    lifespan = with_scheduler if takes_scheduler else alone
    scheduler = Scheduler(url, name=queue_name, lifespan=lifespan)

    @scheduler.handler("T")
    async def use(payload: dict[str, Any], context: Context) -> bool:
        await asyncio.sleep(0.01)
        return bool(context.state.is_open)

    task = await after_burst(scheduler, queue, await queue.enqueue("T", {}))

    assert task.result is True
    assert made == [Client(is_open=False)]
    assert schedulers == [scheduler] * takes_scheduler


async def test_a_lifespan_that_fails_keeps_the_scheduler_from_starting(
    url: str, queue_name: str, queue: TaskQueue
) -> None:
    """No task is claimed."""

    async def connect() -> None:
        raise ConnectionError("no database")

    @asynccontextmanager
    async def broken() -> Any:
        await connect()
        yield

    scheduler = Scheduler(url, name=queue_name, lifespan=broken)

    @scheduler.handler("T")
    async def never(payload: dict[str, Any]) -> None:
        raise AssertionError

    await queue.enqueue("T", {})

    with pytest.raises(ConnectionError, match="no database"):
        await burst(scheduler)
    with pytest.raises(ConnectionError, match="no database"):
        async with scheduler:
            raise AssertionError
    assert (await queue.stats()).queued == 1


async def test_middleware_wraps_every_task(url: str, queue_name: str, queue: TaskQueue) -> None:
    """The first is the outermost."""
    seen: list[str] = []

    def named(name: str) -> Any:
        async def middleware(context: Context, call_next: CallNext) -> Any:
            seen.append(f"{name}: {context.task.type}")
            return [name, await call_next()]

        return middleware

    scheduler = Scheduler(url, name=queue_name, middleware=[named("outer"), named("inner")])

    @scheduler.handler("T")
    async def handle(payload: dict[str, Any]) -> str:
        return "result"

    task = await after_burst(scheduler, queue, await queue.enqueue("T", {}))

    assert task.result == ["outer", ["inner", "result"]]
    assert seen == ["outer: T", "inner: T"]


async def test_included_groups_run_with_their_own_options(scheduler: Scheduler, queue: TaskQueue) -> None:
    """Written in modules of their own."""
    group = Handlers()

    @group.handler("GROUPED", max_attempts=1)
    async def grouped(payload: dict[str, Any]) -> None:
        raise ValueError

    scheduler.include(group)
    task = await after_burst(scheduler, queue, await queue.enqueue("GROUPED", {}))

    assert (task.state, task.attempt) == (TaskState.FAILED, 1)
