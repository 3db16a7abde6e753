"""The map that forgets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskqueue.accounts.fleeting import Fleeting


class Timer:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_value_lasts_until_its_time_and_not_longer() -> None:
    """At that very instant it is gone."""
    timer = Timer()
    held: Fleeting[str] = Fleeting(10, timer)
    held.put("a", "value", 105.0)

    timer.now = 104.999
    assert held.get("a") == "value"
    timer.now = 105.0
    assert held.get("a") is None
    assert len(held) == 0


def test_the_oldest_makes_room() -> None:
    """Putting a value in again makes it the youngest; reading it does not."""
    held: Fleeting[int] = Fleeting(3, Timer())
    for name in ("a", "b", "c", "b"):
        held.put(name, 1, 200.0)
    assert len(held) == 3
    held.get("a")

    held.put("d", 1, 200.0)

    assert [name for name in "abcd" if held.get(name)] == ["b", "c", "d"]


def test_a_dropped_value_is_gone() -> None:
    """One that was never there is no trouble."""
    held: Fleeting[int] = Fleeting(3, Timer())
    held.put("a", 1, 200.0)

    held.drop("a")
    held.drop("b")

    assert held.get("a") is None


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 300))))
def test_it_never_holds_more_than_it_may(entries: list[tuple[int, float]]) -> None:
    """Whatever comes in, and for however long; the one that came last is there if its time lasts."""
    timer = Timer()
    held: Fleeting[int] = Fleeting(7, timer)
    for number, until in entries:
        held.put(str(number), number, until)

        assert len(held) <= 7
        assert held.get(str(number)) == (number if until > timer.now else None)
