"""Requests that are counted against the rate of their API key: what is asked, and what was answered.

A request is counted by itself (`Store.admit`), or by the very call that stores its tasks
(`Store.enqueue`). Both are exact over all processes: one script counts, in the second of the server's
clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from taskqueue.errors import TaskQueueError

_FIELDS_OF_A_RATE = 2


class RateExceeded(TaskQueueError):
    """The API key has made `limit` requests to this endpoint in this second; the next one is new."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"this API key may make {limit:,} requests a second to each endpoint; slow down")
        self.limit = limit


class RateRequest(NamedTuple):
    """One request that asks to be let in.

    Attributes:
        key_id: Of the API key that made it.
        endpoint: What it asks for; each has a count of its own.
        limit: Requests a second that this key is allowed there.
    """

    key_id: str
    endpoint: str
    limit: int


class RateTicket:
    """One request on its way to be counted, and what became of that.

    Args:
        key_id: Of the API key that made it.
        endpoint: What it asks for.
        limit: Requests a second that this key is allowed there.

    Attributes:
        request: What is asked.
        remaining: How many more are allowed in this second, once the request was counted or refused;
            None before.
    """

    __slots__ = ("remaining", "request")

    def __init__(self, key_id: str, endpoint: str, limit: int) -> None:
        self.request = RateRequest(key_id, endpoint, limit)
        self.remaining: int | None = None


class Whole(NamedTuple):
    """One request with many tasks, which is refused as a whole or not at all.

    Attributes:
        total: How many tasks it has, all of one tenant, also those that never get to the server.
        ticket: What it is counted by; None if it was counted before.
    """

    total: int
    ticket: RateTicket | None = None


class Passes:
    """What a script said of one rate: how many requests passed, and how many more could."""

    __slots__ = ("_given", "_granted", "_left")

    def __init__(self, granted: int, left: int) -> None:
        self._granted, self._left, self._given = granted, left, 0

    def take(self) -> int | None:
        """Return what was left for the next request that passed, the first of which left most; else None."""
        if self._given >= self._granted:
            return None
        self._given += 1
        return self._left + self._granted - self._given

    def take_again(self) -> int:
        """Return what was left for a request that passed now or was counted by an earlier call."""
        found = self.take()
        return self._left if found is None else found


def passes_of(asked: Iterable[RateRequest], reply: Sequence[Any]) -> dict[RateRequest, Passes]:
    """Return what the end of a script's reply says of the rates *asked* for, in their order."""
    at = range(0, len(reply), _FIELDS_OF_A_RATE)
    return {each: Passes(int(reply[i]), int(reply[i + 1])) for each, i in zip(asked, at, strict=True)}
