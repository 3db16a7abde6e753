"""The rules of a task's fields: what is stored, what is refused, and how the refusal reads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.errors import InvalidTask
from taskqueue.rules import (
    check_cost,
    check_delay,
    check_durability,
    check_id,
    check_max_attempts,
    check_not_before,
    check_reserve,
    check_timeout,
    check_webhook,
)
from taskqueue.task import Durability

Check = Callable[[Any], object]

HOUR = timedelta(hours=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)

GOOD: list[tuple[Check, object, object]] = [
    (check_id, "A-z_09", "A-z_09"),
    (check_id, "x" * 64, "x" * 64),
    (check_cost, 0, 0),
    (check_cost, 10**12, 10**12),
    (check_max_attempts, None, None),
    (check_max_attempts, 1000, 1000),
    (check_timeout, None, None),
    (check_timeout, timedelta(microseconds=1), 1),
    (check_timeout, timedelta(days=7), 7 * 24 * 3_600_000),
    (check_delay, None, None),
    (check_delay, timedelta(0), None),
    (check_delay, timedelta(milliseconds=1, microseconds=1), 2),
    (check_delay, timedelta(days=3650), 3650 * 24 * 3_600_000),
    (check_not_before, None, None),
    (check_not_before, datetime(2020, 1, 1, 1, tzinfo=timezone(HOUR)), 1_577_836_800_000),
    (check_not_before, datetime(1901, 1, 1, tzinfo=UTC), 0),
    (check_durability, "fsync", Durability.FSYNC),
    (check_durability, Durability.REPLICATED, Durability.REPLICATED),
    (check_webhook, "https://example.org:8443/hook?a=1#b", {"url": "https://example.org:8443/hook?a=1#b"}),
    (check_webhook, {"url": "HTTP://[2001:db8::1]/"}, {"url": "HTTP://[2001:db8::1]/"}),
]

BAD: list[tuple[Check, str, object]] = [
    *((check_id, "id", value) for value in ("", "x" * 65, "a b", "a:b", "ä", "a\n", 5, None, b"a", "{a}")),
    *((check_cost, "cost", value) for value in (-1, 10**12 + 1, 1.0, True, "1", None)),
    *((check_max_attempts, "max_attempts", value) for value in (0, 1001, True, 2.0, "3")),
    *(
        (check_timeout, "timeout", value)
        for value in (timedelta(0), -HOUR, timedelta(days=7, seconds=1), 30, 1.5)
    ),
    *((check_delay, "delay", value) for value in (-HOUR, timedelta(days=3651), 2, "2s", True)),
    *(
        (check_not_before, "not_before", value)
        for value in (datetime(2030, 1, 1), datetime(9000, 1, 1, tzinfo=UTC), 1, "2030-01-01", HOUR)  # noqa: DTZ001
    ),
    *((check_durability, "durability", value) for value in ("FSYNC", "", "disk", 1, None)),
    *(
        (check_webhook, "webhook", value)
        for value in (
            5,
            {},
            {"url": "https://example.org", "secret": "x"},
            "",
            "example.org/hook",
            "ftp://example.org",
            "https://",
            "https:///path",
            "https://user@example.org/",
            "https://user:pass@example.org/",
            "https://example.org/a b",
            "https://example.org/a\nHost: b",
            "https://example.org\\@evil.example/",
            "https://example.org:99999/",
            "https://example.org:0/",
            "https://[::1/",
            "https://example.org/\ud800",
            "https://example.org/" + "x" * 2048,
        )
    ),
    (check_webhook, "webhook.url", {"url": None}),
    (check_webhook, "webhook.url", {"url": "javascript:alert(1)"}),
]


@pytest.mark.parametrize(("check", "value", "stored"), GOOD)
def test_a_value_inside_its_rule_is_stored(check: Check, value: object, stored: object) -> None:
    """The edges of every rule pass; durations round up to milliseconds, so nothing starts early."""
    assert check(value) == stored


@pytest.mark.parametrize(("check", "field", "value"), BAD)
def test_a_value_outside_its_rule_is_refused(check: Check, field: str, value: object) -> None:
    """The refusal names the field, the value and the rule, and can be printed."""
    with pytest.raises(InvalidTask) as refusal:
        check(value)

    assert refusal.value.field == field
    assert refusal.value.value is value or field == "webhook.url"
    assert refusal.value.rule in str(refusal.value)
    str(refusal.value).encode()


@given(st.timedeltas(timedelta(0), timedelta(days=3650)))
def test_a_delay_is_never_shortened(delay: timedelta) -> None:
    """What is stored is the next whole millisecond."""
    stored = timedelta(milliseconds=check_delay(delay) or 0)

    assert timedelta(0) <= stored - delay < timedelta(milliseconds=1)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """Parsing a hostile address raises nothing else."""
    with suppress(InvalidTask):
        check_webhook(f"https://{text}")


def test_a_reserved_task_cannot_be_delayed() -> None:
    """The slot that it takes would stand empty meanwhile."""
    assert check_reserve(True, is_delayed=False) is True
    assert check_reserve(False, is_delayed=True) is False

    for value, is_delayed in ((True, True), (1, False), ("yes", False), (None, False)):
        with pytest.raises(InvalidTask, match="reserve"):
            check_reserve(value, is_delayed=is_delayed)
