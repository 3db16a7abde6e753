"""Checks of what users set on a scheduler or a handler; each error says what would be accepted."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from scheduler.backoff import Backoff
from taskqueue.errors import InvalidSetting

Duration = timedelta | float
"""A length of time: a timedelta, or a number of seconds."""

PROVIDER_RULE: Final = "1 to 64 of the characters A-Z a-z 0-9 _ . -"
MOST_PROVIDERS: Final = 16
MOST_SLOTS: Final = 100_000
MOST_ATTEMPTS: Final = 1_000
LONGEST_TIMEOUT: Final = timedelta(days=7).total_seconds()
LONGEST_WAIT: Final = timedelta(days=365).total_seconds()

_PROVIDER = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def check_duration(
    setting: str, value: object, *, lowest: float = 0.0, highest: float = LONGEST_WAIT, above: bool = False
) -> float:
    """Return a length of time in seconds.

    Args:
        setting: What the error calls it.
        value: A timedelta, or a number of seconds.
        lowest: Smallest value accepted, in seconds.
        highest: Largest value accepted, in seconds.
        above: Whether it must be more than *lowest*.

    Raises:
        InvalidSetting: If it is something else, not finite, or out of its range.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not math.isfinite(seconds)
        or not lowest <= seconds <= highest
        or (above and seconds == lowest)
    ):
        least = "more than" if above else "at least"
        bounds = f"{least} {lowest:g} s and at most {highest:,.0f} s"
        raise InvalidSetting(setting, value, f"a timedelta or a number of seconds, {bounds}")
    return float(seconds)


def check_timeout(setting: str, value: object) -> float:
    """Return how long one attempt may take, in seconds: more than 0, at most 7 days, never endless."""
    return check_duration(setting, value, highest=LONGEST_TIMEOUT, above=True)


def check_count(setting: str, value: object, highest: int) -> int:
    """Return a whole number from 1 to *highest*.

    Raises:
        InvalidSetting: If it is something else.
    """
    if type(value) is not int or not 1 <= value <= highest:
        raise InvalidSetting(setting, value, f"a whole number from 1 to {highest:,}")
    return value


def check_providers(setting: str, value: object) -> tuple[str, ...]:
    """Return a chain of providers' names, up to 16 different ones.

    Raises:
        InvalidSetting: If it is something else.
    """
    rule = f"a list of up to {MOST_PROVIDERS} different names, each {PROVIDER_RULE}"
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidSetting(setting, value, rule)
    for name in value:
        if not is_provider_name(name):
            raise InvalidSetting(setting, name, rule)
    if len(set(value)) < len(value) or len(value) > MOST_PROVIDERS:
        raise InvalidSetting(setting, list(value), rule)
    return tuple(value)


def is_provider_name(value: object) -> bool:
    """Whether a provider can be called so."""
    return isinstance(value, str) and _PROVIDER.fullmatch(value) is not None


def check_backoff(setting: str, value: object) -> Backoff:
    """Return *value* if it can say how long to wait after an attempt.

    Raises:
        InvalidSetting: If it has no `delay(attempt, random)`.
    """
    if not callable(getattr(value, "delay", None)) or isinstance(value, type):
        rule = "an object with delay(attempt, random), such as Exponential() or Fixed(timedelta(seconds=5))"
        raise InvalidSetting(setting, value, rule)
    return value  # type: ignore[return-value]  # it has the one method of the protocol
