"""How long a failed task waits before its next attempt. Pure: the source of chance is passed in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Literal, Protocol, get_args

from taskqueue.errors import InvalidSetting

Jitter = Literal["full", "none"]
"""`full` draws every delay evenly from zero to its ceiling; `none` always waits the ceiling."""

LONGEST = timedelta(days=365)
"""No backoff waits longer."""

_ENOUGH = 2**53
"""Attempts beyond this count as this many: a float cannot count further."""


class Backoff(Protocol):
    """What a handler's `backoff` must be able to do."""

    def delay(self, attempt: int, random: Random) -> timedelta:
        """Return how long to wait after an attempt that failed.

        Args:
            attempt: The attempt that failed; the first is 1.
            random: Source of chance for the jitter.
        """


@dataclass(frozen=True, slots=True)
class Exponential:
    """A ceiling that grows by a factor with every attempt, up to a cap, and chance below it.

    After attempt n the ceiling is `min(cap, base * factor ** (n - 1))`. Full jitter spreads
    tasks that failed together, so that they do not come back together.

    Attributes:
        base: Ceiling after the first attempt, more than zero.
        factor: What the ceiling is multiplied with from one attempt to the next, 1 or more.
        cap: Highest ceiling, from *base* to 365 days.
        jitter: `full` or `none`.

    Raises:
        InvalidSetting: If one of them is out of its range.
    """

    base: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    cap: timedelta = timedelta(minutes=5)
    jitter: Jitter = "full"

    def __post_init__(self) -> None:
        _check_duration("backoff.cap", self.cap)
        if not isinstance(self.base, timedelta) or not timedelta(0) < self.base <= self.cap:
            raise InvalidSetting(
                "backoff.base", self.base, f"a timedelta above zero and up to the cap, {self.cap}"
            )
        # float() would also take text and truth values, so the exact types are asked for.
        if type(self.factor) not in {int, float} or not 1 <= self.factor < math.inf:
            raise InvalidSetting("backoff.factor", self.factor, "a finite number of at least 1")
        if self.jitter not in get_args(Jitter):
            raise InvalidSetting("backoff.jitter", self.jitter, " or ".join(map(repr, get_args(Jitter))))

    def ceiling(self, attempt: int) -> timedelta:
        """Return the longest delay after that attempt; the first is 1.

        Raises:
            InvalidSetting: If *attempt* is less than 1.
        """
        growth = min(_check_attempt(attempt) - 1, _ENOUGH)
        # Compared as logarithms, because factor ** growth would overflow at absurd attempts.
        if growth * math.log(self.factor) >= math.log(self.cap / self.base):
            return self.cap
        return min(self.cap, self.base * self.factor**growth)

    def delay(self, attempt: int, random: Random) -> timedelta:
        """Return how long to wait after that attempt: up to the ceiling, or exactly it.

        Raises:
            InvalidSetting: If *attempt* is less than 1.
        """
        ceiling = self.ceiling(attempt)
        return ceiling * random.random() if self.jitter == "full" else ceiling


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same wait after every attempt.

    Attributes:
        wait: From zero, which tries again at once, to 365 days.

    Raises:
        InvalidSetting: If it is out of that range.
    """

    wait: timedelta

    def __post_init__(self) -> None:
        _check_duration("backoff.wait", self.wait)

    def delay(self, attempt: int, random: Random) -> timedelta:
        """Return the wait.

        Raises:
            InvalidSetting: If *attempt* is less than 1.
        """
        del random
        _check_attempt(attempt)
        return self.wait


def _check_duration(setting: str, value: object) -> None:
    if not isinstance(value, timedelta) or not timedelta(0) <= value <= LONGEST:
        raise InvalidSetting(setting, value, f"a timedelta from zero to {LONGEST.days} days")


def _check_attempt(attempt: int) -> int:
    if type(attempt) is not int or attempt < 1:
        raise InvalidSetting("attempt", attempt, "a whole number of at least 1")
    return attempt
