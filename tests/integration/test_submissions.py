"""Tasks of requests that are counted: exact over processes, coalesced, and safe to repeat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, cast

import pytest
import redis
from redis import exceptions as redis_errors

from taskqueue import Task, TaskQueue, TaskQueueError, TaskSpec
from taskqueue.accounts import Accounts, Admission, Principal, RateExceeded
from taskqueue.connect import Wire
from taskqueue.errors import InvalidTask, QueueCorrupt, QueueFull
from taskqueue.keys import Keys
from taskqueue.queue.submissions import Submissions
from taskqueue.queue.task_queue import submissions_of
from taskqueue.store.rates import RateTicket, Whole
from taskqueue.testing import FakeClock
from tests.integration.test_calling import Flaky

ENDPOINT = "createTask"
SECOND = timedelta(seconds=1)
ROOM = 50

Open = Callable[[], Awaitable[TaskQueue]]


@pytest.fixture
async def another(url: str, queue_name: str, clock: FakeClock) -> AsyncIterator[Open]:
    """Opens the queue as another process would, under the test's clock."""
    async with AsyncExitStack() as stack:

        async def opened() -> TaskQueue:
            connecting = TaskQueue.connect(url, name=queue_name, clock=clock, max_queued=ROOM)
            return await stack.enter_async_context(connecting)

        yield opened


@pytest.fixture
async def queue(another: Open) -> TaskQueue:
    """The test's queue, with room for 50 tasks of a tenant."""
    return await another()


def spec(**fields: Any) -> TaskSpec:
    """Return a task of a tenant of its own, so that room is no matter, unless *fields* say whose."""
    return TaskSpec(**({"type": "GROK", "payload": {"prompt": "hi"}, "tenant": "acme"} | fields))


def ticket(limit: int = 5, key_id: str = "k") -> RateTicket:
    """Return a request's ticket."""
    return RateTicket(key_id, ENDPOINT, limit)


async def create(submissions: Submissions, count: int, limit: int) -> list[RateTicket]:
    """Have so many requests create a task each, at once; return the tickets of those that did."""
    tickets = [ticket(limit) for _ in range(count)]
    creating = (submissions.enqueue(spec(tenant=f"t{n % 20}"), each) for n, each in enumerate(tickets))
    answers = await asyncio.gather(*creating, return_exceptions=True)
    assert {type(answer) for answer in answers} <= {Task, RateExceeded}, answers
    return [each for each, answer in zip(tickets, answers, strict=True) if isinstance(answer, Task)]


def scripts_run(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list in which the names of all scripts stand that the queue runs from now on."""
    names: list[str] = []
    run = queue.store._caller.run

    async def counting(name: str, /, **named: Any) -> Any:
        names.append(name)
        return await run(name, **named)

    monkeypatch.setattr(queue.store._caller, "run", counting)
    return names


@pytest.mark.parametrize("at_once", [1000, 7])
async def test_creates_are_exact_over_three_processes(another: Open, at_once: int) -> None:
    """1,200 at once, 200 allowed: 200 tasks come to be, each told another number left.

    As many share a call as usual, or few, so that all processes take turns.
    """
    everybody = [submissions_of(await another()) for _ in range(3)]
    for each in everybody:
        each._enqueuing._most_entries = at_once

    found = await asyncio.gather(*(create(each, 400, 200) for each in everybody))

    let_in = [each for some in found for each in some]
    assert sorted(each.remaining or 0 for each in let_in) == list(range(200))
    assert at_once == 1000 or all(found), "they did not take turns"
    stats = await (await another()).stats()
    assert stats.queued == 200


async def test_every_second_is_a_new_one(queue: TaskQueue, clock: FakeClock) -> None:
    """Three seconds with more than the rate in each."""
    for _ in range(3):
        assert len(await create(submissions_of(queue), 9, 4)) == 4
        clock.advance(SECOND)

    assert (await queue.stats()).queued == 12


async def test_other_requests_share_the_count(queue: TaskQueue) -> None:
    """What was counted without a task, because it was unfit, is missing to those that come with one."""
    async with Accounts(queue, bytes(32)) as accounts:
        principal = Principal("k", "acme", 5)
        asked = (accounts.admit(principal, ENDPOINT) for _ in range(4))
        answers, tasks = await asyncio.gather(
            asyncio.gather(*asked, return_exceptions=True), create(submissions_of(queue), 4, 5)
        )

    assert sum(isinstance(each, Admission) for each in answers) + len(tasks) == 5


async def test_creates_of_many_keys_share_a_call(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one moment, and a request that was counted before; a lone one is one call."""
    submissions, names = submissions_of(queue), scripts_run(queue, monkeypatch)
    tickets = [ticket(2, f"k{number % 5}") for number in range(10)]

    tasks = await asyncio.gather(*(submissions.enqueue(spec(), each) for each in (*tickets, None)))

    assert names == ["enqueue"]
    assert [task.sequence for task in tasks] == list(range(1, 12))
    assert [each.remaining for each in tickets] == [1] * 5 + [0] * 5
    await submissions.enqueue(spec(), ticket(9))
    assert names == ["enqueue"] * 2


async def test_a_damaged_count_concerns_no_other_key(
    queue: TaskQueue, client: redis.Redis, queue_name: str
) -> None:
    """It is in the same call as a sound one."""
    client.set(Keys(queue_name).rate("bad"), "no hash", ex=10)
    submissions = submissions_of(queue)

    bad, good = await asyncio.gather(
        submissions.enqueue(spec(), ticket(key_id="bad")),
        submissions.enqueue(spec(), ticket()),
        return_exceptions=True,
    )

    assert isinstance(bad, QueueCorrupt)
    assert isinstance(good, Task)
    assert (await queue.stats()).queued == 1


@pytest.mark.parametrize("many", [False, True], ids=["one", "batch"])
async def test_a_lost_reply_is_not_counted_twice(
    queue: TaskQueue, client: redis.Redis, queue_name: str, many: bool
) -> None:
    """The call is made three times; there is one task, counted once."""
    submissions, each = submissions_of(queue), ticket(2)
    await submissions.enqueue(spec(), None)  # the server knows the script now
    errors: list[Exception] = [redis_errors.ConnectionError("gone"), redis_errors.TimeoutError("late")]
    flaky = Flaky(queue.store._caller.wire, errors, after=True)
    queue.store._caller.wire = cast("Wire", flaky)

    if many:
        [outcome] = await submissions.enqueue_batch([spec()], Whole(ROOM - 1, each))
        assert isinstance(outcome, Task)
    else:
        await submissions.enqueue(spec(), each)

    assert flaky.errors == []
    assert each.remaining == 1
    assert client.hget(Keys(queue_name).rate("k"), f"of:{ENDPOINT}") == b"1"
    assert (await queue.stats()).queued == 2


async def test_a_refused_create_leaves_its_key_free(queue: TaskQueue, clock: FakeClock) -> None:
    """The same request is accepted in the next second."""
    submissions, keyed = submissions_of(queue), spec(idempotency_key="mine")
    with pytest.raises(RateExceeded):
        await submissions.enqueue(keyed, ticket(0))
    assert await queue.find("acme", "mine") is None
    assert (await queue.stats()).queued == 0
    clock.advance(SECOND)

    assert (await submissions.enqueue(keyed, ticket(1))).idempotency_key == "mine"


async def test_batches_race_for_the_last_room(another: Open) -> None:
    """Six of 20 tasks from three processes, room for 50: two are stored whole, of four there is nothing."""
    everybody = [submissions_of(await another()) for _ in range(3)]
    tickets = [ticket(100) for _ in range(6)]

    async def submit(number: int) -> Sequence[Task | TaskQueueError]:
        whole = Whole(20, tickets[number])
        return await everybody[number % 3].enqueue_batch([spec() for _ in range(20)], whole)

    answers = await asyncio.gather(*map(submit, range(6)), return_exceptions=True)

    stored = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert [len(each) for each in stored] == [20, 20]
    assert all(isinstance(task, Task) for each in stored for task in each)
    assert sum(isinstance(answer, QueueFull) for answer in answers) == 4
    assert (await (await another()).stats()).queued == 40
    assert sorted(each.remaining or 0 for each in tickets) == list(range(94, 100))


async def test_a_batch_is_counted_once_however_many_calls_it_takes(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Payloads of 5 MiB take two; the second is made for what was let in."""
    submissions, names, each = submissions_of(queue), scripts_run(queue, monkeypatch), ticket(1)
    specs = [spec(payload={"prompt": "x" * 900_000}) for _ in range(6)]

    outcomes = await submissions.enqueue_batch(specs, Whole(6, each))

    assert [type(outcome) for outcome in outcomes] == [Task] * 6
    assert names == ["enqueue"] * 2
    assert each.remaining == 0
    with pytest.raises(RateExceeded):
        await submissions.enqueue_batch([spec()], Whole(1, ticket(1)))


async def test_a_batch_that_was_let_in_is_stored_whole(
    another: Open, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its second call comes after others took the room that was left: no task of it is left out."""
    other, submissions = await another(), submissions_of(queue)
    run, calls = queue.store._caller.run, list[str]()

    async def crowded(name: str, /, **named: Any) -> Any:
        reply = await run(name, **named)
        calls.append(name)
        if len(calls) == 1:
            await other.enqueue_many([spec() for _ in range(ROOM - 4)])
        return reply

    monkeypatch.setattr(queue.store._caller, "run", crowded)
    specs = [spec(payload={"prompt": "x" * 900_000}) for _ in range(6)]

    outcomes = await submissions.enqueue_batch(specs, Whole(6, ticket()))

    assert [type(outcome) for outcome in outcomes] == [Task] * 6
    assert calls == ["enqueue"] * 2
    with pytest.raises(QueueFull):
        await submissions.enqueue_batch([spec()], Whole(1, ticket()))


async def test_a_batch_of_nothing_fit_is_not_sent(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever handed it in counts it by other means."""
    submissions, names, each = submissions_of(queue), scripts_run(queue, monkeypatch), ticket(1)

    [outcome] = await submissions.enqueue_batch([spec(priority=99)], Whole(1, each))

    assert isinstance(outcome, InvalidTask)
    assert names == []
    assert each.remaining is None


async def test_a_closed_queue_refuses(another: Open) -> None:
    """As it does by its other ways in."""
    queue = await another()
    submissions = submissions_of(queue)
    await queue.close()

    with pytest.raises(TaskQueueError, match="closed"):
        await submissions.enqueue(spec(), ticket())
