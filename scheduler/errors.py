"""What a handler raises to say how its task goes on; every other exception is a failed attempt.

Exception
├── Retry               the attempt is spent; the task comes back, until its attempts are used up
│   ├── Unavailable     the provider does not work; its breaker counts that
│   └── Misconfigured   the provider refuses us; its breaker opens
├── RateLimited         no attempt is spent; the task comes back, and the provider cools
└── GiveUp              no further attempt makes sense; the task is FAILED at once
    └── Rejected        the provider works, and will never answer this task

Where a type has a chain of providers, the next one with room takes over after `Unavailable`,
`Misconfigured` and `RateLimited`; without a chain they are what their parents are.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from scheduler.options import Duration, check_duration


class Retry(Exception):
    """Ends the attempt as failed; the task is tried again while it has attempts left.

    Args:
        after: When to try again, as a timedelta or seconds from now, up to 365 days; None leaves
            it to the backoff.
        reason: Why, for people; stored with the task.

    Raises:
        InvalidSetting: If *after* is negative, not finite, or no length of time.
    """

    def __init__(self, after: Duration | None = None, reason: str = "the handler asked for a retry") -> None:
        super().__init__(reason)
        self.after = _after(after)
        self.reason = reason


class RateLimited(Exception):
    """Gives the task back because the provider takes no more for now; no attempt is spent.

    The task keeps its place by submission and runs again after the wait.

    Args:
        after: How long to wait, as a timedelta or seconds, up to 365 days; None leaves it to the
            backoff, which then counts how often the task was given to a handler.
        reason: Why, for people; logged.

    Raises:
        InvalidSetting: If *after* is negative, not finite, or no length of time.
    """

    def __init__(self, after: Duration | None = None, reason: str = "rate limited") -> None:
        super().__init__(reason)
        self.after = _after(after)
        self.reason = reason


class GiveUp(Exception):
    """Ends the task as FAILED at once, whatever attempts it has left.

    Args:
        reason: Why, for people; becomes the message of the task's error.
        code: An upper-case word for programs; becomes the code of the task's error.
        details: What else is known: any value that a payload could hold.
    """

    def __init__(
        self, reason: str = "the handler gave up", *, code: str = "GIVEN_UP", details: Any = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.details = details


class Unavailable(Retry):
    """The provider does not work at present, or its answers make no sense.

    Args:
        reason: Why, for people; stored with the task if nobody else could take it.
        after: For how long the provider asks to be left alone, as a timedelta or seconds; None if it
            does not say.

    Raises:
        InvalidSetting: If *after* is negative, not finite, or no length of time.
    """

    def __init__(self, reason: str = "the provider does not work", *, after: Duration | None = None) -> None:
        super().__init__(after, reason)


class Misconfigured(Retry):
    """The provider refuses us, whatever the task: a key, a model or an address is wrong.

    Args:
        reason: Why, for people.
    """

    def __init__(self, reason: str = "the provider refuses us") -> None:
        super().__init__(None, reason)


class Rejected(GiveUp):
    """The provider works, and will never answer this task.

    Args:
        reason: Why, for people; becomes the message of the task's error.
        details: What else is known: any value that a payload could hold.
    """

    def __init__(self, reason: str = "the provider rejected the task", *, details: Any = None) -> None:
        super().__init__(reason, code="REJECTED", details=details)


def _after(value: Duration | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=check_duration("after", value))
