"""Around every handler with providers: when one of them fails a task, the next of the chain gets it.

| the handler raises            | what is said of the provider | next | else                  |
|-------------------------------|------------------------------|------|-----------------------|
| `RateLimited`                 | `limited`: it cools          | yes  | back to the old place |
| `Unavailable`, unknown errors | `failed`: its breaker counts | yes  | the attempt failed    |
| `Misconfigured`               | `misconfigured`: it opens    | yes  | the attempt failed    |
| `Retry`                       | `left`: nothing              | no   | the attempt failed    |
| `GiveUp`, `Rejected`          | `answered`: it works         | no   | the task is FAILED    |

A task whose whole chain is limited goes back without a wait: while no provider of it has room its type
is not claimed, and the end of the cooling wakes it. If any provider failed, the attempt is spent.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from scheduler.context import Context
from scheduler.errors import GiveUp, Misconfigured, RateLimited, Retry, Unavailable
from scheduler.registry import Registration
from scheduler.signature import HandlerFunction
from taskqueue.store import Verdict

logger = logging.getLogger("scheduler.providers")

COOLDOWN: Final = timedelta(seconds=5)
"""How long a provider cools that takes no more and does not say for how long."""

_SHORTEST_COOLDOWN: Final = timedelta(milliseconds=100)
"""Even one that says "at once": its tasks come back at once, and would go round in circles."""

_FAILURES: Final = frozenset({"failed", "misconfigured"})


def failing_over(registration: Registration) -> Registration:
    """Return a handler that goes through its providers, if it has any."""
    if not registration.providers:
        return registration
    return replace(registration, function=_through_chain(registration.function))


def _through_chain(function: HandlerFunction) -> HandlerFunction:
    @functools.wraps(function)
    async def through_chain(payload: Any, context: Context) -> Any:
        failed: Exception | None = None
        while True:
            try:
                return await function(payload, context)
            except Exception as error:  # noqa: BLE001  judged and raised there, unless another takes over
                failed = await _go_on(error, failed, context)

    return through_chain


async def _go_on(error: Exception, failed: Exception | None, context: Context) -> Exception | None:
    """Move the task to its next provider, or raise what its attempt ends with.

    Args:
        error: How it went now.
        failed: The failure of an earlier provider of this attempt, if there was one.
        context: Of the task.

    Returns:
        The failure of this provider, or else of an earlier one.
    """
    provider, (verdict, after, goes_on) = context.provider, _judged(error)
    if provider is None:
        raise error
    following = await context.leave(verdict, after, goes_on=goes_on)
    if verdict in _FAILURES:
        failed = error
        what = error if isinstance(error, Retry) else type(error).__name__
        level = logging.ERROR if verdict == "misconfigured" else logging.WARNING
        logger.log(level, "provider %s failed task %s: %s", provider, context.task.id, what)
    if following is not None:
        return failed
    if isinstance(error, RateLimited):
        raise failed or RateLimited(timedelta(0), error.reason)
    raise error


def _judged(error: Exception) -> tuple[Verdict, timedelta | None, bool]:
    """Return what an error says of its provider, how long to leave that alone, whether the next is asked."""
    match error:
        case RateLimited():
            return "limited", COOLDOWN if error.after is None else max(error.after, _SHORTEST_COOLDOWN), True
        case Misconfigured():
            return "misconfigured", None, True
        case Unavailable():
            return "failed", error.after, True
        case Retry():
            return "left", None, False
        case GiveUp():
            return "answered", None, False
        case _:
            return "failed", None, True
