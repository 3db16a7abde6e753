"""The secrets that tenants' webhooks are signed with, sealed for as long as they are stored."""

from __future__ import annotations

from taskqueue.names import check_tenant
from taskqueue.queue import TaskQueue
from taskqueue.webhooks.secrets import SecretBox, new_webhook_secret


class WebhookSecrets:
    """One secret for each tenant that has asked for signatures (contract: signing is opt-in).

    Args:
        queue: Open.
        box: Seals and opens them; all processes of a service need the same.
    """

    def __init__(self, queue: TaskQueue, box: SecretBox) -> None:
        self._queue = queue
        self._box = box

    async def renew(self, tenant: str) -> str:
        """Make a new secret, and return it, this once. From the next delivery on it signs.

        One that was there before is dead at once (contract: rotation).

        Raises:
            InvalidTask: If the tenant has no such name.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        check_tenant(tenant)
        secret = new_webhook_secret()
        await self._queue.store.set_webhook_secret(tenant, self._box.seal(secret.encode(), tenant))
        return secret

    async def remove(self, tenant: str) -> bool:
        """Sign nothing any more; return whether there was a secret."""
        return await self._queue.store.set_webhook_secret(check_tenant(tenant), None)

    async def of(self, tenant: str) -> str | None:
        """Return a tenant's secret; None if its webhooks are not signed.

        Raises:
            SecretUnreadable: If it was sealed under another secret than this process has.
        """
        sealed = await self._queue.store.webhook_secret(tenant)
        return None if sealed is None else self._box.open(sealed, tenant).decode()
