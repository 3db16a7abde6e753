"""The secrets that tenants' webhooks are signed with, sealed for as long as they are stored.

A tenant has one, or two while it changes over: the contract's header has room for one signature, and
goes on being made with the old secret until the overlap ends. Which one signs is decided at every
delivery, by the server's clock; nothing of it is kept in a process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from taskqueue.errors import InvalidSetting, QueueCorrupt
from taskqueue.names import check_tenant
from taskqueue.queue import TaskQueue
from taskqueue.store.crediting import SealedSecrets
from taskqueue.task import instant
from taskqueue.webhooks.secrets import SecretBox, SecretUnreadable, new_webhook_secret
from taskqueue.webhooks.signing import key_of

LONGEST_OVERLAP: Final = timedelta(days=90)
"""How long an old secret may go on signing at most, as with API keys."""

_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret that was just made. Its text does not show it.

    Attributes:
        secret: The secret, to be told to whoever runs the receivers.
        old_until: Until when the one before it goes on signing, UTC; None: the new one signs now.
    """

    secret: str = field(repr=False)
    old_until: datetime | None


@dataclass(frozen=True, slots=True)
class Signing:
    """How a tenant's deliveries are signed at one instant. Its text shows no secret.

    Attributes:
        secret: What the contract's signature is made with.
        following: What it is made with after `old_until`, during an overlap; None outside of one.
        old_until: When the overlap ends, UTC; None outside of one.
        is_standard: Whether the headers of Standard Webhooks are sent too.
    """

    secret: str = field(repr=False)
    following: str | None = field(repr=False)
    old_until: datetime | None
    is_standard: bool

    @property
    def secrets(self) -> list[str]:
        """All that receivers may know by now, the older one first."""
        return [self.secret] if self.following is None else [self.secret, self.following]


class WebhookSecrets:
    """The secrets of each tenant that has asked for signatures (contract: signing is opt-in).

    Args:
        queue: Open.
        box: Seals and opens them; all processes of a service need the same.
    """

    def __init__(self, queue: TaskQueue, box: SecretBox) -> None:
        self._queue = queue
        self._box = box

    async def renew(self, tenant: str, *, overlap: timedelta = timedelta(0)) -> NewSecret:
        """Make a new secret, and return it, this once.

        Without an overlap it signs from the next delivery on, and all earlier ones are dead (contract:
        rotation). With one the secret that signs now goes on until the overlap ends, and then the new
        one signs; `Signing.secrets` has both.

        A second renewal during an overlap replaces the secret that was to follow, which has signed
        nothing in the contract's header: the old one goes on signing until the overlap ends that is
        given now, be that earlier or later. Whether the headers of Standard Webhooks are sent stays.

        Args:
            tenant: Whose webhooks they are. If it had no secret, there is nothing to overlap with.
            overlap: For how long the present secret still signs, 0 to 90 days, in whole milliseconds:
                parts of one are rounded up.

        Raises:
            InvalidTask: If the tenant has no such name.
            InvalidSetting: If the overlap breaks its rule.
            SecretUnreadable: If there is an overlap, and what should go on signing cannot be read.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        check_tenant(tenant)
        if not isinstance(overlap, timedelta) or not timedelta(0) <= overlap <= LONGEST_OVERLAP:
            raise InvalidSetting("overlap", overlap, f"a duration from 0 to {LONGEST_OVERLAP.days} days")
        if overlap:
            # Kept for days, it would fail every delivery; now somebody looks.
            await self.of(tenant)
        secret = new_webhook_secret()
        sealed = self._box.seal(secret.encode(), tenant)
        overlap_ms = -(-overlap // _MILLISECOND)
        until = await self._queue.store.set_webhook_secret(tenant, sealed, overlap_ms)
        return NewSecret(secret, instant(until))

    async def remove(self, tenant: str) -> bool:
        """Sign nothing any more, at once, and forget all secrets and settings; return whether there were any.

        Raises:
            InvalidTask: If the tenant has no such name.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        return await self._queue.store.remove_webhook_secret(check_tenant(tenant))

    async def set_standard(self, tenant: str, *, wanted: bool) -> bool:
        """Send the headers of Standard Webhooks beside the contract's from now on, or no more.

        Returns:
            Whether it was done: False if the tenant has no secret to sign them with.

        Raises:
            InvalidTask: If the tenant has no such name.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        return await self._queue.store.set_webhook_standard(check_tenant(tenant), wanted=wanted)

    async def of(self, tenant: str) -> Signing | None:
        """Return how a tenant's deliveries are signed now; None if they are not.

        Raises:
            InvalidTask: If the tenant has no such name.
            SecretUnreadable: If a secret was sealed under another secret than this process has, or
                the record is damaged.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        found = await sealed_of(self._queue, check_tenant(tenant))
        if found is None:
            return None
        newest = self._open(found.secret, tenant)
        if found.old is None:
            return Signing(newest, None, None, found.is_standard)
        old = self._open(found.old, tenant)
        return Signing(old, newest, instant(found.old_until_ms), found.is_standard)

    def _open(self, sealed: bytes, tenant: str) -> str:
        try:
            # Replaced, not refused: an error of decoding would carry what was opened.
            secret = self._box.open(sealed, tenant).decode("ascii", "replace")
            key_of(secret)
        except SecretUnreadable as error:
            raise _unsignable(tenant, str(error)) from None
        except ValueError:
            raise _unsignable(tenant, "what was sealed is no webhook secret") from None
        return secret


async def sealed_of(queue: TaskQueue, tenant: str) -> SealedSecrets | None:
    """Return what is stored of a tenant's secrets; None if its deliveries are not signed.

    Raises:
        SecretUnreadable: If the record is damaged.
    """
    try:
        return await queue.store.webhook_secrets(tenant)
    except QueueCorrupt as error:
        raise _unsignable(tenant, str(error)) from None


def _unsignable(tenant: str, reason: str) -> SecretUnreadable:
    return SecretUnreadable(
        f"the webhooks of tenant {tenant} cannot be signed, and are not sent unsigned: {reason}. "
        f"`taskqueue webhooks renew --tenant {tenant}` makes a new secret"
    )
