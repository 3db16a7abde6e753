"""What may be set for a provider, checked, as the store takes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from taskqueue.errors import InvalidSetting
from taskqueue.rules import check_count
from taskqueue.store import UNSET, Unset

HIGHEST_CONCURRENCY = 10**9
_HIGHEST_RATE = 10**6
_HIGHEST_TOKENS = 10**12
_HIGHEST_BREAKER = 1000
_MINUTE = timedelta(minutes=1)
_SHORTEST_PERIOD, _LONGEST_PERIOD = timedelta(seconds=1), timedelta(days=1)
_MILLISECOND = timedelta(milliseconds=1)
_NONE = "none"


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """What a caller wants of a provider; `UNSET` leaves it as it is, None takes it away.

    Attributes:
        concurrency: Most tasks at once.
        lowest: How far the concurrency may sink by itself.
        rate: Most starts in each period.
        period: Length of that; a minute where only a rate is given.
        tokens: Most tokens in a minute.
        breaker: Failures in a row that open the breaker; None is the default, 5.
    """

    concurrency: int | Unset | None = UNSET
    lowest: int | Unset | None = UNSET
    rate: int | Unset | None = UNSET
    period: timedelta | Unset = UNSET
    tokens: int | Unset | None = UNSET
    breaker: int | Unset | None = UNSET

    def refuse(self, scope: str) -> None:
        """Raise `InvalidSetting` if anything is given that a type or a tenant cannot have."""
        for name in ("lowest", "rate", "period", "tokens", "breaker"):
            value = getattr(self, name)
            if value is not UNSET:
                raise InvalidSetting(name, value, f"left out for a {scope}: only providers have one")

    def settings(self) -> dict[str, str]:
        """Return the settings by the names under which they are stored.

        Raises:
            InvalidSetting: If one of them is out of its range.
        """
        counts = (
            ("max", "concurrency", self.concurrency, 0, HIGHEST_CONCURRENCY),
            ("min", "lowest", self.lowest, 1, HIGHEST_CONCURRENCY),
            ("rate", "rate", self.rate, 0, _HIGHEST_RATE),
            ("tokens", "tokens", self.tokens, 0, _HIGHEST_TOKENS),
            ("breaker", "breaker", self.breaker, 0, _HIGHEST_BREAKER),
        )
        found = {}
        for stored, name, value, least, most in counts:
            if value is None:
                found[stored] = _NONE
            elif value is not UNSET:
                found[stored] = str(check_count(name, value, least, most))
        if self.period is not UNSET and found.get("rate", _NONE) == _NONE:
            raise InvalidSetting("period", self.period, "given together with a rate")
        if "rate" in found:
            found["period"] = _period(self.period)
        return found


def _period(value: timedelta | Unset) -> str:
    period = _MINUTE if value is UNSET else value
    if not isinstance(period, timedelta) or not _SHORTEST_PERIOD <= period <= _LONGEST_PERIOD:
        raise InvalidSetting("period", value, "a timedelta from 1 second to 1 day")
    return str(period // _MILLISECOND)
