"""`Accounts`: who may use a queue over HTTP, how often, and under which plan."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Final, Literal, Self

from taskqueue.accounts.apikeys import KeyDigest, MadeKey, check_key_id, id_of, make_key
from taskqueue.accounts.errors import KeyUnknown, RateExceeded
from taskqueue.accounts.fleeting import Fleeting
from taskqueue.accounts.records import (
    EPOCH,
    MILLISECOND,
    Admission,
    KeyInfo,
    NewKey,
    Plan,
    Principal,
    info_of,
    instant,
)
from taskqueue.batching import Batcher, isolated
from taskqueue.errors import InvalidSetting
from taskqueue.names import check_tenant
from taskqueue.queue import TaskQueue
from taskqueue.rules import check_count
from taskqueue.store import RateRequest, StoredKey
from taskqueue.store.rates import RateTicket

DEFAULT_RATE: Final = 1000
"""Requests a second of an API key to each endpoint (contract: rate limits)."""

REMEMBERED_FOR: Final = 5.0
"""Seconds for which a process relies on what it knows of a key: a revocation takes effect within them."""

MOST_REMEMBERED: Final = 10_000
"""Keys that a process remembers, and as many ids that no key has."""

TOUCHED_EVERY: Final = timedelta(minutes=1)
"""How far `KeyInfo.last_used_at` may be behind."""

LONGEST_OVERLAP: Final = timedelta(days=90)

_HIGHEST_RATE: Final = 1_000_000
_HIGHEST_CREDITS: Final = 10**15
_LONGEST_NAME: Final = 100
_NAME_RULE: Final = f"text of at most {_LONGEST_NAME} printable characters"
_ENDPOINT: Final = re.compile(r"[A-Za-z0-9 /{}._:-]{1,128}")
_ENDPOINT_RULE: Final = "the template of a route, such as 'POST /v1/async/task', of at most 128 characters"

_Made = StoredKey | Literal["taken", "unknown"]

_log = logging.getLogger("taskqueue.accounts")


@dataclass(slots=True)
class _Known:
    """A key as this process remembers it; by the timer, when it ends and when a use is noted again."""

    key: StoredKey
    ends_at: float
    touch_at: float


class Accounts:
    """API keys, rates and plans of the tenants of a queue.

    It belongs to the event loop of its queue, and works as long as that is open. All its calls may be
    made at once from many tasks of that loop; those of `authenticate()` and `admit()` that come
    together share calls to the server.

    Args:
        queue: Open.
        secret: Of the service, at least 32 bytes, the same in all its processes; see `load_secret()`.
            With another one no key that was made before is known any more.
        timer: Seconds that never run backwards, for what is remembered; tests pass their own.

    Raises:
        InvalidSetting: If the secret is shorter.
    """

    def __init__(
        self, queue: TaskQueue, secret: bytes, *, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue = queue
        self._digest = KeyDigest(secret)
        self._timer = timer
        # Apart, so that a flood of keys that do not exist pushes out none that does.
        self._known: Fleeting[_Known] = Fleeting(MOST_REMEMBERED, timer)
        self._unknown: Fleeting[bool] = Fleeting(MOST_REMEMBERED, timer)
        self._changes = 0
        self._finding: Batcher[str, _Known | None] = Batcher(partial(isolated, self._find))
        self._touching: Batcher[str, None] = Batcher(partial(isolated, self._touch))
        self._admitting: Batcher[RateRequest, int | None] = Batcher(partial(isolated, self._admit))

    # Operators -----------------------------------------------------------------------------------

    async def create_key(self, tenant: str, *, name: str = "", rate: int = DEFAULT_RATE) -> NewKey:
        """Make an API key.

        Args:
            tenant: Whose tasks, credits and limits it opens: 1 to 128 of `A-Z a-z 0-9 . _ @ -`.
            name: What people call it: up to 100 printable characters.
            rate: Requests a second that it is allowed, for each endpoint: 1 to 1,000,000.

        Returns:
            The key, which only its owner has from now on, and what may be told about it.

        Raises:
            InvalidTask: If the tenant's name breaks its rule.
            InvalidSetting: If another argument does.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        check_tenant(tenant)
        if not isinstance(name, str) or len(name) > _LONGEST_NAME or not name.isprintable():
            raise InvalidSetting("name", name, _NAME_RULE)
        check_count("rate", rate, 1, _HIGHEST_RATE)
        store = self._queue.store

        async def create(made: MadeKey, digest: str) -> _Made:
            return await store.create_key(made.id, digest, tenant=tenant, name=name, rate=rate)

        new = await self._make(create)
        assert new is not None, "only a rotation needs another key"
        return new

    async def rotate(self, key_id: str, *, overlap: timedelta = timedelta(0)) -> NewKey:
        """Make an API key in place of another, with its tenant, name and rate.

        Args:
            key_id: Of the key that ends.
            overlap: For how long both are accepted, 0 to 90 days. A key that is about to end because
                it was rotated before ends then, if that is earlier. Other processes may take the
                old key for up to 5 seconds more.

        Raises:
            KeyUnknown: If there is no such key, or it has ended.
            InvalidSetting: If an argument breaks its rule.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        check_key_id(key_id)
        if not isinstance(overlap, timedelta) or not timedelta(0) <= overlap <= LONGEST_OVERLAP:
            raise InvalidSetting("overlap", overlap, f"a timedelta from 0 to {LONGEST_OVERLAP.days} days")
        store = self._queue.store

        async def rotate(made: MadeKey, digest: str) -> _Made:
            return await store.rotate_key(key_id, made.id, digest, overlap // MILLISECOND)

        try:
            if (new := await self._make(rotate)) is None:
                raise KeyUnknown(key_id)
            return new
        finally:
            self._forget(key_id)

    async def revoke(self, key_id: str) -> bool:
        """End an API key: here at once, in other processes within 5 seconds.

        Returns:
            Whether there was one. A call that was repeated after a lost reply may find none.

        Raises:
            InvalidSetting: If *key_id* is no id of a key.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        try:
            return await self._queue.store.revoke_key(check_key_id(key_id))
        finally:
            self._forget(key_id)

    async def keys(self, tenant: str | None = None) -> list[KeyInfo]:
        """Return the API keys that live, of one tenant or of all, by tenant and age."""
        found = await self._queue.store.list_keys(None if tenant is None else check_tenant(tenant))
        return [info_of(key) for key in found]

    async def set_plan(self, tenant: str, *, per_cycle: int | None, resets_at: datetime | None) -> None:
        """Keep the facts of a tenant's plan; it grants no credits and moves no date by itself.

        Args:
            tenant: Whose plan.
            per_cycle: Credits that it gets each cycle; None for a tenant without subscription.
            resets_at: When the next cycle begins, with a time zone; None likewise. Kept to the
                millisecond.
        """
        check_tenant(tenant)
        if per_cycle is not None:
            check_count("per_cycle", per_cycle, 0, _HIGHEST_CREDITS)
        if resets_at is not None and (not isinstance(resets_at, datetime) or resets_at.utcoffset() is None):
            raise InvalidSetting("resets_at", resets_at, "a datetime with a time zone, or None")
        resets_at_ms = None if resets_at is None else (resets_at - EPOCH) // MILLISECOND
        await self._queue.store.set_plan(tenant, per_cycle=per_cycle, resets_at_ms=resets_at_ms)

    async def plan(self, tenant: str) -> Plan:
        """Return the facts of a tenant's plan; an empty one where nothing was said."""
        per_cycle, resets_at_ms = await self._queue.store.plan(check_tenant(tenant))
        return Plan(per_cycle, None if resets_at_ms is None else instant(resets_at_ms))

    # Requests ------------------------------------------------------------------------------------

    async def authenticate(self, presented: str) -> Principal:
        """Return whose API key this is.

        A key that is not accepted costs the same work whatever is wrong with it, and an id is looked
        up on the server once in 5 seconds at the most, whether it is one of a key or not.

        Args:
            presented: What stood behind `Bearer ` (contract: auth), of any form and length.

        Raises:
            KeyMalformed: If it does not have the form of a key.
            KeyUnknown: If there is no such key, it has expired or was revoked.
            QueueCorrupt: If the record of the key is damaged.
            ServerUnavailable: If the server gave no usable answer within the queue's patience: who
                is not known is not let in.
        """
        known = await self._look_up(id_of(presented))
        is_right = self._digest.matches(presented, None if known is None else known.key.digest)
        if known is None or not is_right:
            raise KeyUnknown
        self._note_use(known)
        return Principal(known.key.id, known.key.tenant, known.key.rate)

    async def admit(self, principal: Principal, endpoint: str) -> Admission:
        """Count a request against the rate of its API key for this endpoint.

        A second is one of the server's clock, and the count is exact over all processes: in none
        more requests are let in than the rate. Those that are refused do not count. One whose
        reply was lost is counted again: then fewer are let in.

        Args:
            principal: From `authenticate()`.
            endpoint: The template of the route, such as `"POST /v1/async/task"`, and nothing that
                the caller of the API chooses: each other text is another count on the server.

        Raises:
            RateExceeded: If the key has no request left in this second.
            InvalidSetting: If *endpoint* breaks its rule.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        ticket = self.ticket(principal, endpoint)
        return await self.count(ticket, self.ask(ticket))

    def ticket(self, principal: Principal, endpoint: str) -> RateTicket:
        """Return a ticket for a request: to hand on with its tasks, or to `ask()` with.

        Args:
            principal: From `authenticate()`.
            endpoint: As for `admit()`.

        Raises:
            InvalidSetting: If *endpoint* breaks its rule.
        """
        if not isinstance(endpoint, str) or _ENDPOINT.fullmatch(endpoint) is None:
            raise InvalidSetting("endpoint", endpoint, _ENDPOINT_RULE)
        return RateTicket(principal.key_id, endpoint, principal.rate)

    def ask(self, ticket: RateTicket) -> asyncio.Future[int | None]:
        """Ask for a request to be counted, at once; hand what this returns to `count()`.

        So the question is on its way before anything else is done for the request.
        """
        return self._admitting.submit(ticket.request)

    async def count(self, ticket: RateTicket, asked: Awaitable[int | None]) -> Admission:
        """Fill a ticket in from the answer to `ask()`.

        Raises:
            RateExceeded: If the key has no request left in this second.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        remaining = await asked
        ticket.remaining = remaining or 0
        limit = ticket.request.limit
        if remaining is None:
            raise RateExceeded(limit)
        return Admission(limit, remaining)

    async def close(self) -> None:
        """Wait for the calls on their way and refuse new ones; before the queue is closed."""
        for batcher in (self._finding, self._touching, self._admitting):
            await batcher.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Accounts({self._queue!r})"

    # Steps ---------------------------------------------------------------------------------------

    async def _make(self, keep: Callable[[MadeKey, str], Awaitable[_Made]]) -> NewKey | None:
        """Make keys until one has an id of its own; None if there is no key that it should follow."""
        while True:
            made = make_key()
            stored = await keep(made, self._digest.of(made.key))
            if isinstance(stored, StoredKey):
                self._forget(made.id)
                return NewKey(made.key, info_of(stored))
            if stored == "unknown":
                return None

    async def _look_up(self, key_id: str) -> _Known | None:
        is_settled, known = self._recall(key_id)
        return known if is_settled else await self._finding.submit(key_id)

    def _recall(self, key_id: str) -> tuple[bool, _Known | None]:
        """Return whether this process knows what to say of an id, and the key that it names, if any."""
        known = self._known.get(key_id)
        return known is not None or bool(self._unknown.get(key_id)), known

    def _forget(self, key_id: str) -> None:
        """Forget what is remembered of an id, which has changed, and what lookups on their way will say."""
        self._changes += 1
        self._known.drop(key_id)
        self._unknown.drop(key_id)

    def _note_use(self, known: _Known) -> None:
        """Have the use of a key noted, beside the request, which neither waits for it nor fails with it."""
        now = self._timer()
        if now >= known.touch_at:
            known.touch_at = now + TOUCHED_EVERY.total_seconds()
            self._touching.submit(known.key.id).add_done_callback(_log_failure)

    async def _find(self, ids: Sequence[str]) -> list[_Known | None]:
        """Look ids up, each once, and none that a batch before has settled."""
        found: dict[str, _Known | None] = {}
        missing: list[str] = []
        for key_id in dict.fromkeys(ids):
            is_settled, known = self._recall(key_id)
            if is_settled:
                found[key_id] = known
            else:
                missing.append(key_id)
        if missing:
            found |= await self._ask(missing)
        return [found[key_id] for key_id in ids]

    async def _ask(self, ids: Sequence[str]) -> dict[str, _Known | None]:
        """Ask the server for keys, and remember what it says."""
        asked_at, changes = self._timer(), self._changes
        now, keys = await self._queue.store.find_keys(ids)
        found: dict[str, _Known | None] = {}
        for key_id, key in zip(ids, keys, strict=True):
            known = found[key_id] = None if key is None else _known(key, now, asked_at)
            if self._changes != changes:
                continue  # a key was made or ended meanwhile: this may be what was before
            until = asked_at + REMEMBERED_FOR
            if known is None:
                self._unknown.put(key_id, value=True, until=until)
            else:
                self._known.put(key_id, known, min(until, known.ends_at))
        return found

    async def _touch(self, ids: Sequence[str]) -> list[None]:
        await self._queue.store.touch_keys(list(dict.fromkeys(ids)), TOUCHED_EVERY // MILLISECOND)
        return [None] * len(ids)

    async def _admit(self, requests: Sequence[RateRequest]) -> list[int | None]:
        return await self._queue.store.admit(requests)


def _known(key: StoredKey, now: int, asked_at: float) -> _Known:
    """Move the instants of a key from the server's clock, in ms, to the timer, in seconds."""
    ends_at, touch_at = math.inf, asked_at
    if key.expires_ms is not None:
        ends_at = asked_at + (key.expires_ms - now) / 1000
    if key.used_ms is not None:
        touch_at += max(0, TOUCHED_EVERY // MILLISECOND - (now - key.used_ms)) / 1000
    return _Known(key, ends_at, touch_at)


def _log_failure(future: asyncio.Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _log.debug("the use of an API key was not noted: %s", error)
