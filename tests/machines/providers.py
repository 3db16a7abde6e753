"""What the model knows of providers: their limits, and what they have learned."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

LONGEST_OPEN, LONGEST_COOLING, MISCONFIGURED_OPEN, FIRST_OPEN = 300_000, 3_600_000, 60_000, 5_000
COOLING = LOWERED_AGAIN_AFTER = 1_000


@dataclass
class ModelProvider:
    """One provider; `allowed` is its concurrency since it was lowered, None while it is not."""

    most: int | None = None
    lowest: int | None = None
    breaker: int | None = None
    is_paused: bool = False
    allowed: float | None = None
    lowered_at: int = 0
    cooling_until: int = 0
    failures: int = 0
    opens: int = 0
    open_until: int = 0

    @property
    def opens_after(self) -> int:
        """Failures in a row that open its breaker; 0: it has none."""
        return 5 if self.breaker is None else self.breaker

    @property
    def has_failed(self) -> bool:
        """Whether it gets one task at a time, or none."""
        return 0 < self.opens_after <= self.failures

    @property
    def now_allowed(self) -> float:
        """Its concurrency at present."""
        if self.most is None:
            return math.inf
        if self.lowest is None or self.allowed is None:
            return self.most
        return min(self.most, max(self.lowest, self.allowed))

    def is_open(self, now: int) -> bool:
        """Whether its breaker is."""
        return self.opens_after > 0 and self.open_until > now

    def room(self, now: int, used: int, probes: int) -> float:
        """How many tasks may start there."""
        if self.is_paused or self.cooling_until > now or self.is_open(now):
            return 0
        allowed = self.now_allowed
        room = (math.floor(allowed) if allowed < math.inf else allowed) - used
        return max(0, min(room, 1 - probes) if self.has_failed else room)

    def condition(self, now: int, used: int, probes: int) -> str:
        """What operators are told."""
        if self.is_paused:
            return "paused"
        if self.is_open(now):
            return "open"
        if self.cooling_until > now:
            return "cooling"
        if self.has_failed:
            return "probing"
        return "ready" if self.room(now, used, probes) > 0 else "full"

    def opens_at(self, now: int) -> float:
        """When time alone may make room; infinite if it does not."""
        at = max(self.cooling_until, self.open_until if self.is_open(now) else 0)
        return math.inf if self.is_paused or at <= now else at

    def judge(self, verdict: str, after: int, now: int, used: int) -> None:
        """Learn how it went with one task of those that run there."""
        after = COOLING if verdict == "limited" and not after else after
        if after:
            self.cooling_until = max(self.cooling_until, now + min(after, LONGEST_COOLING))
        if verdict == "answered":
            self.failures = self.opens = self.open_until = 0
            self._grow(used)
        if verdict in {"limited", "failed"}:
            self._lower(now)
        if verdict in {"failed", "misconfigured"}:
            self.failures += 1
            shortest = 0
            if verdict == "misconfigured":
                self.failures, shortest = max(self.failures, self.opens_after), MISCONFIGURED_OPEN
            if self.has_failed and now >= self.open_until:
                self.open_until = now + max(shortest, min(LONGEST_OPEN, FIRST_OPEN * 2**self.opens))
                self.opens += 1

    def _grow(self, used: int) -> None:
        whole = self.now_allowed
        if self.most is not None and self.lowest is not None and used == math.floor(whole):
            grown = whole + 1 / max(1, math.floor(whole))
            next_whole = math.floor(whole) + 1
            self.allowed = min(self.most, next_whole if next_whole - grown < 1e-6 else grown)

    def _lower(self, now: int) -> None:
        if self.most is not None and self.lowest is not None and now >= self.lowered_at + LOWERED_AGAIN_AFTER:
            self.allowed = max(min(self.lowest, self.most), math.floor(self.now_allowed) / 2)
            self.lowered_at = now

    def set(self, most: int | None, lowest: int | None, breaker: int | None, *, is_fresh: bool) -> bool:
        """Take new limits; False if they make no sense."""
        if lowest is not None and (most is None or lowest > most):
            return False
        if (
            is_fresh
            or lowest is None
            or self.lowest is None
            or self.most is None
            or self.now_allowed >= self.most
        ):
            self.allowed = None
        self.most, self.lowest, self.breaker = most, lowest, breaker
        if is_fresh:
            self.lowered_at = self.cooling_until = self.failures = self.opens = self.open_until = 0
        return True

    @property
    def has_settings(self) -> bool:
        """Whether anything was set."""
        return self.is_paused or (self.most, self.lowest, self.breaker) != (None, None, None)


@dataclass
class Providers:
    """All providers by name, and the chain of each type; a type without one is sent nowhere."""

    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    known: dict[str, ModelProvider] = field(default_factory=dict)

    def named(self, name: str) -> ModelProvider:
        """Return a provider; one that nobody knows has no limits."""
        return self.known.get(name) or ModelProvider()
