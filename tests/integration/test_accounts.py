"""Accounts on a real server: keys of several processes, exact rates, rotation, and no key shown anywhere."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from taskqueue import TaskQueue
from taskqueue.accounts import (
    Accounts,
    Admission,
    KeyMalformed,
    KeyUnknown,
    NewKey,
    Plan,
    Principal,
    RateExceeded,
    apikeys,
)
from taskqueue.errors import InvalidSetting, InvalidTask, QueueCorrupt
from taskqueue.keys import Keys
from taskqueue.testing import FakeClock, memory_queue

SECRET = bytes(range(32))
ENDPOINT = "POST /v1/async/task"
SECOND = timedelta(seconds=1)

Open = Callable[[], Awaitable[Accounts]]


@pytest.fixture
async def another(url: str, queue_name: str, clock: FakeClock) -> AsyncIterator[Open]:
    """Opens accounts as another process would: a queue, connections and a memory of its own."""
    async with AsyncExitStack() as stack:

        async def opened() -> Accounts:
            queue = await stack.enter_async_context(TaskQueue.connect(url, name=queue_name, clock=clock))
            made = Accounts(queue, SECRET, timer=lambda: clock() / 1000)
            return await stack.enter_async_context(made)

        yield opened


@pytest.fixture
async def accounts(another: Open) -> Accounts:
    """The accounts of the test's queue, by the test's clock."""
    return await another()


async def ask(accounts: Accounts, principal: Principal, count: int) -> list[Admission | BaseException]:
    """Ask to be let in so many times at once."""
    asked = (accounts.admit(principal, ENDPOINT) for _ in range(count))
    return await asyncio.gather(*asked, return_exceptions=True)


def remaining(answers: list[Admission | BaseException]) -> list[int]:
    """Return what was left for each that was let in; everybody else must have met the rate."""
    assert {type(answer) for answer in answers} <= {Admission, RateExceeded}
    return [answer.remaining for answer in answers if isinstance(answer, Admission)]


# Rates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1000, 7])
async def test_the_rate_is_exact_over_three_processes(another: Open, clock: FakeClock, at_once: int) -> None:
    """5,000 requests at once, from three of them: 1,000 are let in, each with another number left.

    As many share a call as usual, so that one process has it all; or few, so that all take turns.
    """
    everybody = [await another() for _ in range(3)]
    principal = Principal("k", "acme", 1000)
    for each in everybody:
        each._admitting._most_entries = at_once

    answers = await asyncio.gather(
        ask(everybody[0], principal, 1700),
        ask(everybody[1], principal, 1700),
        ask(everybody[2], principal, 1600),
    )

    left = [number for each in answers for number in remaining(each)]
    assert sorted(left) == list(range(1000))
    assert at_once == 1000 or all(remaining(each) for each in answers), "they did not take turns"


async def test_every_second_of_the_clock_is_a_new_one(accounts: Accounts, clock: FakeClock) -> None:
    """At its first millisecond and not before, and without anything left over from the one before."""
    clock.advance(timedelta(milliseconds=1000 - clock() % 1000))
    principal = Principal("k", "acme", 3)

    assert remaining(await ask(accounts, principal, 4)) == [2, 1, 0]
    clock.advance(timedelta(milliseconds=999))
    assert remaining(await ask(accounts, principal, 2)) == []
    clock.advance(timedelta(milliseconds=1))
    assert remaining(await ask(accounts, principal, 1)) == [2]
    clock.advance(SECOND)
    assert remaining(await ask(accounts, principal, 5)) == [2, 1, 0]


async def test_a_key_has_a_rate_for_each_endpoint(accounts: Accounts) -> None:
    """What is spent on one is not missing on another (contract: rate limits)."""
    new = await accounts.create_key("acme", rate=1)
    principal = await accounts.authenticate(new.key)

    assert await accounts.admit(principal, "GET /v1/async/status") == Admission(1, 0)
    assert await accounts.admit(principal, "GET /v1/credits") == Admission(1, 0)
    with pytest.raises(RateExceeded) as caught:
        await accounts.admit(principal, "GET /v1/credits")
    assert caught.value.limit == 1


async def test_a_damaged_count_lets_nobody_in_and_concerns_no_other_key(
    accounts: Accounts, client: redis.Redis, queue_name: str
) -> None:
    """It stands where a count should be, in the same call as a sound one; it goes by itself in the end."""
    broken = Keys(queue_name).rate("bad")
    client.set(broken, "no hash", ex=10)

    bad, good = await asyncio.gather(
        accounts.admit(Principal("bad", "acme", 5), ENDPOINT),
        accounts.admit(Principal("good", "acme", 5), ENDPOINT),
        return_exceptions=True,
    )

    assert isinstance(bad, QueueCorrupt)
    assert good == Admission(5, 4)


# Keys --------------------------------------------------------------------------------------------


async def test_a_key_works_in_every_process_with_the_same_secret(accounts: Accounts, another: Open) -> None:
    """And in none with another one."""
    new = await accounts.create_key("acme", name="ci")
    other = await another()

    assert await other.authenticate(new.key) == Principal(new.info.id, "acme", 1000)
    stranger = Accounts(other._queue, SECRET[::-1])
    with pytest.raises(KeyUnknown):
        await stranger.authenticate(new.key)


async def test_a_revoked_key_is_refused_everywhere_within_five_seconds(
    accounts: Accounts, another: Open, clock: FakeClock
) -> None:
    """At once where it was revoked."""
    other, new = await another(), await accounts.create_key("acme")
    await accounts.authenticate(new.key)
    await other.authenticate(new.key)

    assert await accounts.revoke(new.info.id)

    with pytest.raises(KeyUnknown):
        await accounts.authenticate(new.key)
    clock.advance(timedelta(seconds=5))
    with pytest.raises(KeyUnknown):
        await other.authenticate(new.key)
    assert await accounts.keys() == []
    assert not await accounts.revoke(new.info.id)


async def test_an_id_that_is_taken_is_not_given_again(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another key is made, for a new one and for one that replaces; the first stays what it was."""
    ids, real = iter("AABAC"), apikeys._random_text

    def random_text(length: int) -> str:
        return next(ids) * length if length == apikeys._ID_LENGTH else real(length)

    monkeypatch.setattr(apikeys, "_random_text", random_text)

    first = await accounts.create_key("acme")
    second = await accounts.create_key("globex")
    replacing = await accounts.rotate(second.info.id)

    assert [new.info.id[0] for new in (first, second, replacing)] == ["A", "B", "C"]
    for new, tenant in ((first, "acme"), (replacing, "globex")):
        assert (await accounts.authenticate(new.key)).tenant == tenant
    assert next(ids, None) is None


async def test_two_keys_live_during_a_rotation(accounts: Accounts, another: Open, clock: FakeClock) -> None:
    """For the overlap, in every process; then the old one is unknown and the new one goes on."""
    other, old = await another(), await accounts.create_key("acme", name="ci", rate=7)
    clock.advance(SECOND)
    new = await accounts.rotate(old.info.id, overlap=timedelta(hours=1))

    for process in (accounts, other):
        assert await process.authenticate(old.key) == Principal(old.info.id, "acme", 7)
        assert await process.authenticate(new.key) == Principal(new.info.id, "acme", 7)
    listed = await accounts.keys("acme")
    assert [(key.id, key.name, key.expires_at) for key in listed] == [
        (old.info.id, "ci", clock.now + timedelta(hours=1)),
        (new.info.id, "ci", None),
    ]
    clock.advance(timedelta(hours=1))
    for process in (accounts, other):
        with pytest.raises(KeyUnknown):
            await process.authenticate(old.key)
        await process.authenticate(new.key)
    assert [key.id for key in await accounts.keys()] == [new.info.id]


async def test_an_end_that_comes_while_a_key_is_remembered_is_kept(
    accounts: Accounts, clock: FakeClock
) -> None:
    """To the millisecond: two seconds of overlap, of which one has passed when it is looked up."""
    old = await accounts.create_key("acme")
    await accounts.rotate(old.info.id, overlap=timedelta(seconds=2))
    clock.advance(SECOND)
    await accounts.authenticate(old.key)

    clock.advance(timedelta(milliseconds=999))
    await accounts.authenticate(old.key)
    clock.advance(timedelta(milliseconds=1))
    with pytest.raises(KeyUnknown):
        await accounts.authenticate(old.key)


async def test_a_rotation_without_overlap_replaces_the_key(accounts: Accounts) -> None:
    """The old one is refused from the same moment on."""
    old = await accounts.create_key("acme")
    await accounts.authenticate(old.key)

    new = await accounts.rotate(old.info.id)

    await accounts.authenticate(new.key)
    with pytest.raises(KeyUnknown):
        await accounts.authenticate(old.key)
    with pytest.raises(KeyUnknown, match=old.info.id):
        await accounts.rotate(old.info.id)


async def test_keys_are_listed_with_when_they_were_used(accounts: Accounts, clock: FakeClock) -> None:
    """Up to a minute behind; never for one that was not."""
    made_at = clock.now
    used, unused = await accounts.create_key("acme"), await accounts.create_key("zeta", name="Schlüssel")
    clock.advance(SECOND)
    await accounts.authenticate(used.key)
    await accounts.close()

    first, second = await accounts.keys()

    assert (first.id, first.created_at, first.last_used_at) == (used.info.id, made_at, clock.now)
    assert (second.id, second.name, second.last_used_at) == (unused.info.id, "Schlüssel", None)
    assert await accounts.keys("zeta") == [second]


async def test_a_plan_is_told_as_it_was_set(accounts: Accounts) -> None:
    """In UTC, to the millisecond; an empty one where nothing was said (contract: credits)."""
    resets_at = datetime(2026, 8, 10, 17, 35, 27, 123_999, tzinfo=UTC)

    assert await accounts.plan("acme") == Plan(None, None)
    await accounts.set_plan("acme", per_cycle=1_562_500, resets_at=resets_at)
    assert await accounts.plan("acme") == Plan(1_562_500, resets_at.replace(microsecond=123_000))
    await accounts.set_plan("acme", per_cycle=None, resets_at=None)
    assert await accounts.plan("acme") == Plan(None, None)


@pytest.mark.parametrize(
    "call",
    [
        lambda accounts: accounts.create_key("a b"),
        lambda accounts: accounts.create_key("acme", name="x" * 101),
        lambda accounts: accounts.create_key("acme", name="a\nb"),
        lambda accounts: accounts.create_key("acme", rate=0),
        lambda accounts: accounts.create_key("acme", rate=1_000_001),
        lambda accounts: accounts.create_key("acme", rate=True),
        lambda accounts: accounts.rotate("x" * 12, overlap=timedelta(seconds=-1)),
        lambda accounts: accounts.rotate("x" * 12, overlap=timedelta(days=91)),
        lambda accounts: accounts.rotate("x" * 11),
        lambda accounts: accounts.revoke("k:*"),
        lambda accounts: accounts.keys("a b"),
        lambda accounts: accounts.plan(""),
        lambda accounts: accounts.set_plan("acme", per_cycle=-1, resets_at=None),
        lambda accounts: accounts.set_plan("acme", per_cycle=1.5, resets_at=None),
        lambda accounts: accounts.set_plan("acme", per_cycle=1, resets_at=datetime(2026, 1, 1)),  # noqa: DTZ001
    ],
)
async def test_every_argument_has_a_rule(accounts: Accounts, call: Callable[[Accounts], Any]) -> None:
    """What breaks it gets no further."""
    with pytest.raises((InvalidSetting, InvalidTask)):
        await call(accounts)
    assert await accounts.keys() == []


async def test_accounts_work_on_a_queue_in_memory(clock: FakeClock) -> None:
    """For the unit tests of whoever uses this package."""
    async with (
        memory_queue(clock=clock) as queue,
        Accounts(queue, SECRET, timer=lambda: clock() / 1000) as accounts,
    ):
        new = await accounts.create_key("acme", rate=2)
        principal = await accounts.authenticate(new.key)
        assert remaining(await ask(accounts, principal, 3)) == [1, 0]
        rotated = await accounts.rotate(new.info.id, overlap=SECOND)
        clock.advance(timedelta(seconds=5))
        with pytest.raises(KeyUnknown):
            await accounts.authenticate(new.key)
        assert [key.id for key in await accounts.keys()] == [rotated.info.id]
        assert await accounts.revoke(rotated.info.id)
        await accounts.set_plan("acme", per_cycle=5, resets_at=None)
        assert await accounts.plan("acme") == Plan(5, None)


# Secrecy -----------------------------------------------------------------------------------------


async def test_no_key_is_ever_sent_stored_logged_or_shown(
    accounts: Accounts, client: redis.Redis, queue_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A key is made, used, mistyped, presented to others, rotated and revoked, all of it at log level DEBUG.

    Everything that the server is sent (it stores nothing else), every log line, every repr and every
    error with all that led to it is searched for each secret.
    """
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    with client.monitor() as commands:  # type: ignore[no-untyped-call]  # of redis-py
        new = await accounts.create_key("acme", name="ci")
        principal = await accounts.authenticate(new.key)
        shown += [repr(principal), repr(await ask(accounts, principal, 2)), repr(accounts)]
        rotated = await accounts.rotate(new.info.id, overlap=timedelta(hours=1))
        shown += [repr(new), str(rotated), repr(await accounts.keys()), repr(vars(accounts))]
        shown += [await failure_of(accounts, new.key[:-1]), await failure_of(accounts, new.key + "x")]
        await accounts.revoke(rotated.info.id)
        shown.append(await failure_of(accounts, rotated.key))
        client.hset(Keys(queue_name).api_key(new.info.id), "rate", "damaged")
        shown.append(await failure_of(Accounts(accounts._queue, SECRET), new.key))
        client.delete(Keys(queue_name).api_key(new.info.id), Keys(queue_name).api_keys("acme"))
        client.delete(Keys(queue_name).owners)
        client.echo("that was all")
        sent = [command["command"] for command in until_told("that was all", commands)]

    assert any(new.info.id in command for command in sent)
    assert "authenticate" in shown[-1]
    for text in (*shown, *sent, caplog.text):
        for made in (new, rotated):
            assert secret_of(made) not in text


def until_told(last: str, commands: Any) -> Iterator[dict[str, Any]]:
    """Yield what a monitor of the server saw, until a command has this text."""
    for command in commands.listen():
        yield command
        if last in command["command"]:
            return


async def failure_of(accounts: Accounts, presented: str) -> str:
    """Return all that can be read from the error that a key meets, with what led to it."""
    with pytest.raises((KeyMalformed, KeyUnknown, QueueCorrupt)) as caught:
        await accounts.authenticate(presented)
    error = caught.value
    told = "".join(traceback.format_exception(error))
    return f"{told} {error!r} {error.args} {vars(error)} {error.__cause__!r} {error.__context__!r}"


def secret_of(new: NewKey) -> str:
    """Return the part of a key that must not be anywhere."""
    return new.key[20:63]
