"""What an OpenAI-compatible service's errors say about it, whether they come with a status or inside a 200.

The shared rule of `scheduler.providers.classifying`, and before it what the body says, because services
use one status for unlike things:

| the service says                                                 | raised                          |
|------------------------------------------------------------------|---------------------------------|
| 402; 403 or 429 whose code or text says that credit is used up   | `RateLimited`, `quota_cooldown` |
| 400, 403 and the like because of the prompt: too long, forbidden | `Rejected`                      |
| 400, 422 because of a key, a model or a parameter                | `Misconfigured`                 |
| 409: another call with the same idempotency key is under way     | `Retry`                         |

Without that, one tenant's forbidden prompt would open the breaker for all, and a parameter that a new
model does not know would fail every task for good.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from scheduler.errors import Misconfigured, RateLimited, Rejected, Retry
from scheduler.providers.classifying import error_of_status, excerpt, retry_after
from scheduler.providers.openai.settings import OpenAiSettings
from scheduler.providers.tools.decoding import text_of

_BAD_REQUEST, _PAYMENT_REQUIRED, _FORBIDDEN, _CONFLICT, _TOO_MANY = 400, 402, 403, 409, 429
_SERVER_ERROR: Final = 500
_REFUSALS: Final = frozenset({_BAD_REQUEST, _FORBIDDEN, 413, 422})

_QUOTA: Final = frozenset(
    {
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_quota",
    }
)
_PROMPT: Final = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "exceed_context_size_error",  # llama.cpp
        "invalid_prompt",
        "moderation_blocked",
        "string_above_max_length",
    }
)
_CONFIGURATION: Final = frozenset(
    {
        "invalid_api_key",
        "invalid_model",
        "model_not_found",
        "unknown_parameter",
        "unsupported_parameter",
        "unsupported_value",
    }
)
# Texts of services that say it by no code. Looked for only at their own status: a prompt that is
# repeated in an error cannot turn it into another one there.
_QUOTA_TEXT: Final = re.compile(
    r"used all available credits|spending limit|credit balance is too low", re.IGNORECASE
)
_PROMPT_TEXT: Final = re.compile(
    r"maximum context length|context (?:size|window)|prompt is too long|violates usage guidelines"
    r"|content (?:management )?policy|flagged (?:by|as|for)",
    re.IGNORECASE,
)
_KEY_TEXT: Final = re.compile(r"(?:incorrect|invalid) api key|api key not valid", re.IGNORECASE)
_PROMPT_FIELD: Final = re.compile(r"messages|input|prompt")

_STATUS_OF: Final[Mapping[str, int]] = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "notfounderror": 404,
    "overloaded_error": 503,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "too_many_requests": 429,
    **dict.fromkeys(_PROMPT, 400),
}
"""Code or type of an error inside a 200 -> the status that it would have had."""


class Told(NamedTuple):
    """What an error's body says.

    Attributes:
        message: For people.
        words: Its code and its type, in small letters.
        status: Its code, if that is a number.
        param: Which field of ours is wrong.
    """

    message: str = ""
    words: frozenset[str] = frozenset()
    status: int | None = None
    param: str = ""


def told_by(body: Any) -> Told:
    """Return what the body of an error says, in any of the shapes that services give it."""
    if isinstance(body, list):  # Gemini
        return told_by(body[0]) if body else Told()
    if isinstance(body, str):
        return Told(message=body)
    if not isinstance(body, dict):
        return Told()
    error = body.get("error")
    if isinstance(error, dict):
        return told_by(error)
    code = body.get("code")
    words = {word.lower() for word in (code, body.get("type")) if isinstance(word, str)}
    is_status = type(code) is int and _BAD_REQUEST <= code < 600  # noqa: PLR2004
    messages = (text_of(body.get(name)) for name in ("message", "error", "detail"))
    return Told(
        message=next((text for text in messages if text), ""),
        words=frozenset(words),
        status=code if is_status else None,
        param=text_of(body.get("param")) or "",
    )


def error_of(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    settings: OpenAiSettings,
    secrets: tuple[str, ...],
) -> Exception:
    """Return what to raise for an answer with a status that is no success."""
    try:
        told = told_by(json.loads(body))
    except (ValueError, RecursionError):
        told = Told()
    shown = error_of_status(status, headers, told.message or body, secrets=secrets)
    return _judged(status, told, shown, retry_after(headers), settings)


def error_inside(body: Any, *, settings: OpenAiSettings, secrets: tuple[str, ...]) -> Exception:
    """Return what to raise for an error inside an answer that began as a success."""
    told = told_by(body)
    known = (found for word in sorted(told.words) if (found := _status_of(word)) is not None)
    status = told.status or next(known, _SERVER_ERROR)
    said = excerpt(told.message or " ".join(sorted(told.words)) or json.dumps(body, default=str), secrets)
    shown: Any = error_of_status(status, {}, secrets=secrets)
    shown.reason = f"the service broke off with an error: {said}"
    shown.args = (shown.reason,)
    return _judged(status, told, shown, None, settings)


def _status_of(word: str) -> int | None:
    # bio_policy, image_content_policy_violation and more to come: what the prompt asks for is forbidden.
    return _STATUS_OF.get(word, _BAD_REQUEST if "policy" in word else None)


def _judged(
    status: int, told: Told, shown: Exception, after: float | None, settings: OpenAiSettings
) -> Exception:
    """Return *shown*, or what the body makes of it."""
    reason = str(shown)
    may_be_quota = status in {_FORBIDDEN, _TOO_MANY}
    if (
        status == _PAYMENT_REQUIRED
        or told.words & _QUOTA
        or (may_be_quota and _QUOTA_TEXT.search(told.message))
    ):
        return RateLimited(max(after or 0.0, settings.quota_cooldown), reason)
    if status == _CONFLICT:
        return Retry(after, reason)
    if status in _REFUSALS:
        if (
            told.words & _PROMPT
            or any("policy" in word for word in told.words)
            or _PROMPT_TEXT.search(told.message)
        ):
            return Rejected(reason)
        is_field = told.param and not _PROMPT_FIELD.match(told.param)
        if told.words & _CONFIGURATION or is_field or _KEY_TEXT.match(told.message):
            return Misconfigured(reason)
    return shown
