"""Retry, RateLimited and GiveUp: what a handler can ask for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler import GiveUp, RateLimited, Retry
from taskqueue.errors import InvalidSetting


@pytest.mark.parametrize("signal", [Retry, RateLimited])
def test_a_wait_is_a_timedelta_or_seconds(signal: type[Retry | RateLimited]) -> None:
    """None leaves it to the backoff."""
    assert signal().after is None
    assert signal(after=2).after == timedelta(seconds=2)
    assert signal(0.5).after == timedelta(milliseconds=500)
    assert signal(timedelta(minutes=1), "busy").after == timedelta(minutes=1)
    assert signal(after=0, reason="busy").reason == "busy"


@pytest.mark.parametrize("signal", [Retry, RateLimited])
@pytest.mark.parametrize("after", [-1, float("nan"), float("inf"), "soon", True, timedelta(days=366)])
def test_an_impossible_wait_is_refused(signal: type[Retry | RateLimited], after: Any) -> None:
    """The handler's own mistake, and shown as one."""
    with pytest.raises(InvalidSetting, match="after"):
        signal(after=after)


def test_giving_up_carries_a_reason_a_code_and_details() -> None:
    """All three are stored with the task."""
    plain, full = GiveUp("no such page"), GiveUp("no such page", code="NOT_FOUND", details={"status": 404})

    assert (plain.reason, plain.code, plain.details) == ("no such page", "GIVEN_UP", None)
    assert (str(full), full.code, full.details) == ("no such page", "NOT_FOUND", {"status": 404})
