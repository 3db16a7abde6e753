"""Short words for long things: idempotency keys, payloads to compare, hosts of webhooks."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import blake2b
from urllib.parse import urlsplit


def digest_of_key(idempotency_key: str) -> str:
    """Return the word under which the server keeps an idempotency key."""
    return digest(idempotency_key.encode(), 16)


def digest_of_host(url: str) -> str:
    """Return a word for the host of an address: deliveries to one host stand in one lane."""
    host = (urlsplit(url).hostname or "").lower().rstrip(".")
    return blake2b(host.encode(), digest_size=8).hexdigest()


def digest(data: bytes, size: int) -> str:
    """Return *size* bytes of a digest of *data*, as text of `A-Z a-z 0-9 _ -`."""
    return urlsafe_b64encode(blake2b(data, digest_size=size).digest()).rstrip(b"=").decode()
