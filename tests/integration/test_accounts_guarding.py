"""Accounts on a real server under attack: refusals that are all alike, bounds, nothing told by accident."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import timedelta

import pytest
import redis

from taskqueue import TaskQueue
from taskqueue.accounts import Accounts, KeyMalformed, KeyUnknown, Principal, apikeys
from taskqueue.accounts.accounts import MOST_REMEMBERED, REMEMBERED_FOR
from taskqueue.accounts.apikeys import KeyDigest, make_key
from taskqueue.batching import MOST_ENTRIES
from taskqueue.errors import InvalidSetting, TaskQueueError
from taskqueue.store import StoredKey
from taskqueue.testing import FakeClock
from tests.audit import dump
from tests.integration.account_processes import ROUTE, SECRET, Process, Timer, processes

MINUTE = timedelta(minutes=1)


@pytest.fixture
def timer() -> Timer:
    """The time by which processes remember."""
    return Timer()


@pytest.fixture
async def two(url: str, queue_name: str, clock: FakeClock, timer: Timer) -> AsyncIterator[list[Process]]:
    """Two processes of one service."""
    async with processes(2, url, queue_name, timer, clock=clock) as found:
        yield found


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every digest that is computed and every comparison that is made, as they come."""
    found: list[str] = []
    of, compare = KeyDigest.of, hmac.compare_digest

    def counted_of(self: KeyDigest, key: str) -> str:
        found.append("digest")
        return of(self, key)

    def counted_compare(left: bytes, right: bytes) -> bool:
        found.append(f"compare {len(left)} with {len(right)}")
        return compare(left, right)

    monkeypatch.setattr(KeyDigest, "of", counted_of)
    monkeypatch.setattr(hmac, "compare_digest", counted_compare)
    return found


def bad_key(number: int, filler: str = "0") -> str:
    """Return one of many keys that look right, and that nobody made."""
    checked = f"sk_live_{number:012}{filler * 43}"
    return checked + apikeys._checksum(checked)


def with_another_secret(key: str) -> str:
    """Return a key of the same id that looks right."""
    checked = key[:20] + key[20:63].swapcase()[::-1]
    return checked + apikeys._checksum(checked)


async def refused(call: Awaitable[object]) -> str:
    """Await a call that must fail; return all that its error tells, and those behind it."""
    told = ""
    try:
        await call
    except TaskQueueError as error:
        at: BaseException | None = error
        while at is not None:
            told += f"{at} {at!r} {at.args} {vars(at)}\n"
            at = at.__cause__ or at.__context__
        return told
    raise AssertionError("nothing was refused")


async def test_all_refusals_take_the_same_path(
    two: list[Process], timer: Timer, clock: FakeClock, steps: list[str]
) -> None:
    """Unknown, revoked, expired, another secret: one digest, one comparison, as many lookups, one message."""
    here, there = two
    revoked, expired, living = [await here.accounts.create_key("acme") for _ in range(3)]
    await here.accounts.rotate(expired.info.id, overlap=MINUTE)
    await here.accounts.revoke(revoked.info.id)
    clock.advance(MINUTE)
    bad = [make_key().key, revoked.key, expired.key, with_another_secret(living.key)]

    seen = set()
    for key in bad:
        for passing in (REMEMBERED_FOR, 0.0):  # new to the process, then remembered
            timer.now += passing
            steps.clear()
            there.lookups.clear()
            told = await refused(there.accounts.authenticate(key))
            seen.add((passing, tuple(steps), tuple(there.lookups), told))

    expected = ("digest", "compare 64 with 64")
    assert {(passing, done, asked) for passing, done, asked, _ in seen} == {
        (REMEMBERED_FOR, expected, (1,)),
        (0.0, expected, ()),
    }
    assert len({told for *_, told in seen}) == 1
    steps.clear()
    assert await there.accepts(living.key)
    assert tuple(steps) == expected


async def test_a_malformed_key_costs_the_server_nothing(two: list[Process], steps: list[str]) -> None:
    """Nor a digest: its form is looked at, and its checksum."""
    key = make_key().key
    for presented in ("", "sk_live_", key[:-1], key + "0", key[:-1] + "-", "x" * 1_000_000):
        with pytest.raises(KeyMalformed):
            await two[0].accounts.authenticate(presented)

    assert (steps, two[0].lookups) == ([], [])


async def test_a_flood_of_bad_keys_is_bounded(two: list[Process]) -> None:
    """100,000 different ones: a call for each thousand, full caches and no more, good keys still known."""
    process = two[0]
    made = await process.accounts.create_key("acme")
    assert await process.accepts(made.key)
    process.lookups.clear()

    for start in range(0, 100_000, 10_000):
        asked = (process.accounts.authenticate(bad_key(start + number)) for number in range(10_000))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(each) for each in answers} == {KeyUnknown}

    assert process.lookups == [MOST_ENTRIES] * 100
    assert len(process.accounts._unknown) == MOST_REMEMBERED
    assert len(process.accounts._known) == 1
    assert await process.accepts(made.key)
    assert len(process.lookups) == 100
    assert await two[1].accounts.keys() == await process.accounts.keys()


async def test_many_secrets_for_one_id_ask_the_server_once(two: list[Process]) -> None:
    """Whether it is the id of a key or not, and though they all come at once."""
    process = two[0]
    made = await process.accounts.create_key("acme")
    behind = with_another_secret(made.key)

    for key in (bad_key(1), behind):
        process.lookups.clear()
        asked = (process.accounts.authenticate(key) for _ in range(5 * MOST_ENTRIES))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(each) for each in answers} == {KeyUnknown}
        assert process.lookups == [1]
    assert await process.accepts(made.key)
    assert process.touches == []


async def test_a_flood_leaves_nothing_on_the_server(
    two: list[Process], queue_name: str, client: redis.Redis
) -> None:
    """Bad keys are read and never written."""
    before = dump(client, queue_name).values.keys()

    asked = (two[0].accounts.authenticate(bad_key(number)) for number in range(2000))
    await asyncio.gather(*asked, return_exceptions=True)

    assert dump(client, queue_name).values.keys() == before


async def test_another_secret_knows_none_of_the_keys(two: list[Process]) -> None:
    """Whoever has all that is on the server has no key, and cannot make one."""
    made = await two[0].accounts.create_key("acme")

    async with Accounts(two[1].queue, SECRET[::-1]) as strangers:
        with pytest.raises(KeyUnknown):
            await strangers.authenticate(made.key)


async def test_keys_and_secret_are_never_told(
    two: list[Process], queue_name: str, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by any log, error, repr, or key of the server, whatever happens to them."""
    caplog.set_level(logging.DEBUG)
    here, there = two
    accounts = here.accounts
    made = await accounts.create_key("acme", rate=1)
    new = await accounts.rotate(made.info.id, overlap=MINUTE)
    principal = await accounts.authenticate(made.key)
    admission = await accounts.admit(principal, ROUTE)
    wrong = with_another_secret(new.key)

    told = [
        await refused(accounts.admit(principal, ROUTE)),
        await refused(accounts.authenticate(wrong)),
        await refused(accounts.authenticate(new.key[:-1])),
        await refused(accounts.authenticate(new.key + "\n")),
        await refused(accounts.revoke(new.key)),
        await refused(accounts.rotate(new.key)),
        await refused(accounts.rotate(bad_key(1)[8:20])),
    ]
    await here.queue.store.revoke_key(made.info.id)
    told.append(await refused(there.accounts.authenticate(made.key)))
    told += [repr(each) for each in (accounts, made, new, made.info, principal, admission, accounts._digest)]
    told += [repr(await accounts.keys()), caplog.text, str(dump(client, queue_name).values)]
    with pytest.raises(InvalidSetting) as caught:
        Accounts(here.queue, SECRET[:31])
    told.append(f"{caught.value} {vars(caught.value)}")

    everything = "\n".join(told)
    assert new.info.id in everything
    for hidden in (made.key, new.key, wrong, bad_key(1), SECRET[:31].decode()):
        assert hidden not in everything
        assert hidden[20:60] not in everything


async def test_a_note_that_fails_refuses_nobody_and_tells_nothing(
    two: list[Process], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a matter of the log, at its lowest level."""
    caplog.set_level(logging.DEBUG, "taskqueue.accounts")
    made = await two[0].accounts.create_key("acme")

    async def broken(*_: object) -> None:
        raise TaskQueueError("no room")

    monkeypatch.setattr(two[0].queue.store, "touch_keys", broken)
    assert await two[0].accepts(made.key)
    await two[0].accounts.close()
    await asyncio.sleep(0)

    [record] = [each for each in caplog.records if each.name == "taskqueue.accounts"]
    assert (record.levelno, record.getMessage()) == (
        logging.DEBUG,
        "the use of an API key was not noted: no room",
    )


async def test_closed_accounts_refuse(two: list[Process]) -> None:
    """Requests that come too late are told so, and the queue itself goes on."""
    process = two[0]
    made = await process.accounts.create_key("acme")
    principal = await process.accounts.authenticate(made.key)
    await process.accounts.close()
    await process.accounts.close()

    with pytest.raises(TaskQueueError, match="closed"):
        await process.accounts.admit(principal, ROUTE)
    with pytest.raises(TaskQueueError, match="closed"):
        await process.accounts.authenticate(bad_key(1))
    assert isinstance(process.queue, TaskQueue)
    assert (await process.queue.stats()).queued == 0


async def test_a_revocation_overtakes_a_lookup(two: list[Process], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that read the key before and answers after it is not remembered."""
    process = two[0]
    made = await process.accounts.create_key("acme")
    read, go_on = asyncio.Event(), asyncio.Event()
    find = process.queue.store.find_keys

    async def slow(ids: Sequence[str]) -> tuple[int, list[StoredKey | None]]:
        answer = await find(ids)
        read.set()
        await go_on.wait()
        return answer

    monkeypatch.setattr(process.queue.store, "find_keys", slow)
    early = asyncio.create_task(process.accepts(made.key))
    await asyncio.wait_for(read.wait(), 5)
    assert await process.accounts.revoke(made.info.id)
    go_on.set()
    await early

    assert not await process.accepts(made.key)


async def test_a_new_key_is_known_though_its_id_was_not(
    two: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of ids without a key does not outlive the making of one."""
    made = make_key()
    assert not await two[0].accepts(made.key)
    monkeypatch.setattr("taskqueue.accounts.accounts.make_key", lambda: made)

    assert (await two[0].accounts.create_key("acme")).key == made.key

    assert await two[0].accepts(made.key)


async def test_the_servers_clock_counts_where_no_other_is_given(
    url: str, queue_name: str, timer: Timer
) -> None:
    """Requests ask without pause until its next second has begun: each lets in its rate and no more."""
    principal = Principal("k" * 12, "acme", 5)
    async with processes(1, url, queue_name, timer) as [process]:
        began, _ = await process.queue.store.find_keys(["none"])
        let_in, now = 0, began
        while now // 1000 == began // 1000:
            let_in += await process.let_in(principal, 20)
            now, _ = await process.queue.store.find_keys(["none"])
        let_in += await process.let_in(principal, 20)
        now, _ = await process.queue.store.find_keys(["none"])

    assert 10 <= let_in <= 5 * (now // 1000 - began // 1000 + 1)
