"""What an answer that is none says about a provider: one rule for all of them, from status and headers.

| the service said                         | raised                                            |
|------------------------------------------|---------------------------------------------------|
| 400, 404 of a question, 409, 413, 422    | `Rejected`: it will never answer this             |
| 401, 403, 404 of an address, 405         | `Misconfigured`: a key, a model, an address       |
| 402, 429, or a quota that is used up     | `RateLimited`, for as long as it asks             |
| 408, 5xx, no answer, no sense            | `Unavailable`, for as long as it asks             |

Excerpts of answers are short, on one line, without control characters and without secrets.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from scheduler.errors import Misconfigured, RateLimited, Rejected, Unavailable

LONGEST_EXCERPT: Final = 200
LONGEST_PAUSE: Final = 3_600.0
"""Seconds for which a service may ask to be left alone; more is taken for this."""

HIDDEN: Final = "[hidden]"

_REFUSED = frozenset({400, 409, 413, 414, 415, 422, 451})
_UNAUTHORISED = frozenset({401, 403, 405, 407})
_EXHAUSTED = frozenset({402, 429})
_SECRETS = re.compile(
    r"(?:\b(?:sk|pk|rk|xai|pplx|gsk|AIza)[-_A-Za-z0-9]{12,})|(?i:\bbearer\s+[^\s\"',;]+)|(?i:([?&]key=)[^&\s\"']+)"
)
# Control characters, halves of surrogate pairs, and marks that turn the direction of writing.
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\u200d\u2010-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\U0010ffff]+")
_WITHOUT_UNIT = re.compile(r"\d{1,9}(?:\.\d{1,6})?")


def excerpt(text: str | bytes, secrets: Iterable[str] = ()) -> str:
    """Return the beginning of what a service said, fit to be shown: short, one line, no secrets.

    Args:
        text: Bytes are read as UTF-8, what is none of it replaced.
        secrets: Hidden wherever they stand, beside what looks like a key of a known service.
    """
    shown = text[: 20 * LONGEST_EXCERPT]
    if isinstance(shown, bytes):
        shown = shown.decode("utf-8", "replace")
    for secret in secrets:
        shown = shown.replace(secret, HIDDEN)
    shown = _SECRETS.sub(lambda found: (found[1] or "") + HIDDEN, shown)
    shown = " ".join(_UNPRINTABLE.sub(" ", shown).split())
    return shown if len(shown) <= LONGEST_EXCERPT else shown[: LONGEST_EXCERPT - 1] + "…"


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return for how many seconds a service asks to be left alone; None if it says nothing usable.

    Args:
        headers: `Retry-After` (RFC 9110: seconds or a date) and `Retry-After-Ms`; any case.
        now: Epoch seconds.
    """
    given = {name.lower(): value.strip() for name, value in headers.items()}
    if _WITHOUT_UNIT.fullmatch(ms := given.get("retry-after-ms", "")):
        return min(float(ms) / 1000, LONGEST_PAUSE)
    value = given.get("retry-after", "")
    if _WITHOUT_UNIT.fullmatch(value):
        return min(float(value), LONGEST_PAUSE)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        # The last is for years and zones of many digits.
        return None
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return min(max(0.0, when.timestamp() - (time.time() if now is None else now)), LONGEST_PAUSE)


def error_of_status(
    status: int,
    headers: Mapping[str, str],
    body: str | bytes = "",
    *,
    secrets: Iterable[str] = (),
    not_found: type[Rejected | Misconfigured] = Misconfigured,
    is_quota: bool = False,
) -> Exception:
    """Return what to raise for an answer with a status that is no success.

    Args:
        status: Of the answer.
        headers: Of the answer.
        body: Of the answer, for the excerpt.
        secrets: What must not be shown of it.
        not_found: What a 404 means there: the address, or the question.
        is_quota: Whether the body says that a quota is used up, whatever the status.
    """
    said = excerpt(body, secrets)
    reason = f"the service answered {status}" + (f": {said}" if said else "")
    after = retry_after(headers)
    if is_quota or status in _EXHAUSTED:
        return RateLimited(after, reason)
    if status in _UNAUTHORISED:
        return Misconfigured(reason)
    if status == 404:  # noqa: PLR2004
        return not_found(reason)
    if status in _REFUSED:
        return Rejected(reason)
    if 300 <= status < 400:  # noqa: PLR2004
        # Followed, a redirect could carry the key to somebody else.
        return Misconfigured(
            f"{reason or 'a redirect'}; redirects are not followed: configure where it leads"
        )
    return Unavailable(reason, after=after)
