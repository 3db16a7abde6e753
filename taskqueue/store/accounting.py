"""The verbs of accounts: tenants' API keys, the rate of their requests, the facts of their plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from taskqueue.errors import QueueCorrupt
from taskqueue.store.base import StoreBase
from taskqueue.store.rates import RateRequest, passes_of

__all__ = ["MOST_KEYS", "AccountVerbs", "RateRequest", "StoredKey"]

MOST_KEYS = 1000
"""API keys that one call looks up or touches; more are split into several."""


class StoredKey(NamedTuple):
    """An API key as the server keeps it: all but the key itself.

    Attributes:
        id: Of the key; it is public.
        digest: Keyed digest of the whole key.
        tenant: Whose key it is.
        name: What people call it.
        rate: Requests a second that it is allowed, for each endpoint.
        created_ms: When it was made, epoch ms.
        expires_ms: When it ends, epoch ms; None: not by itself.
        used_ms: When it was used, epoch ms, at most a minute behind; None: never.
    """

    id: str
    digest: bytes
    tenant: str
    name: str
    rate: int
    created_ms: int
    expires_ms: int | None = None
    used_ms: int | None = None


class AccountVerbs(StoreBase):
    """What is kept about tenants, beside their tasks and their credits."""

    async def create_key(
        self, key_id: str, digest: str, *, tenant: str, name: str, rate: int
    ) -> StoredKey | Literal["taken"]:
        """Keep an API key's digest, unless another key has this id. May be repeated."""
        reply = await self._run(
            "create_key",
            key=self.keys.api_key(key_id),
            owners=self.keys.owners,
            id=key_id,
            digest=digest,
            tenant=tenant,
            name=name,
            rate=rate,
        )
        if reply[0] == b"taken":
            return "taken"
        return StoredKey(key_id, digest.encode(), tenant, name, rate, int(reply[1]))

    async def rotate_key(
        self, old_id: str, key_id: str, digest: str, overlap_ms: int
    ) -> StoredKey | Literal["taken", "unknown"]:
        """Keep a new API key like an old one, and let the old one end after an overlap. May be repeated.

        Returns:
            The new key; `taken` if another key has its id; `unknown` if there is no old one, or it
            has ended.
        """
        reply = await self._run(
            "rotate_key",
            key=self.keys.api_key(key_id),
            old=self.keys.api_key(old_id),
            owners=self.keys.owners,
            id=key_id,
            digest=digest,
            old_id=old_id,
            overlap=overlap_ms,
        )
        match reply:
            case [b"taken"]:
                return "taken"
            case [b"unknown"]:
                return "unknown"
        created, tenant, name, rate = reply[1:5]
        return StoredKey(key_id, digest.encode(), tenant.decode(), name.decode(), int(rate), int(created))

    async def revoke_key(self, key_id: str) -> bool:
        """End an API key now; False if there is none, also where a lost reply made us ask twice."""
        reply = await self._run(
            "revoke_key", key=self.keys.api_key(key_id), owners=self.keys.owners, id=key_id
        )
        return bool(reply[0] == b"revoked")

    async def find_keys(self, ids: Sequence[str]) -> tuple[int, list[StoredKey | None]]:
        """Look API keys up.

        Returns:
            The server's time in epoch ms, and for each id its key; None if it is unknown or has ended.

        Raises:
            QueueCorrupt: A record is damaged.
        """
        now, found = 0, list[StoredKey | None]()
        for at in range(0, len(ids), MOST_KEYS):
            some = ids[at : at + MOST_KEYS]
            _, now, records = await self._run("find_keys", keys=[self.keys.api_key(each) for each in some])
            found += [_stored_key(key_id, fields) for key_id, fields in zip(some, records, strict=True)]
        return int(now), found

    async def touch_keys(self, ids: Sequence[str], pause_ms: int) -> None:
        """Note that API keys are in use, unless that was noted less than *pause_ms* ago."""
        for at in range(0, len(ids), MOST_KEYS):
            some = [self.keys.api_key(each) for each in ids[at : at + MOST_KEYS]]
            await self._run("touch_keys", keys=some, pause=pause_ms)

    async def list_keys(self, tenant: str | None = None) -> list[StoredKey]:
        """Return the API keys that live, of one tenant or of all, by tenant and age."""
        if tenant is None:
            owners = [owner.decode() for owner in await self._ask("SMEMBERS", self.keys.owners)]
        else:
            owners = [tenant]
        found: list[StoredKey] = []
        for owner in owners:
            members = await self._ask("ZRANGE", self.keys.api_keys(owner), 0, -1)
            _, keys = await self.find_keys([member.decode() for member in members])
            found += [key for key in keys if key is not None]
        return sorted(found, key=lambda key: (key.tenant, key.created_ms, key.id))

    async def admit(self, requests: Sequence[RateRequest]) -> list[int | None]:
        """Let requests in, as many a second as each may make.

        Exact over all processes: they are counted by one script, in the second of the server's clock.
        After a lost reply requests may be counted twice, so that fewer are let in, never more.

        Returns:
            For each request how many more are allowed in this second; None where it is refused.
        """
        asked = Counter(requests)
        reply = await self._run(
            "admit",
            rates=[self.keys.rate(each.key_id) for each in asked],
            rest=[value for each, count in asked.items() for value in (each.endpoint, each.limit, count)],
        )
        passes = passes_of(asked, reply[1:])
        return [passes[each].take() for each in requests]

    async def set_plan(self, tenant: str, *, per_cycle: int | None, resets_at_ms: int | None) -> None:
        """Keep the facts of a tenant's plan; None takes one away."""
        await self._run(
            "set_plan",
            account=self.keys.account(tenant),
            per_cycle="" if per_cycle is None else per_cycle,
            resets_at="" if resets_at_ms is None else resets_at_ms,
        )

    async def plan(self, tenant: str) -> tuple[int | None, int | None]:
        """Return credits a cycle of a tenant, and when the cycle ends in epoch ms."""
        values = await self._ask("HMGET", self.keys.account(tenant), "per_cycle", "resets_at")
        try:
            per_cycle, resets_at = (None if value is None else int(value) for value in values)
        except ValueError as error:
            raise QueueCorrupt(f"the plan of tenant {tenant!r} is damaged: {error}") from error
        return per_cycle, resets_at

    async def _ask(self, *command: Any) -> Any:
        """Run a plain reading command with the patience of a script."""

        async def call() -> Any:
            return await self._caller.wire.call(*command)

        return await self._caller.persist(call, str(command[0]), None, None)


def _stored_key(key_id: str, fields: Sequence[bytes | None]) -> StoredKey | None:
    if not fields:
        return None
    digest, tenant, name, rate, created, expires, used = fields
    try:
        return StoredKey(
            key_id,
            digest or b"",
            (tenant or b"").decode(),
            (name or b"").decode(),
            int(rate or b""),
            int(created or b""),
            None if expires is None else int(expires),
            None if used is None else int(used),
        )
    except ValueError as error:
        raise QueueCorrupt(f"the record of API key {key_id!r} is damaged: {type(error).__name__}") from None
