"""What an API key is made of, and what is kept of it.

    sk_live_  Zk3v9QxT0aBc  <43 letters and digits>  <6 letters and digits>
    prefix    id            secret                   checksum of all before it

The id finds the record and is no secret. The secret has 256 random bits, which is why a fast keyed
hash is enough to keep: nobody can try them all. The checksum lets a scanner of repositories, and
us, tell a key from a slip without asking anyone. The contract publishes no rule for the form of a
key beside its prefix: the rest is our choice.
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
import zlib
from typing import Final, NamedTuple

from taskqueue.accounts.errors import KeyMalformed
from taskqueue.errors import InvalidSetting

SHORTEST_SECRET: Final = 32
"""Bytes that the secret of a process has at least."""

ID_RULE: Final = "12 letters and digits: the id of a key, as the list of keys shows it, not the key"

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PREFIX: Final = "sk_live_"
_ID_LENGTH: Final = 12
_SECRET_LENGTH: Final = 43  # letters of 62: 62**43 > 2**256
_CHECKSUM_LENGTH: Final = 6  # 62**6 > 2**32
_FORM: Final = re.compile(
    rf"(?P<checked>{_PREFIX}(?P<id>[0-9A-Za-z]{{{_ID_LENGTH}}})[0-9A-Za-z]{{{_SECRET_LENGTH}}})"
    rf"(?P<checksum>[0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})"
)
_ID_FORM: Final = re.compile(rf"[0-9A-Za-z]{{{_ID_LENGTH}}}")
_PURPOSE: Final = b"taskqueue: pepper of API keys, version 1"
_DUMMY: Final = b"0" * 64


class MadeKey(NamedTuple):
    """A new API key and its id. The key must not be kept, logged or shown twice."""

    id: str
    key: str

    def __repr__(self) -> str:
        return f"MadeKey(id={self.id!r})"


def make_key() -> MadeKey:
    """Return a new API key, from the system's source of randomness."""
    key_id = _random_text(_ID_LENGTH)
    checked = f"{_PREFIX}{key_id}{_random_text(_SECRET_LENGTH)}"
    return MadeKey(key_id, checked + _checksum(checked))


def id_of(presented: object) -> str:
    """Return the id that an API key names.

    Args:
        presented: What somebody presented as a key: anything at all, of any length.

    Raises:
        KeyMalformed: If it does not have the form of a key, or its checksum is wrong.
    """
    form = _FORM.fullmatch(presented) if isinstance(presented, str) else None
    if form is None or form["checksum"] != _checksum(form["checked"]):
        raise KeyMalformed
    return form["id"]


def check_key_id(value: object) -> str:
    """Return *value* as the id of an API key.

    Raises:
        InvalidSetting: If it is none. The value is not shown: it may be a key, pasted by mistake.
    """
    if not isinstance(value, str) or _ID_FORM.fullmatch(value) is None:
        raise InvalidSetting("key_id", "***", ID_RULE)
    return value


class KeyDigest:
    """The keyed digest of API keys: HMAC-SHA256, of which the server sees only results.

    Args:
        secret: Of the process, at least 32 bytes. The pepper is derived from it, so that the same
            secret may serve other purposes too.

    Raises:
        InvalidSetting: If it is shorter.
    """

    __slots__ = ("_pepper",)

    def __init__(self, secret: bytes) -> None:
        if not isinstance(secret, bytes) or len(secret) < SHORTEST_SECRET:
            raise InvalidSetting("secret", "***", f"at least {SHORTEST_SECRET} bytes")
        self._pepper = hmac.digest(secret, _PURPOSE, "sha256")

    def of(self, key: str) -> str:
        """Return the digest of a whole API key: 64 hexadecimal digits."""
        return hmac.digest(self._pepper, key.encode(), "sha256").hex()

    def matches(self, key: str, stored: bytes | None) -> bool:
        """Whether *stored* is the digest of *key*; None, for a key that is unknown, never is.

        It takes the same work whatever is stored, and wherever the two differ.
        """
        is_same = hmac.compare_digest(self.of(key).encode(), _DUMMY if stored is None else stored)
        return is_same and stored is not None


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    number, letters = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, letter = divmod(number, len(_ALPHABET))
        letters = _ALPHABET[letter] + letters
    return letters
