"""Accounts on a real server: exact rates, the lives of keys, caches with bounds, nothing told by accident."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
import redis

from taskqueue import ServerUnavailable, TaskQueue
from taskqueue.accounts import (
    Accounts,
    Admission,
    KeyMalformed,
    KeyUnknown,
    Plan,
    Principal,
    RateExceeded,
    apikeys,
)
from taskqueue.accounts.accounts import MOST_REMEMBERED, REMEMBERED_FOR
from taskqueue.accounts.apikeys import KeyDigest, make_key
from taskqueue.batching import MOST_ENTRIES
from taskqueue.errors import InvalidSetting, InvalidTask, QueueCorrupt, TaskQueueError
from taskqueue.keys import Keys
from taskqueue.store import StoredKey
from taskqueue.testing import FakeClock
from tests.servers import RealServer

SECRET = b"only-the-processes-of-the-service-know-this"
ROUTE = "POST /v1/async/task"
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class Timer:
    """Seconds that stand still until a test moves them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Process:
    """One process of the service, as far as accounts go: its own queue, caches and batches."""

    def __init__(self, queue: TaskQueue, timer: Timer) -> None:
        self.queue = queue
        self.accounts = Accounts(queue, SECRET, timer=timer)
        self.lookups: list[int] = []
        self.touches: list[int] = []
        self._find, self._touch = queue.store.find_keys, queue.store.touch_keys
        queue.store.find_keys = self._counted_find  # type: ignore[method-assign]
        queue.store.touch_keys = self._counted_touch  # type: ignore[method-assign]

    async def _counted_find(self, ids: Sequence[str]) -> tuple[int, list[StoredKey | None]]:
        self.lookups.append(len(ids))
        return await self._find(ids)

    async def _counted_touch(self, ids: Sequence[str], pause_ms: int) -> None:
        self.touches.append(len(ids))
        await self._touch(ids, pause_ms)

    async def accepts(self, key: str) -> bool:
        """Whether a key is accepted here."""
        try:
            await self.accounts.authenticate(key)
        except KeyUnknown:
            return False
        return True

    async def let_in(self, principal: Principal, count: int, endpoint: str = ROUTE) -> int:
        """Let so many requests ask at once; return how many were let in."""
        asked = (self.accounts.admit(principal, endpoint) for _ in range(count))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(each) for each in answers} <= {Admission, RateExceeded}, answers
        return sum(isinstance(each, Admission) for each in answers)


@pytest.fixture
def timer() -> Timer:
    """The time by which processes remember."""
    return Timer()


@pytest.fixture
def clock() -> FakeClock:
    """The server's time, at the beginning of a second."""
    now = datetime.now(UTC)
    return FakeClock(now.replace(microsecond=0))


@pytest.fixture
async def three(url: str, queue_name: str, clock: FakeClock, timer: Timer) -> AsyncIterator[list[Process]]:
    """Three processes of one service."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(3):
            queue = await stack.enter_async_context(TaskQueue.connect(url, name=queue_name, clock=clock))
            found.append(Process(queue, timer))
            await stack.enter_async_context(found[-1].accounts)
        yield found


@pytest.fixture
def one(three: list[Process]) -> Process:
    """The first of them."""
    return three[0]


@pytest.fixture
def accounts(one: Process) -> Accounts:
    """Its accounts."""
    return one.accounts


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every digest that is computed and every comparison that is made, as they come."""
    steps: list[str] = []
    of, compare = KeyDigest.of, hmac.compare_digest

    def counted_of(self: KeyDigest, key: str) -> str:
        steps.append("digest")
        return of(self, key)

    def counted_compare(left: bytes, right: bytes) -> bool:
        steps.append(f"compare {len(left)} {len(right)}")
        return compare(left, right)

    monkeypatch.setattr(KeyDigest, "of", counted_of)
    monkeypatch.setattr(hmac, "compare_digest", counted_compare)
    return iter([steps])  # type: ignore[return-value]


# Rates -------------------------------------------------------------------------------------------


async def test_a_rate_is_exact_over_processes(three: list[Process], clock: FakeClock) -> None:
    """5,000 requests come at once to three of them: exactly 1,000 are let in, and each counts once."""
    made = await three[0].accounts.create_key("acme")
    principal = await three[0].accounts.authenticate(made.key)

    asked = [three[number % 3].accounts.admit(principal, ROUTE) for number in range(5000)]
    answers = await asyncio.gather(*asked, return_exceptions=True)

    left = [each.remaining for each in answers if isinstance(each, Admission)]
    assert sorted(left) == list(range(1000))
    refused = [each for each in answers if not isinstance(each, Admission)]
    assert {(type(each), getattr(each, "limit", None)) for each in refused} == {(RateExceeded, 1000)}
    assert len(refused) == 4000


async def test_requests_that_come_together_share_calls(one: Process, client: redis.Redis) -> None:
    """As many in one as a batch may have."""
    principal = Principal("k" * 12, "acme", 1_000_000)
    client.config_resetstat()

    assert await one.let_in(principal, 5000) == 5000

    stats = client.info("commandstats")
    calls = sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))
    assert 5000 // MOST_ENTRIES <= calls <= 5000 // MOST_ENTRIES + 2


async def test_the_next_second_begins_at_zero(three: list[Process], clock: FakeClock) -> None:
    """At its first millisecond for all processes; what was not used is not carried over."""
    principal = Principal("k" * 12, "acme", 10)
    for used, passing in ((3, SECOND), (99, SECOND - timedelta(milliseconds=1))):
        assert await three[0].let_in(principal, used) == min(used, 10)
        clock.advance(passing)

    assert await three[1].let_in(principal, 1) == 0
    clock.advance(timedelta(milliseconds=1))
    assert await three[1].accounts.admit(principal, ROUTE) == Admission(10, 9)
    assert await three[2].let_in(principal, 99) == 9


async def test_endpoints_and_keys_have_counts_of_their_own(three: list[Process]) -> None:
    """One that is used up leaves all others as they are, also two keys of one tenant."""
    first, second = (Principal(letter * 12, "acme", 5) for letter in "ab")
    assert await three[0].let_in(first, 9) == 5

    assert await three[1].let_in(first, 9, "GET /v1/async/task/{taskId}") == 5
    assert await three[2].let_in(second, 9) == 5
    assert await three[1].let_in(first, 1) == 0


async def test_the_servers_clock_counts_where_no_other_is_given(url: str, queue_name: str) -> None:
    """A thousand requests that ask for longer than a second: no second of the server lets in too many."""
    async with TaskQueue.connect(url, name=queue_name) as queue, Accounts(queue, SECRET) as accounts:
        principal = Principal("k" * 12, "acme", 50)
        began = await queue.store.find_keys(["none"])
        let_in = 0
        for _ in range(20):
            let_in += await Process(queue, Timer()).let_in(principal, 50)
        ended = await queue.store.find_keys(["none"])

    seconds = ended[0] // 1000 - began[0] // 1000 + 1
    assert 50 <= let_in <= 50 * seconds
    assert repr(accounts)


@pytest.mark.parametrize("endpoint", ["", "x" * 129, "POST /\n", "*", None, 7])
async def test_an_endpoint_that_breaks_its_rule_is_refused(accounts: Accounts, endpoint: object) -> None:
    """It becomes a name on the server."""
    with pytest.raises(InvalidSetting, match="the template of a route"):
        await accounts.admit(Principal("k" * 12, "acme", 5), endpoint)  # type: ignore[arg-type]


# The lives of keys -------------------------------------------------------------------------------


async def test_a_key_opens_what_it_was_made_for(three: list[Process], clock: FakeClock) -> None:
    """In every process at once; the list tells all about it but the key."""
    made = await three[0].accounts.create_key("acme", name="ci", rate=7)

    for process in three:
        assert await process.accounts.authenticate(made.key) == Principal(made.info.id, "acme", 7)
    assert made.info.created_at == clock.now
    assert (made.info.expires_at, made.info.last_used_at) == (None, None)
    await three[0].accounts.close()
    [listed] = await three[1].accounts.keys("acme")
    assert listed.last_used_at == clock.now
    assert await three[1].accounts.keys() == [listed]
    assert await three[1].accounts.keys("other") == []


async def test_a_revocation_takes_effect_within_the_caches_life(three: list[Process], timer: Timer) -> None:
    """Where it was made, at once; elsewhere up to five seconds later, and not a moment more."""
    here, there, _ = three
    made = await here.accounts.create_key("acme")
    assert await here.accepts(made.key)
    assert await there.accepts(made.key)

    assert await here.accounts.revoke(made.info.id)
    assert not await here.accounts.revoke(made.info.id)

    assert not await here.accepts(made.key)
    timer.now += REMEMBERED_FOR - 0.001
    assert await there.accepts(made.key)
    timer.now += 0.001
    assert not await there.accepts(made.key)
    assert REMEMBERED_FOR == 5


async def test_a_revocation_overtakes_a_lookup(one: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that read the key before and answers after it is not remembered."""
    made = await one.accounts.create_key("acme")
    read, go_on = asyncio.Event(), asyncio.Event()
    find = one.queue.store.find_keys

    async def slow(ids: Sequence[str]) -> tuple[int, list[StoredKey | None]]:
        answer = await find(ids)
        read.set()
        await go_on.wait()
        return answer

    monkeypatch.setattr(one.queue.store, "find_keys", slow)
    early = asyncio.create_task(one.accepts(made.key))
    await asyncio.wait_for(read.wait(), 5)
    assert await one.accounts.revoke(made.info.id)
    go_on.set()
    await early

    assert not await one.accepts(made.key)


async def test_a_new_key_is_known_though_its_id_was_not(
    accounts: Accounts, one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of ids without a key does not outlive the making of one."""
    made = make_key()
    assert not await one.accepts(made.key)
    monkeypatch.setattr("taskqueue.accounts.accounts.make_key", lambda: made)

    assert (await accounts.create_key("acme")).key == made.key

    assert await one.accepts(made.key)


async def test_a_rotation_without_overlap_swaps_keys(three: list[Process], timer: Timer) -> None:
    """The new one has tenant, name and rate of the old one, which ends here at once, elsewhere soon."""
    here, there, _ = three
    old = await here.accounts.create_key("acme", name="ci", rate=7)
    assert await here.accepts(old.key)
    assert await there.accepts(old.key)

    new = await here.accounts.rotate(old.info.id)

    assert not await here.accepts(old.key)
    assert await there.accounts.authenticate(new.key) == Principal(new.info.id, "acme", 7)
    assert [each.id for each in await there.accounts.keys()] == [new.info.id]
    assert new.info.name == "ci"
    timer.now += REMEMBERED_FOR
    assert not await there.accepts(old.key)


async def test_a_rotation_with_overlap_leaves_two_keys(
    three: list[Process], timer: Timer, clock: FakeClock
) -> None:
    """Both are accepted until it is over; the old one ends on time, though it was remembered just before."""
    here, there, _ = three
    old = await here.accounts.create_key("acme")
    new = await here.accounts.rotate(old.info.id, overlap=MINUTE)
    listed = {each.id: each.expires_at for each in await here.accounts.keys("acme")}
    assert listed == {old.info.id: clock.now + MINUTE, new.info.id: None}

    clock.advance(MINUTE - SECOND)
    timer.now += 59
    assert await there.accepts(old.key)
    assert await there.accepts(new.key)
    timer.now += 0.999
    assert await there.accepts(old.key)
    clock.advance(SECOND)
    timer.now += 0.001
    assert not await there.accepts(old.key)
    assert await there.accepts(new.key)
    with pytest.raises(KeyUnknown, match=old.info.id):
        await here.accounts.rotate(old.info.id)


