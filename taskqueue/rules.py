"""The rules of a `TaskSpec` beside its names, its priority and its payload, and that of counts.

Each check takes what the caller gave and returns what is stored, or raises `InvalidTask` with the
field, the value and the rule. Nothing here looks at the server.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from taskqueue.errors import InvalidSetting, InvalidTask
from taskqueue.task import Durability

LONGEST_DELAY = timedelta(days=3650)
LONGEST_TIMEOUT = timedelta(days=7)
MOST_ATTEMPTS = 1000
HIGHEST_COST = 10**12
LONGEST_URL = 2048

ID_RULE = "text of 1 to 64 of the characters A-Z a-z 0-9 _ -, the first of them no _"
COST_RULE = f"a whole number from 0 to {HIGHEST_COST:,}"
ATTEMPTS_RULE = f"a whole number from 1 to {MOST_ATTEMPTS:,}"
DELAY_RULE = f"a timedelta from 0 to {LONGEST_DELAY.days:,} days"
TIMEOUT_RULE = f"a timedelta above 0 and up to {LONGEST_TIMEOUT.days} days"
INSTANT_RULE = f"a datetime with a time zone, at most {LONGEST_DELAY.days:,} days ahead"
DURABILITY_RULE = f"one of {', '.join(Durability)}"
WEBHOOK_RULE = "an address as text, or a mapping with the one key 'url'"
URL_RULE = (
    f"an http:// or https:// address of at most {LONGEST_URL:,} printable characters with a host, "
    "without user name, password and spaces"
)

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def is_id(value: object) -> bool:
    """Whether some task can have *value* for its id."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def check_id(value: object) -> str:
    """Return *value* as the id of a task."""
    # Ids that begin with "_" are made by scripts.
    if not isinstance(value, str) or not is_id(value) or value.startswith("_"):
        raise InvalidTask("id", value, ID_RULE)
    return str.__str__(value)


def check_cost(value: object) -> int:
    """Return *value* as a price in credits."""
    return _whole("cost", value, 0, HIGHEST_COST, COST_RULE)


def check_hold(value: object, cost: int) -> int:
    """Return *value*, the most that may be charged; None is the price itself."""
    if value is None:
        return cost
    return _whole(
        "hold", value, cost, HIGHEST_COST, f"a whole number from the cost to {HIGHEST_COST:,}, or None"
    )


def check_max_attempts(value: object) -> int | None:
    """Return *value* as a number of attempts; None leaves it to the handler."""
    return None if value is None else _whole("max_attempts", value, 1, MOST_ATTEMPTS, ATTEMPTS_RULE)


def check_timeout(value: object) -> int | None:
    """Return *value* in milliseconds, rounded up; None leaves it to the handler."""
    if value is None:
        return None
    if not isinstance(value, timedelta) or not timedelta(0) < value <= LONGEST_TIMEOUT:
        raise InvalidTask("timeout", value, TIMEOUT_RULE)
    return _milliseconds(value)


def check_delay(value: object) -> int | None:
    """Return *value* in milliseconds, rounded up; None where there is nothing to wait for."""
    if value is None:
        return None
    if not isinstance(value, timedelta) or not timedelta(0) <= value <= LONGEST_DELAY:
        raise InvalidTask("delay", value, DELAY_RULE)
    return _milliseconds(value) or None


def check_not_before(value: object) -> int | None:
    """Return *value* in epoch milliseconds; an instant that is past is accepted and means now."""
    if value is None:
        return None
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidTask("not_before", value, INSTANT_RULE)
    instant = _milliseconds(value - _EPOCH)
    if instant > time.time() * 1000 + LONGEST_DELAY / _MILLISECOND:
        raise InvalidTask("not_before", value, INSTANT_RULE)
    return max(0, instant)


def check_durability(value: object, field: str = "durability") -> Durability:
    """Return *value*, a `Durability` or its text, as a `Durability`."""
    if isinstance(value, str):
        try:
            return Durability(value)
        except ValueError:
            pass
    raise InvalidTask(field, value, DURABILITY_RULE)


def check_webhook(value: object) -> dict[str, Any]:
    """Return *value*, an address or `{"url": address}`, in the second form.

    Only its shape is checked here: whether the host may be called is decided when it is called.
    """
    if isinstance(value, str):
        return {"url": _check_url(value, "webhook")}
    if not isinstance(value, Mapping) or set(value) != {"url"}:
        raise InvalidTask("webhook", value, WEBHOOK_RULE)
    return {"url": _check_url(value["url"], "webhook.url")}


def check_reserve(value: object, *, is_delayed: bool) -> bool:
    """Return *value*; a slot that is taken now cannot wait for a delayed task."""
    if not isinstance(value, bool):
        raise InvalidTask("reserve", value, "True or False")
    if value and is_delayed:
        raise InvalidTask("reserve", value, "False for a task with a delay or a not_before")
    return value


def check_count(setting: str, value: object, lowest: int, highest: int) -> int:
    """Return *value*, an option of a queue that is a whole number, if it is in its range.

    Raises:
        InvalidSetting: If it is not.
    """
    if type(value) is not int or not lowest <= value <= highest:
        raise InvalidSetting(setting, value, f"a whole number from {lowest:,} to {highest:,}")
    return value


def _check_url(value: object, field: str) -> str:
    if not isinstance(value, str) or not _is_web_address(value):
        raise InvalidTask(field, value, URL_RULE)
    return str.__str__(value)


def _is_web_address(text: str) -> bool:
    # Spaces and backslashes are read differently by different clients, control characters could
    # end a header line; isprintable() is False for the latter and for half a surrogate pair.
    if len(text) > LONGEST_URL or not text.isprintable() or " " in text or "\\" in text:
        return False
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and port != 0
    )


def _whole(field: str, value: object, lowest: int, highest: int, rule: str) -> int:
    if type(value) is not int or not lowest <= value <= highest:
        raise InvalidTask(field, value, rule)
    return value


def _milliseconds(span: timedelta) -> int:
    """Return *span* in whole milliseconds, rounded up: nothing starts early."""
    return -(-span // _MILLISECOND)
