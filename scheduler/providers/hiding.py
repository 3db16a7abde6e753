"""Errors of providers as they may be stored and logged: a last look that no secret is in them.

Every provider hides its secrets where it reads what a service said. Whoever forgets it, or raises what
a library raised, is caught here: tenants read the errors of their tasks.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from scheduler.errors import GiveUp, RateLimited, Retry, Unavailable
from scheduler.providers.classifying import HIDDEN


def without(text: str, secrets: Sequence[str]) -> str:
    """Return *text* without the secrets."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def told(error: Exception, secrets: Sequence[str]) -> Exception:
    """Return *error* if nothing of it, its details and its causes included, holds a secret.

    Else the same error without them, or, where it is none of `scheduler.errors`, an `Unavailable` with
    its class and text: its traceback could not be shown.
    """
    if not secrets or not any(secret in _everything(error) for secret in secrets):
        return error
    hidden = without(_text(error), secrets)
    if not isinstance(error, Retry | RateLimited | GiveUp):
        return Unavailable(f"{type(error).__name__}: {hidden}")
    error.reason, error.args = hidden, (hidden,)
    error.__cause__ = error.__context__ = None
    if isinstance(error, GiveUp):
        error.details = None
    return error


def _everything(error: Exception) -> str:
    """Return all text of an error that could be stored or logged."""
    details = repr(error.details) if isinstance(error, GiveUp) else ""
    return "".join([*traceback.format_exception(error), details])


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  an exception whose text fails is still to be reported
        return "its text cannot be shown"
