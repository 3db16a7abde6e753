"""Secrets of tenants: how they are made, and sealed for as long as they are stored.

A sealed secret is one byte of version, eight bytes that name the key, twelve of a nonce, and then
AES-256-GCM's output. It is bound to its tenant: moved to another one's record, it does not open.
"""

from __future__ import annotations

import base64
import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from taskqueue.errors import TaskQueueError
from taskqueue.webhooks.signing import SECRET_PREFIX

SHORTEST_SECRET: Final = 32
"""Bytes that the operator's secret has at least."""

LONGEST_PLAIN: Final = 2**16
"""Bytes that can be sealed at most."""

_VERSION = b"\x01"
_KEY_ID = 8
_NONCE = 12
_TAG = 16
_HEAD = len(_VERSION) + _KEY_ID + _NONCE
_WEBHOOK_SECRET = 32


class SecretUnreadable(TaskQueueError):
    """A sealed secret cannot be opened: sealed by a key that is gone, for another tenant, or damaged."""


def new_webhook_secret() -> str:
    """Return a new secret for webhooks: `whsec_` and the base64 of 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(os.urandom(_WEBHOOK_SECRET)).decode()


class SecretBox:
    """Seals secrets under a key that is derived from the operator's secret.

    To change that secret, give the new one first and the old ones after it: what they sealed still
    opens, `is_current()` tells it apart, and once all is sealed anew the old ones can go.

    Args:
        secret: The operator's secret, at least 32 bytes. Everything is sealed by it.
        older: Earlier ones, which only open.

    Raises:
        ValueError: If one is too short.
    """

    def __init__(self, secret: bytes, *older: bytes) -> None:
        self._current, *_ = derived = [_derive(each) for each in (secret, *older)]
        self._ciphers = dict(reversed(derived))

    def seal(self, plain: bytes, tenant: str) -> bytes:
        """Return *plain*, at most 64 KiB, sealed for *tenant*.

        Raises:
            ValueError: If it is longer.
        """
        if len(plain) > LONGEST_PLAIN:
            raise ValueError(f"{len(plain):,} bytes cannot be sealed; the limit is {LONGEST_PLAIN:,} bytes")
        key_id, cipher = self._current
        nonce = os.urandom(_NONCE)
        return _VERSION + key_id + nonce + cipher.encrypt(nonce, plain, _bound(key_id, tenant))

    def open(self, sealed: bytes, tenant: str) -> bytes:
        """Return what was sealed for *tenant*.

        Raises:
            SecretUnreadable: If it was sealed for another tenant or by a secret that was not given,
                or if it was changed.
        """
        if not _HEAD + _TAG <= len(sealed) <= _HEAD + _TAG + LONGEST_PLAIN or sealed[:1] != _VERSION:
            raise SecretUnreadable("this is no sealed secret, or one of a later version")
        key_id, nonce = sealed[1 : 1 + _KEY_ID], sealed[1 + _KEY_ID : _HEAD]
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SecretUnreadable(
                f"sealed by the secret with the id {key_id.hex()}, which this program was not given; "
                "give the earlier secret too"
            )
        try:
            return cipher.decrypt(nonce, sealed[_HEAD:], _bound(key_id, tenant))
        except InvalidTag:
            raise SecretUnreadable("sealed for another tenant, or damaged") from None

    def is_current(self, sealed: bytes) -> bool:
        """Whether *sealed* was sealed by the current secret; if not, open it and seal it anew."""
        return sealed[:1] == _VERSION and hmac.compare_digest(sealed[1 : 1 + _KEY_ID], self._current[0])


def _derive(secret: bytes) -> tuple[bytes, AESGCM]:
    """Return the id and the cipher of the key that comes from *secret*."""
    if len(secret) < SHORTEST_SECRET:
        raise ValueError(f"a secret of {len(secret)} bytes is too short; give at least {SHORTEST_SECRET}")
    # The id is derived too, so that nobody has to number secrets; it tells nothing about the key.
    made = HKDF(SHA256(), length=32 + _KEY_ID, salt=None, info=b"taskqueue sealed secrets 1").derive(secret)
    return made[32:], AESGCM(made[:32])


def _bound(key_id: bytes, tenant: str) -> bytes:
    """Return what a sealed secret is bound to: how it was sealed, and for whom."""
    return _VERSION + key_id + tenant.encode()
