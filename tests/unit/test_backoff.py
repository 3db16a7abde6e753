"""Backoff: how long a failed task waits, as a function of the attempt and of chance."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scheduler.backoff import LONGEST, Backoff, Exponential, Fixed
from taskqueue.errors import InvalidSetting

SECOND = timedelta(seconds=1)
ATTEMPTS = st.one_of(st.integers(1, 20), st.integers(1, 10**9), st.integers(1, 10**400))
DURATIONS = st.timedeltas(timedelta(microseconds=1), LONGEST)
FACTORS = st.one_of(st.floats(1, 10), st.floats(1, 1e308), st.integers(1, 100))


@st.composite
def exponentials(draw: st.DrawFn) -> Exponential:
    """Every backoff that may be made."""
    base, cap = sorted(draw(st.tuples(DURATIONS, DURATIONS)))
    return Exponential(base, draw(FACTORS), cap, draw(st.sampled_from(["full", "none"])))


def test_the_default_doubles_from_one_second_to_five_minutes() -> None:
    """1, 2, 4 ... 256 seconds, then 300 for ever."""
    ceilings = [Exponential().ceiling(attempt).total_seconds() for attempt in range(1, 13)]

    assert ceilings == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_without_jitter_the_ceiling_is_the_delay() -> None:
    """Whatever the chance."""
    backoff = Exponential(SECOND, 3, 20 * SECOND, jitter="none")

    delays = [backoff.delay(attempt, Random(attempt)) / SECOND for attempt in range(1, 6)]

    assert delays == [1, 3, 9, 20, 20]


def test_full_jitter_spreads_evenly_below_the_ceiling() -> None:
    """A thousand tasks that failed together come back over the whole time, not in a wave."""
    random = Random(1)
    backoff = Exponential()

    shares = [backoff.delay(4, random) / (8 * SECOND) for _ in range(1000)]

    tenths = [sum(n / 10 <= share < (n + 1) / 10 for share in shares) for n in range(10)]
    assert sum(tenths) == 1000
    assert all(60 < count < 140 for count in tenths)


def test_the_same_chance_gives_the_same_delay() -> None:
    """All chance comes from the source that is passed in."""
    assert Exponential().delay(5, Random(7)) == Exponential().delay(5, Random(7))
    assert Exponential().delay(5, Random(7)) != Exponential().delay(5, Random(8))


@given(exponentials(), ATTEMPTS, st.integers())
@example(Exponential(timedelta(microseconds=1), 1.0, LONGEST), 10**400, 0)
@example(Exponential(timedelta(microseconds=1), 1e308, LONGEST), 10**400, 0)
@example(Exponential(LONGEST, 1e308, LONGEST), 2, 0)
def test_a_delay_lies_between_zero_and_the_ceiling(backoff: Exponential, attempt: int, seed: int) -> None:
    """For every setting, at every attempt, however absurd."""
    ceiling = backoff.ceiling(attempt)

    assert timedelta(0) <= backoff.delay(attempt, Random(seed)) <= ceiling
    assert backoff.base <= ceiling <= backoff.cap


@given(exponentials(), ATTEMPTS, ATTEMPTS)
def test_the_ceiling_never_shrinks_with_attempts(backoff: Exponential, one: int, other: int) -> None:
    """A later attempt never has a lower ceiling than an earlier one."""
    earlier, later = sorted((one, other))

    assert backoff.ceiling(earlier) <= backoff.ceiling(later)


@given(exponentials(), st.floats(1, 1e9), st.integers(1, 12))
def test_the_ceiling_is_the_formula(backoff: Exponential, factor: float, attempt: int) -> None:
    """Where the formula can be computed, to a millionth and a microsecond."""
    backoff = replace(backoff, factor=factor)
    formula = min(backoff.cap.total_seconds(), backoff.base.total_seconds() * factor ** (attempt - 1))

    assert backoff.ceiling(attempt).total_seconds() == pytest.approx(formula, rel=1e-6, abs=1e-6)


def test_a_factor_of_one_stays_at_the_base() -> None:
    """Constant ceilings with jitter."""
    assert Exponential(factor=1).ceiling(10**400) == SECOND


@given(st.timedeltas(timedelta(0), LONGEST), ATTEMPTS)
def test_fixed_waits_the_same_after_every_attempt(wait: timedelta, attempt: int) -> None:
    """Zero included, which tries again at once."""
    assert Fixed(wait).delay(attempt, Random(0)) == wait


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"base": timedelta(0)}, "backoff.base"),
        ({"base": -SECOND}, "backoff.base"),
        ({"base": timedelta(hours=1)}, "backoff.base"),
        ({"base": 1.0}, "backoff.base"),
        ({"factor": 0.99}, "backoff.factor"),
        ({"factor": float("nan")}, "backoff.factor"),
        ({"factor": float("inf")}, "backoff.factor"),
        ({"factor": True}, "backoff.factor"),
        ({"factor": "2"}, "backoff.factor"),
        ({"cap": timedelta(days=366)}, "backoff.cap"),
        ({"cap": -SECOND}, "backoff.cap"),
        ({"cap": 300}, "backoff.cap"),
        ({"jitter": "some"}, "backoff.jitter"),
        ({"jitter": None}, "backoff.jitter"),
    ],
)
def test_an_exponential_out_of_range_is_refused(options: dict[str, Any], setting: str) -> None:
    """When it is made, not when the first task fails."""
    with pytest.raises(InvalidSetting) as caught:
        Exponential(**options)

    assert caught.value.setting == setting


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"base": timedelta(hours=1)}, "a timedelta above zero and up to the cap, 0:05:00"),
        ({"factor": 0.99}, "a finite number of at least 1"),
        ({"cap": 300}, "a timedelta from zero to 365 days"),
        ({"jitter": "some"}, "'full' or 'none'"),
    ],
)
def test_a_refusal_shows_what_was_given_and_what_would_do(options: dict[str, Any], rule: str) -> None:
    """The rule in whole, for it is all that a user has to go by."""
    with pytest.raises(InvalidSetting) as caught:
        Exponential(**options)

    assert [caught.value.value] == list(options.values())
    assert caught.value.rule == rule


@pytest.mark.parametrize("wait", [-SECOND, timedelta(days=366), 5, None])
def test_a_fixed_wait_out_of_range_is_refused(wait: Any) -> None:
    """A bare number has no unit and is refused too."""
    with pytest.raises(InvalidSetting, match=r"^backoff\.wait: .* a timedelta from zero to 365 days"):
        Fixed(wait)


@pytest.mark.parametrize("attempt", [0, -1, True, 1.0, None])
@pytest.mark.parametrize("backoff", [Exponential(), Fixed(SECOND)])
def test_attempts_count_from_one(backoff: Backoff, attempt: Any) -> None:
    """Zero would be an attempt that never was."""
    with pytest.raises(InvalidSetting) as caught:
        backoff.delay(attempt, Random(0))

    assert (caught.value.setting, caught.value.value) == ("attempt", attempt)
    assert caught.value.rule == "a whole number of at least 1"
