"""A map that forgets: each entry after its time, the oldest when there are too many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


class Fleeting(Generic[ValueT]):
    """Values by name, each for a while.

    Args:
        most: Entries that it holds; one more pushes out the one that was put in first.
        timer: Seconds that never run backwards.
    """

    __slots__ = ("_entries", "_most", "_timer")

    def __init__(self, most: int, timer: Callable[[], float]) -> None:
        self._entries: dict[str, tuple[float, ValueT]] = {}
        self._most = most
        self._timer = timer

    def get(self, name: str) -> ValueT | None:
        """Return the value that was put in, as long as its time lasts; else None."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        until, value = entry
        if self._timer() < until:
            return value
        del self._entries[name]
        return None

    def put(self, name: str, value: ValueT, until: float) -> None:
        """Hold *value* until the timer shows *until*, in place of what was there."""
        self._entries.pop(name, None)
        if len(self._entries) >= self._most:
            # A dict keeps its entries in the order in which they came.
            del self._entries[next(iter(self._entries))]
        self._entries[name] = (until, value)

    def drop(self, name: str) -> None:
        """Forget one value; it need not be there."""
        self._entries.pop(name, None)

    def __len__(self) -> int:
        return len(self._entries)
