"""Cursors of lists: sealed positions, which mean something only to the list that they come from.

A position tells of ids and of the inside of the server, so a client sees none. AES-SIV seals it under a key
that comes from the random name of the queue's data, and binds it to the tenant and the filter: another
tenant's cursor, that of another list or of data that was wiped, or one that was changed, does not open.
The same position gives the same cursor.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from taskqueue.store import Position

_PURPOSE: Final = b"taskqueue cursors of lists 1"
_KEY: Final = 32

LONGEST: Final = 256
"""Characters that a cursor has at most."""


def seal(position: Position, dataset: str, bound: Sequence[str]) -> str:
    """Return the cursor for a position: up to 256 of `A-Z a-z 0-9 _ -`.

    Args:
        position: Where a page ended.
        dataset: The random name of the queue's data.
        bound: What the cursor is good for: the tenant and the filter.
    """
    return _text(_cipher(dataset).encrypt("|".join(position).encode(), [each.encode() for each in bound]))


def open_cursor(cursor: str, dataset: str, bound: Sequence[str]) -> Position | None:
    """Return the position that a cursor was made of; None if it is no cursor of this list."""
    if len(cursor) > LONGEST or not cursor.isascii():
        return None
    try:
        sealed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        opened = _cipher(dataset).decrypt(sealed, [each.encode() for each in bound])
    except (InvalidTag, ValueError):
        return None
    # The decoder passes over letters that are none of its own.
    return Position(*opened.decode().split("|")) if _text(sealed) == cursor else None


def _text(sealed: bytes) -> str:
    return urlsafe_b64encode(sealed).rstrip(b"=").decode()


@lru_cache(maxsize=8)
def _cipher(dataset: str) -> AESSIV:
    return AESSIV(HKDF(SHA256(), length=_KEY, salt=None, info=_PURPOSE).derive(dataset.encode()))
