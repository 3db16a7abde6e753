"""What a receiver asks for by `Retry-After`: seconds from now, however it says them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import h11
import pytest

from taskqueue.webhooks import DeliveryFailed, Endpoint
from taskqueue.webhooks.posting import LONGEST_RETRY_AFTER, _outcome, _retry_after


def asked(value: str | None) -> float | None:
    """Return the seconds that a reply with this header asks for."""
    headers = [] if value is None else [("Retry-After", value)]
    return _retry_after(h11.Response(status_code=503, headers=headers))


def test_the_failure_carries_it_beside_the_status() -> None:
    """Whoever plans the next attempt reads both there."""
    reply = h11.Response(status_code=503, headers=[("Retry-After", "7")])

    with pytest.raises(DeliveryFailed) as failed:
        _outcome(Endpoint("https", "a.example", 443, "/"), reply)

    assert (failed.value.host, failed.value.reason) == ("a.example", "it answered 503")
    assert (failed.value.status, failed.value.retry_after) == (503, 7)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5)), timezone(-timedelta(hours=8))])
def test_an_instant_counts_in_the_zone_that_it_names(zone: timezone) -> None:
    """In an hour is in an hour, wherever the receiver's clock hangs."""
    instant = datetime.now(zone) + timedelta(hours=1)

    assert asked(format_datetime(instant)) == pytest.approx(3600, abs=30)


def test_an_instant_without_a_zone_is_utc() -> None:
    """Mail writes -0000 for it, and so may a receiver."""
    instant = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)

    assert format_datetime(instant).endswith("-0000")
    assert asked(format_datetime(instant)) == pytest.approx(3600, abs=30)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", 0),
        ("7", 7),
        ("86400", LONGEST_RETRY_AFTER),
        ("86401", LONGEST_RETRY_AFTER),
        ("9" * 5000, LONGEST_RETRY_AFTER),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
    ],
)
def test_it_is_between_nothing_and_a_day(value: str | None, seconds: float | None) -> None:
    """What is past is now, what is further off is cut, and what is neither kind asks for nothing."""
    assert asked(value) == seconds
