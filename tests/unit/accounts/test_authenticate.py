"""What a process remembers of keys, and how often it asks the server, against a store without one."""

from __future__ import annotations

import asyncio
import gc
import hmac
from collections.abc import Sequence
from typing import Any, cast

import pytest

from taskqueue.accounts import Accounts, KeyMalformed, KeyUnknown, NewKey, Principal, apikeys
from taskqueue.accounts.accounts import MOST_REMEMBERED, REMEMBERED_FOR
from taskqueue.errors import InvalidSetting, QueueCorrupt, ServerUnavailable, TaskQueueError
from taskqueue.queue import TaskQueue
from taskqueue.store import RateRequest, StoredKey

SECRET = bytes(range(32))
START_MS = 1_700_000_000_000


class Server:
    """Keeps keys in a dict and notes what it is asked. It stands for the queue and its store."""

    def __init__(self) -> None:
        self.now = 50.0
        self.keys: dict[str, StoredKey] = {}
        self.looked_up: list[list[str]] = []
        self.touched: list[list[str]] = []
        self.admitted: list[list[RateRequest]] = []
        self.error: TaskQueueError | None = None
        self.touch_error: TaskQueueError | None = None

    @property
    def store(self) -> Server:
        return self

    def timer(self) -> float:
        return self.now

    @property
    def now_ms(self) -> int:
        return START_MS + int(self.now * 1000)

    async def create_key(self, key_id: str, digest: str, **fields: Any) -> StoredKey:
        key = StoredKey(key_id, digest.encode(), created_ms=self.now_ms, **fields)
        self.keys[key_id] = key
        return key

    async def revoke_key(self, key_id: str) -> bool:
        return self.keys.pop(key_id, None) is not None

    async def find_keys(self, ids: Sequence[str]) -> tuple[int, list[StoredKey | None]]:
        self.looked_up.append(list(ids))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return self.now_ms, [self.keys.get(key_id) for key_id in ids]

    async def touch_keys(self, ids: Sequence[str], pause_ms: int) -> None:
        self.touched.append(list(ids))
        if self.touch_error is not None:
            raise self.touch_error
        for key_id in ids:
            self.keys[key_id] = self.keys[key_id]._replace(used_ms=self.now_ms)

    async def admit(self, requests: Sequence[RateRequest]) -> list[int | None]:
        self.admitted.append(list(requests))
        return [7] * len(requests)


@pytest.fixture
def server() -> Server:
    """A server without a key."""
    return Server()


@pytest.fixture
def accounts(server: Server) -> Accounts:
    """Accounts on that server, by its clock."""
    return Accounts(cast("TaskQueue", server), SECRET, timer=server.timer)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of what is compared in constant time, one entry a comparison."""
    lengths: list[int] = []
    real = hmac.compare_digest

    def counting(ours: bytes, stored: bytes) -> bool:
        assert len(ours) == len(stored) == 64
        lengths.append(len(ours))
        return real(ours, stored)

    monkeypatch.setattr("taskqueue.accounts.apikeys.hmac.compare_digest", counting)
    return lengths


def numbered_key(number: int) -> str:
    """Return a key of the right form, without the price of a random one."""
    checked = f"sk_live_{number:012}{'x' * 43}"
    return checked + apikeys._checksum(checked)


def with_another_secret(new: NewKey) -> str:
    """Return a key of the right form with the id of another one."""
    checked = f"sk_live_{new.info.id}{'x' * 43}"
    return checked + apikeys._checksum(checked)


async def refuse(accounts: Accounts, *keys: str) -> None:
    """Present keys at once that must all be unknown."""
    errors = await asyncio.gather(*map(accounts.authenticate, keys), return_exceptions=True)
    assert {type(error) for error in errors} == {KeyUnknown}


# Accepting ---------------------------------------------------------------------------------------


async def test_a_key_says_who_comes(server: Server, accounts: Accounts) -> None:
    """Its id, its tenant, its rate."""
    new = await accounts.create_key("acme", name="ci", rate=20)

    assert await accounts.authenticate(new.key) == Principal(new.info.id, "acme", 20)


async def test_the_server_is_asked_once_in_five_seconds(server: Server, accounts: Accounts) -> None:
    """For as many requests as there are, at once or one after the other."""
    new = await accounts.create_key("acme")

    await asyncio.gather(*(accounts.authenticate(new.key) for _ in range(50)))
    server.now += REMEMBERED_FOR - 0.001
    await accounts.authenticate(new.key)
    assert server.looked_up == [[new.info.id]]
    server.now += 0.001
    await accounts.authenticate(new.key)
    assert server.looked_up == [[new.info.id]] * 2


async def test_a_revocation_elsewhere_takes_effect_within_five_seconds(
    server: Server, accounts: Accounts
) -> None:
    """Counted from when the server was asked, not from its answer."""
    new = await accounts.create_key("acme")
    await accounts.authenticate(new.key)
    del server.keys[new.info.id]

    server.now += 5.0

    with pytest.raises(KeyUnknown):
        await accounts.authenticate(new.key)


async def test_a_revocation_here_takes_effect_at_once(server: Server, accounts: Accounts) -> None:
    """What was remembered is dropped."""
    new = await accounts.create_key("acme")
    await accounts.authenticate(new.key)

    assert await accounts.revoke(new.info.id)

    with pytest.raises(KeyUnknown):
        await accounts.authenticate(new.key)


async def test_a_key_that_expires_is_not_remembered_beyond_its_end(
    server: Server, accounts: Accounts
) -> None:
    """By the server's clock: two seconds are left of it."""
    new = await accounts.create_key("acme")
    server.keys[new.info.id] = server.keys[new.info.id]._replace(expires_ms=server.now_ms + 2000)
    await accounts.authenticate(new.key)
    del server.keys[new.info.id]

    server.now += 1.999
    await accounts.authenticate(new.key)
    server.now += 0.001
    with pytest.raises(KeyUnknown):
        await accounts.authenticate(new.key)


# Refusing ----------------------------------------------------------------------------------------


async def test_a_malformed_key_costs_the_server_nothing(server: Server, accounts: Accounts) -> None:
    """It is another error than that of an unknown one."""
    for presented in ("", "sk_test", "sk_live_x", "x" * 1_000_000):
        with pytest.raises(KeyMalformed):
            await accounts.authenticate(presented)
    assert server.looked_up == []


async def test_every_refusal_takes_the_same_steps(
    server: Server, accounts: Accounts, compared: list[int]
) -> None:
    """Unknown, revoked, or a wrong secret behind a right id; new to the process, or remembered:
    one digest is compared with one of the same length each time, and the server is asked alike.
    """
    new, revoked = await accounts.create_key("acme"), await accounts.create_key("acme")
    await accounts.revoke(revoked.info.id)

    for presented in (numbered_key(1), revoked.key, with_another_secret(new), new.key):
        fresh = Accounts(cast("TaskQueue", server), SECRET, timer=server.timer)
        server.looked_up.clear()
        for _ in range(2):
            compared.clear()
            if presented == new.key:
                await fresh.authenticate(presented)
            else:
                await refuse(fresh, presented)
            assert len(compared) == 1
            assert len(server.looked_up) == 1


async def test_a_wrong_secret_is_refused_while_the_right_one_is_remembered(
    server: Server, accounts: Accounts
) -> None:
    """The id alone opens nothing, neither does a digest."""
    new = await accounts.create_key("acme")
    await accounts.authenticate(new.key)

    await refuse(accounts, with_another_secret(new))
    await accounts.authenticate(new.key)


async def test_with_another_secret_of_the_process_no_key_is_known(server: Server, accounts: Accounts) -> None:
    """A copy of the server's data alone lets nobody in."""
    new = await accounts.create_key("acme")

    await refuse(Accounts(cast("TaskQueue", server), SECRET[::-1], timer=server.timer), new.key)


async def test_an_unknown_id_is_asked_for_once_in_five_seconds(server: Server, accounts: Accounts) -> None:
    """However often it comes, and then again."""
    for _ in range(10):
        await refuse(accounts, *[numbered_key(1)] * 10)
    assert len(server.looked_up) == 1

    server.now += REMEMBERED_FOR
    await refuse(accounts, numbered_key(1))
    assert len(server.looked_up) == 2


async def test_a_flood_of_bad_keys_neither_fills_the_memory_nor_hammers_the_server(
    server: Server, accounts: Accounts
) -> None:
    """100,000 different ones, 1,000 at a time: a call a thousand, a bounded memory, and the good key
    that was known before is still known without asking.
    """
    new = await accounts.create_key("acme")
    await accounts.authenticate(new.key)
    server.looked_up.clear()

    for start in range(0, 100_000, 1000):
        await refuse(accounts, *(numbered_key(number) for number in range(start, start + 1000)))

    assert len(server.looked_up) == 100
    assert len(accounts._unknown) == MOST_REMEMBERED
    assert len(accounts._known) == 1
    server.looked_up.clear()
    await accounts.authenticate(new.key)
    assert server.looked_up == []


async def test_many_good_keys_are_remembered_up_to_a_bound(server: Server, accounts: Accounts) -> None:
    """More are asked for again, and accepted all the same."""
    digest = accounts._digest
    for number in range(MOST_REMEMBERED + 5):
        key_id = f"{number:012}"
        server.keys[key_id] = StoredKey(key_id, digest.of(numbered_key(number)).encode(), "acme", "", 1, 0)

    for start in range(0, MOST_REMEMBERED + 5, 1000):
        numbers = range(start, min(start + 1000, MOST_REMEMBERED + 5))
        await asyncio.gather(*(accounts.authenticate(numbered_key(number)) for number in numbers))

    assert len(accounts._known) == MOST_REMEMBERED
    await accounts.authenticate(numbered_key(0))


async def test_nobody_is_let_in_while_the_server_cannot_be_asked(server: Server, accounts: Accounts) -> None:
    """The failure is no refusal, is not remembered, and does not concern keys that are remembered."""
    known, other = await accounts.create_key("acme"), await accounts.create_key("acme")
    await accounts.authenticate(known.key)
    server.error = ServerUnavailable("gone")

    with pytest.raises(ServerUnavailable):
        await accounts.authenticate(other.key)
    await accounts.authenticate(known.key)
    server.error = None
    await accounts.authenticate(other.key)


async def test_a_damaged_record_is_the_trouble_of_its_key_alone(
    server: Server, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others that were looked up in the same call are let in."""
    bad, good = await accounts.create_key("acme"), await accounts.create_key("acme")
    real = server.find_keys

    async def damaged(ids: Sequence[str]) -> tuple[int, list[StoredKey | None]]:
        if bad.info.id in ids:
            raise QueueCorrupt("damaged")
        return await real(ids)

    monkeypatch.setattr(server, "find_keys", damaged)
    first, second = await asyncio.gather(
        accounts.authenticate(bad.key), accounts.authenticate(good.key), return_exceptions=True
    )

    assert isinstance(first, QueueCorrupt)
    assert isinstance(second, Principal)


# Use ---------------------------------------------------------------------------------------------


async def test_use_is_noted_at_once_and_then_once_a_minute(server: Server, accounts: Accounts) -> None:
    """Of a key that is in use all the time, over two minutes."""
    new = await accounts.create_key("acme")
    for _ in range(121):
        await accounts.authenticate(new.key)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        server.now += 1.0

    assert server.touched == [[new.info.id]] * 3


async def test_a_refused_key_is_not_in_use(server: Server, accounts: Accounts) -> None:
    """Whoever tries secrets behind an id does not change what its owner sees."""
    new = await accounts.create_key("acme")
    await refuse(accounts, with_another_secret(new))
    await accounts.close()

    assert server.touched == []


async def test_a_use_that_cannot_be_noted_refuses_nobody(
    server: Server, accounts: Accounts, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again when the key is looked up next; the loop has no exception to complain of."""
    new = await accounts.create_key("acme")
    server.touch_error = ServerUnavailable("gone")
    await accounts.authenticate(new.key)
    await asyncio.sleep(0.01)
    server.touch_error = None
    server.now += REMEMBERED_FOR
    await accounts.authenticate(new.key)
    await accounts.close()

    gc.collect()
    assert caplog.text == ""
    assert len(server.touched) == 2
    assert server.keys[new.info.id].used_ms == server.now_ms


# Rates -------------------------------------------------------------------------------------------


async def test_requests_of_one_moment_share_a_call(server: Server, accounts: Accounts) -> None:
    """Of several keys and endpoints."""
    principals = [Principal("k", "acme", 5), Principal("l", "acme", 9)]

    found = await asyncio.gather(
        *(accounts.admit(each, endpoint) for each in principals for endpoint in ("GET /a", "GET /b"))
    )

    assert [len(call) for call in server.admitted] == [4]
    assert [(each.limit, each.remaining) for each in found] == [(5, 7), (5, 7), (9, 7), (9, 7)]


@pytest.mark.parametrize("endpoint", ["", "x" * 129, "GET /a\n", "GET /é", "GET /a?b=c", None, b"GET /a"])
async def test_an_endpoint_is_a_short_text(server: Server, accounts: Accounts, endpoint: Any) -> None:
    """What a caller of the API could make up does not get to the server."""
    with pytest.raises(InvalidSetting, match="endpoint"):
        await accounts.admit(Principal("k", "acme", 5), endpoint)
    assert server.admitted == []


async def test_closed_accounts_refuse(server: Server, accounts: Accounts) -> None:
    """Whoever still asks is told; closing twice does nothing."""
    async with accounts:
        new = await accounts.create_key("acme")
    await accounts.close()

    with pytest.raises(TaskQueueError, match="closed"):
        await accounts.authenticate(new.key)
    with pytest.raises(TaskQueueError, match="closed"):
        await accounts.admit(Principal("k", "acme", 5), "GET /a")
