"""The verbs of credits, and of what follows the end of a task: its webhook."""

from __future__ import annotations

from typing import Any

from taskqueue.digests import digest_of_key
from taskqueue.store.base import StoreBase
from taskqueue.store.replies import Balance


class CreditVerbs(StoreBase):
    """What is asked about tenants' credits."""

    async def grant(self, tenant: str, credits: int) -> Balance:  # noqa: A002 - the field's word
        """Give a tenant credits, or take some back; from then on it is metered."""
        keys = self.keys
        reply = await self._run(
            "grant", limit=keys.limit_tenant(tenant), tenants=keys.tenants, tenant=tenant, credits=credits
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

    async def set_webhook_secret(self, tenant: str, sealed: bytes | None) -> bool:
        """Keep the sealed secret of a tenant's webhooks, None takes it away; whether there was one."""
        reply = await self._run(
            "set_webhook_secret", account=self.keys.account(tenant), sealed=b"" if sealed is None else sealed
        )
        return bool(reply[1] == 1)

    async def webhook_secret(self, tenant: str) -> bytes | None:
        """Return the sealed secret of a tenant's webhooks; None if they are not signed."""
        key = self.keys.account(tenant)

        async def read() -> Any:
            return await self._caller.wire.call("HGET", key, "webhook_secret")

        sealed: bytes | None = await self._caller.persist(read, "webhook_secret", None)
        return sealed
