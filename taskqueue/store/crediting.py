"""The verbs of credits, and of what follows the end of a task: its webhook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from taskqueue.digests import digest_of_key
from taskqueue.errors import QueueCorrupt
from taskqueue.ids import new_id
from taskqueue.store.base import StoreBase
from taskqueue.store.replies import Balance

_LONGEST_INSTANT = 14
"""Digits of epoch milliseconds at most: they end in the year 5138."""


class SealedSecrets(NamedTuple):
    """What a tenant's webhooks are signed with at one instant, as the server keeps it.

    Attributes:
        secret: The newest, sealed.
        old: The one that signs before it, sealed, while it does; None: the newest signs.
        old_until_ms: How long the old one signs, epoch ms; None without one.
        is_standard: Whether the headers of Standard Webhooks are sent too.
    """

    secret: bytes
    old: bytes | None = None
    old_until_ms: int | None = None
    is_standard: bool = False


class CreditVerbs(StoreBase):
    """What is asked about tenants' credits."""

    async def grant(self, tenant: str, credits: int) -> Balance:  # noqa: A002 - the field's word
        """Give a tenant credits, or take some back; from then on it is metered."""
        keys = self.keys
        reply = await self._run(
            "grant",
            limit=keys.limit_tenant(tenant),
            tenants=keys.tenants,
            answer=keys.answer(new_id()),
            tenant=tenant,
            credits=credits,
        )
        return Balance(*reply[1:4])

    async def balance(self, tenant: str) -> Balance | None:
        """Return a tenant's credits; None if it is not metered."""
        key = self.keys.limit_tenant(tenant)

        async def read() -> Any:
            return await self._caller.wire.call("HMGET", key, "granted", "spent", "held")

        granted, spent, held = await self._caller.persist(read, "balance", None)
        return None if granted is None else Balance(int(granted), int(spent or 0), int(held or 0))

    async def holder_of(self, tenant: str, idempotency_key: str) -> str | None:
        """Return the id of the task that holds an idempotency key of a tenant."""
        key = self.keys.idem(tenant, digest_of_key(idempotency_key))

        async def read() -> Any:
            return await self._caller.wire.call("GET", key)

        holder = await self._caller.persist(read, "holder_of", None)
        return None if holder is None else holder.decode()

    async def delivered(self, task_id: str) -> bool:
        """Note that the webhook of a finished task was taken; False if it has no record any more."""
        reply = await self._run("delivered", run=self.keys.run(task_id))
        return bool(reply[0] == b"noted")

    async def set_webhook_secret(self, tenant: str, sealed: bytes, overlap_ms: int = 0) -> int | None:
        """Keep the sealed secret of a tenant's webhooks. May be repeated.

        Returns:
            Until when the secret that signed before goes on signing, epoch ms; None if it is dead, or
            there was none.
        """
        reply = await self._set_webhook_secret(tenant, sealed, overlap_ms)
        return int(reply[1]) or None

    async def remove_webhook_secret(self, tenant: str) -> bool:
        """Take all secrets of a tenant's webhooks away; False if there were none, also in a repeat."""
        reply = await self._set_webhook_secret(tenant, b"", 0)
        return bool(reply[0] == b"removed")

    async def _set_webhook_secret(self, tenant: str, sealed: bytes, overlap_ms: int) -> Any:
        account = self.keys.account(tenant)
        return await self._run("set_webhook_secret", account=account, sealed=sealed, overlap=overlap_ms)

    async def set_webhook_standard(self, tenant: str, *, wanted: bool) -> bool:
        """Send the headers of Standard Webhooks too, or no more; False if the tenant has no secret."""
        account = self.keys.account(tenant)
        reply = await self._run("set_webhook_standard", account=account, wanted=int(wanted))
        return bool(reply[0] == b"set")

    async def webhook_secrets(self, tenant: str) -> SealedSecrets | None:
        """Return what a tenant's webhooks are signed with now; None if they are not signed.

        Raises:
            QueueCorrupt: The record is damaged.
        """
        _, record = await self._run("find_webhook_secrets", account=self.keys.account(tenant))
        return _sealed_secrets(tenant, record)


def _sealed_secrets(tenant: str, record: Sequence[bytes | None]) -> SealedSecrets | None:
    secret, old, until, standard = record
    if secret is None and old is None and until is None and standard is None:
        return None
    problem = None
    if secret is None:
        problem = "the secret is missing"
    elif (old is None) != (until is None):
        problem = "an old secret and its end are not there together"
    elif until is not None and not (until.isdigit() and len(until) <= _LONGEST_INSTANT):
        problem = "the end of an overlap is no instant"
    elif standard not in {None, b"1"}:
        problem = "the setting of Standard Webhooks has an unknown value"
    if problem is not None or secret is None:
        raise QueueCorrupt(f"the webhook secrets of tenant {tenant!r} are damaged: {problem}")
    return SealedSecrets(secret, old, None if until is None else int(until), standard is not None)
