"""Answers of services, read without trust: JSON that can be stored, and the parts of it that are usable."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from scheduler.errors import Unavailable
from scheduler.providers.classifying import excerpt

LONGEST_URL: Final = 8_000
"""Characters of an address that a result may hold; see `scheduler.providers.results`."""

# As an escape, or as it is: UTF-16 can carry it, and what is nearly UTF-8 is let through.
_SURROGATE: Final = re.compile(r"\\u[dD]|[\ud800-\udfff]")
_LOWEST_INT, _HIGHEST_INT = -(2**63), 2**64 - 1


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
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        found = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_of_64_bits)
        if _SURROGATE.search(text) is not None:
            found = _mended(found)
    except (ValueError, RecursionError):
        # The text of the error says where, and nothing that helps; the beginning of the answer does.
        said = excerpt(body, secrets)
        what = f" but {media_type}" if media_type not in ("", "application/json") else ""
        raise Unavailable(f"the answer is no JSON{what}: {said or 'it is empty'}") from None
    if not isinstance(found, dict):
        raise Unavailable(f"the answer is no JSON object: {excerpt(body, secrets)}")
    return found


def text_of(value: object) -> str | None:
    """Return a text without the spaces around it; None if it is none, or empty."""
    return (value.strip() or None) if isinstance(value, str) else None


def web_address(value: object) -> str | None:
    """Return an address that a result may hold; None if it is none. One bad link spoils no answer."""
    text = text_of(value)
    if text is None or len(text) > LONGEST_URL or not text.startswith(("https://", "http://")):
        return None
    try:
        return text if urlsplit(text).hostname else None
    except ValueError:
        return None


def objects_of(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list, and leave out what is none; nothing if it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


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
