"""The reply of a service as it came, as much of it as a record can hold."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

LARGEST_RAW: Final = 256 * 1024
"""Bytes of JSON that are kept of a reply: a quarter of what a record may hold."""

MOST_EVENTS: Final = 200
"""Events of a stream that are kept: the first hundred and the last hundred."""

_DEEPEST: Final = 12
_MOST_PARTS: Final = 200
_LONGEST_TEXT: Final = 20_000
_LOWEST_INT, _HIGHEST_INT = -(2**63), 2**64 - 1


class RawAnswer:
    """Objects of a reply: its beginning and its end, in which sources and counts stand.

    Attributes:
        is_wanted: Whether anything is kept.
    """

    __slots__ = ("_first", "_last", "_room_after", "_room_before", "is_wanted")

    def __init__(self) -> None:
        self.is_wanted = False
        self._first: list[Any] = []
        self._last: deque[tuple[Any, int]] = deque()
        self._room_before = LARGEST_RAW // 2
        self._room_after = LARGEST_RAW // 2

    def keep(self, value: Any) -> None:
        """Take one object; the middle of many is left out."""
        if not self.is_wanted:
            return
        kept = storable(value)
        size = len(json.dumps(kept, ensure_ascii=False).encode())
        if not self._last and len(self._first) < MOST_EVENTS // 2 and size <= self._room_before:
            self._first.append(kept)
            self._room_before -= size
            return
        self._last.append((kept, size))
        self._room_after -= size
        while self._last and (len(self._last) > MOST_EVENTS // 2 or self._room_after < 0):
            self._room_after += self._last.popleft()[1]

    @property
    def parts(self) -> list[Any]:
        """What was kept, in its order."""
        return [*self._first, *(value for value, _ in self._last)]


def storable(value: Any, depth: int = 0) -> Any:
    """Return a copy of decoded JSON that a record can hold.

    Long texts and lists are cut; what is too deep, not finite or beyond 64 bits becomes None.
    """
    if isinstance(value, str):
        return mended(value[:_LONGEST_TEXT])
    if isinstance(value, Mapping | list) and depth >= _DEEPEST:
        return None
    if isinstance(value, Mapping):
        parts = list(value.items())[:_MOST_PARTS]
        return {mended(str(name)): storable(part, depth + 1) for name, part in parts}
    if isinstance(value, list):
        return [storable(part, depth + 1) for part in value[:_MOST_PARTS]]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if _LOWEST_INT <= value <= _HIGHEST_INT else None
    return value


def mended(text: str) -> str:
    """Return *text* with surrogate pairs joined, and each half that has none replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
