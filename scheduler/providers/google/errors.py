"""What Google's APIs say when they refuse: one shape of error for search and for Gemini.

| the API says                                             | raised                               |
|----------------------------------------------------------|--------------------------------------|
| 429, or 403 with a reason that is a quota                | `RateLimited`, for as long as it asks |
| the same of a quota a day, without a time                | `RateLimited` for `quota_cooldown`   |
| 400 that blames the key, or where it is used; 401, 403   | `Misconfigured`                      |
| 404, 410                                                 | `Misconfigured`: model, engine, API  |
| 400 of another kind                                      | `Rejected`                           |
| 5xx                                                      | `Unavailable`                        |

A time comes as `RetryInfo` in the body ("17s"), or as `Retry-After`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from scheduler.errors import Misconfigured, RateLimited
from scheduler.providers.classifying import LONGEST_PAUSE, error_of_status, excerpt, retry_after
from scheduler.providers.tools.decoding import objects_of

# Reasons of both shapes: those of `errors[]` are spelled keyInvalid, those of `details[]` API_KEY_INVALID.
_KEY: Final = frozenset({"keyInvalid", "keyExpired", "API_KEY_INVALID", "API_KEY_EXPIRED"})
# "User location is not supported", "billing must be enabled": not about the question either.
_PLACE: Final = frozenset({"FAILED_PRECONDITION"})
_QUOTA: Final = frozenset(
    {
        "dailyLimitExceeded",
        "quotaExceeded",
        "rateLimitExceeded",
        "userRateLimitExceeded",
        "RATE_LIMIT_EXCEEDED",
        "RESOURCE_EXHAUSTED",
    }
)
_A_DAY: Final = re.compile(r"daily|per.?day", re.IGNORECASE)
_DELAY: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")
_REFUSED, _FORBIDDEN, _GONE, _EXHAUSTED = 400, 403, 410, 429


class _Told(NamedTuple):
    """What the body of an error says: its text, its reasons, how long to wait, whether for a day."""

    message: str
    reasons: frozenset[str]
    delay: float | None
    is_daily: bool


def google_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes | str,
    *,
    quota_cooldown: float,
    secrets: Iterable[str] = (),
) -> Exception:
    """Return what to raise for an answer of Google's that is no success.

    Args:
        status: Of the answer, or the `code` of an error that comes in the middle of one.
        headers: Of the answer.
        body: Of the answer.
        quota_cooldown: Seconds for which a quota that is used up for the day is left alone.
        secrets: What must not be shown of it.
    """
    hidden = tuple(secrets)
    told = _read(body)
    said = told.message or body
    reason = f"the service answered {status}: {excerpt(said, hidden)}"
    if status == _GONE or (status == _REFUSED and told.reasons & (_KEY | _PLACE)):
        return Misconfigured(reason)
    if status == _EXHAUSTED or (status == _FORBIDDEN and told.reasons & _QUOTA):
        after = retry_after(headers) if told.delay is None else told.delay
        return RateLimited(quota_cooldown if after is None and told.is_daily else after, reason)
    return error_of_status(status, headers, said, secrets=hidden)


def _read(body: bytes | str) -> _Told:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return _Told("", frozenset(), None, is_daily=False)
    # A stream that was not begun is refused by a list of one.
    first = document[0] if isinstance(document, list) and document else document
    error = first.get("error") if isinstance(first, dict) else None
    if not isinstance(error, dict):
        return _Told("", frozenset(), None, is_daily=False)
    message, status = error.get("message"), error.get("status")
    parts = [*objects_of(error.get("errors")), *objects_of(error.get("details"))]
    reasons = {reason for part in parts if isinstance(reason := part.get("reason"), str)}
    delays = [_DELAY.fullmatch(delay) for part in parts if isinstance(delay := part.get("retryDelay"), str)]
    quotas = [quota for part in parts for quota in _quotas(part)]
    return _Told(
        message if isinstance(message, str) else "",
        frozenset(reasons | ({status} if isinstance(status, str) else set())),
        next((min(float(delay[1]), LONGEST_PAUSE) for delay in delays if delay is not None), None),
        is_daily=any(_A_DAY.search(text) for text in (*reasons, *quotas)),
    )


def _quotas(part: dict[str, Any]) -> list[str]:
    """Return the names of the quotas that a part of an error is about."""
    metadata = part.get("metadata")
    named = [metadata.get("quota_limit")] if isinstance(metadata, dict) else []
    named += [violation.get("quotaId") for violation in objects_of(part.get("violations"))]
    return [name for name in named if isinstance(name, str)]
