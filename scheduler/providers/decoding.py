"""Answers of services, read without trust: so many bytes and no more, and JSON that can be stored.

Compressed answers are unpacked here and not by the client, which unpacks whatever a part of the answer
holds: a thousand times its size.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable
from typing import Any, Final, NoReturn

import httpx

from scheduler.errors import Unavailable
from scheduler.providers.classifying import excerpt

_GZIP: Final = 16 + zlib.MAX_WBITS
_SURROGATES: Final = (rb"\ud", rb"\uD")
_LOWEST_INT, _HIGHEST_INT = -(2**63), 2**64 - 1


async def read_body(response: httpx.Response, limit: int, *, whole: bool = True) -> bytes:
    """Return what an answer says, unpacked.

    Args:
        response: Opened as a stream, and nothing read of it.
        limit: Bytes after decompression.
        whole: Whether a longer answer is refused; else its beginning is returned.

    Raises:
        Unavailable: If it is longer than *limit*, packed by a means that was not asked for, or broken.
        httpx.HTTPError: If the connection breaks.
    """
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip"):
        raise Unavailable(f"the answer is packed as {excerpt(coding)!r}, which was not asked for")
    unpack = _Gunzip() if coding.endswith("gzip") else None
    found = bytearray()
    async for part in response.aiter_raw():
        # One byte more than allowed tells that there is more.
        found += part if unpack is None else unpack(part, limit + 1 - len(found))
        if len(found) > limit:
            if whole:
                raise Unavailable(f"the answer is longer than {limit:,} bytes")
            return bytes(found[:limit])
    if unpack is not None and whole and not unpack.is_whole:
        raise Unavailable("the answer is packed, and its end is missing")
    return bytes(found)


class _Gunzip:
    """Unpacks gzip part by part, never more than it is asked for.

    Attributes:
        is_whole: Whether the end was seen, or nothing at all.
    """

    def __init__(self) -> None:
        self._unpacking = zlib.decompressobj(_GZIP)
        self.is_whole = True

    def __call__(self, part: bytes, most: int) -> bytes:
        """Return what *part* unpacks to; what is behind *most* bytes is lost.

        Raises:
            Unavailable: If it is no gzip.
        """
        try:
            found = self._unpacking.decompress(part, most)
        except zlib.error:
            raise Unavailable("the answer says that it is packed as gzip, and is not") from None
        self.is_whole = self._unpacking.eof
        return found


def json_object(body: bytes, *, media_type: str = "", secrets: Iterable[str] = ()) -> dict[str, Any]:
    """Return the JSON object that *body* holds, fit to be stored.

    Halves of surrogate pairs, which services leave where they cut a text, become U+FFFD. Numbers that
    are not finite or beyond 64 bits are refused.

    Args:
        body: In UTF-8, or whatever JSON was allowed to be in.
        media_type: What it says to be, for the error.
        secrets: What must not be shown of it.

    Raises:
        Unavailable: If it is no JSON, or no object.
    """
    try:
        found = json.loads(body, parse_constant=_refuse, parse_float=_finite, parse_int=_of_64_bits)
        if any(half in body for half in _SURROGATES):
            found = _mended(found)
    except (ValueError, RecursionError):
        # The text of the error says where, and nothing that helps; the beginning of the answer does.
        said = excerpt(body, secrets)
        what = f" but {media_type}" if media_type not in ("", "application/json") else ""
        raise Unavailable(f"the answer is no JSON{what}: {said or 'it is empty'}") from None
    if not isinstance(found, dict):
        raise Unavailable(f"the answer is no JSON object: {excerpt(body, secrets)}")
    return found


def _refuse(_: str) -> NoReturn:
    raise ValueError("not finite")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _of_64_bits(text: str) -> int:
    value = int(text)
    if not _LOWEST_INT <= value <= _HIGHEST_INT:
        raise ValueError("beyond 64 bits")
    return value


def _mended(value: Any) -> Any:
    """Return *value* with every half of a surrogate pair replaced."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_mended(name): _mended(part) for name, part in value.items()}
    return [_mended(part) for part in value] if isinstance(value, list) else value
