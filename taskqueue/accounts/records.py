"""What `Accounts` takes and gives: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from taskqueue.store import StoredKey

MILLISECOND: Final = timedelta(milliseconds=1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be told about an API key: everything but the key.

    Attributes:
        id: Names it in `revoke()` and `rotate()`; it is the part behind `sk_live_`.
        tenant: Whose key it is.
        name: What people call it.
        created_at: When it was made.
        rate: Requests a second that it is allowed, for each endpoint.
        expires_at: When it ends because it was rotated; None: not by itself.
        last_used_at: When it was used, up to a minute behind; None: never.
    """

    id: str
    tenant: str
    name: str
    created_at: datetime
    rate: int
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new API key: show it once, to its owner. Nobody can read it again."""

    key: str = field(repr=False)
    info: KeyInfo


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request, as an accepted API key says."""

    key_id: str
    tenant: str
    rate: int


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that was let in: requests a second that are allowed, and how many are left in this one."""

    limit: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The facts of a tenant's plan (contract: credits): credits a cycle, and when the next one begins."""

    per_cycle: int | None = None
    resets_at: datetime | None = None


def info_of(key: StoredKey) -> KeyInfo:
    """Return what may be told about a key."""
    return KeyInfo(
        id=key.id,
        tenant=key.tenant,
        name=key.name,
        created_at=instant(key.created_ms),
        rate=key.rate,
        expires_at=None if key.expires_ms is None else instant(key.expires_ms),
        last_used_at=None if key.used_ms is None else instant(key.used_ms),
    )


def instant(ms: int) -> datetime:
    """Return an instant of the server's clock, in epoch ms, in UTC."""
    return EPOCH + ms * MILLISECOND
