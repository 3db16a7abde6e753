"""The verbs of providers: their limits, what they are at, and the move of a task to another one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from taskqueue.errors import QueueCorrupt
from taskqueue.store.base import StoreBase

Verdict = Literal["answered", "limited", "failed", "misconfigured", "left"]
"""How it went with a provider: it works and refuses this task; it takes no more for now; it does not
work; it refuses us; nothing is known."""

Condition = Literal["ready", "full", "cooling", "open", "probing", "paused"]
"""`full`: its concurrency, rate or tokens are used up; `open`: its breaker is, so it gets nothing;
`probing`: the breaker lets one task at a time find out whether it works again."""

_BREAKER = 5
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Switched:
    """Where a running task goes on.

    Attributes:
        provider: The next provider; None if no other one has room.
        opens_in: Seconds until the first of them opens by itself; None if that is not known.
        is_stale: The lease is lost, and nothing was changed.
    """

    provider: str | None = None
    opens_in: float | None = None
    is_stale: bool = False


@dataclass(frozen=True, slots=True)
class ProviderState:
    """The limits of a provider for the whole fleet, and what it is at.

    Attributes:
        name: Of the provider.
        condition: Whether it takes tasks, and if not, why.
        opens_in: Seconds until time alone changes that; None if it waits for something else.
        concurrency: Most tasks at once over all workers; None for no limit.
        lowest: The concurrency adapts between this and *concurrency*; None: it does not adapt.
        allowed: What it allows at present; None for no limit.
        rate: Most starts in each period; None for no limit.
        period: Length of that, in seconds.
        tokens: Most tokens in a minute; None for no limit.
        breaker: Failures in a row that open the breaker; 0: it has none.
        used: Tasks that run there now.
        failures: Failures in a row until now.
        waiting: Types that found no room there at their last claim.
    """

    name: str
    condition: Condition
    opens_in: float | None
    concurrency: int | None
    lowest: int | None
    allowed: int | None
    rate: int | None
    period: float
    tokens: int | None
    breaker: int
    used: int
    failures: int
    waiting: tuple[str, ...]


class ProviderVerbs(StoreBase):
    """What is asked about providers."""

    async def set_provider(self, name: str, settings: Mapping[str, str], *, fresh: bool = False) -> None:
        """Change settings of a provider, given as limit:provider has them; "none" takes one away.

        Args:
            name: Of the provider.
            settings: `max`, `min`, `rate`, `period` (ms), `tokens`, `breaker`, `paused`.
            fresh: Forget what it learned: cooling, breaker, adapted concurrency, spare tokens.
        """
        await self._run(
            "set_provider",
            limit=self.keys.limit_provider(name),
            providers=self.keys.providers,
            name=name,
            fresh=int(fresh),
            rest=[text for pair in settings.items() for text in pair],
        )

    async def switch(
        self,
        task_id: str,
        token: str,
        *,
        left: str,
        verdict: Verdict,
        after_ms: int = 0,
        tokens: int = 0,
        following: Sequence[str] = (),
        patience: float | None = None,
    ) -> Switched:
        """Move a running task to the first of the following providers that has room.

        May be repeated: a task that has left *left* stays where it went.

        Args:
            task_id: Of the task.
            token: Of its claim.
            left: The provider that it leaves.
            verdict: How it went there.
            after_ms: For how long that one asks to be left alone.
            tokens: How many were used there.
            following: Names, in this order; none: it only leaves.
            patience: Seconds, in place of the store's own.
        """
        reply = await self._run(
            "switch",
            patience=patience,
            id=task_id,
            token=token,
            **{"from": left},
            verdict=verdict,
            after=after_ms,
            tokens=tokens,
            rest=list(following),
        )
        match reply:
            case [b"switched", provider]:
                return Switched(provider.decode())
            case [b"none", opens]:
                opens_in = max(0.0, (int(opens) - await self._time()) / 1000) if opens else None
                return Switched(None, opens_in)
            case _:
                return Switched(is_stale=True)

    async def providers(self) -> list[ProviderState]:
        """Return every provider that has limits or was used, by name."""

        async def read_names() -> Any:
            return await self._caller.wire.call("SMEMBERS", self.keys.providers)

        names = sorted(name.decode() for name in await self._caller.persist(read_names, "providers", None))
        now = await self._time() if names else 0
        return [await self._provider(name, now) for name in names]

    async def _provider(self, name: str, now: float) -> ProviderState:
        async def read() -> Any:
            return await self._caller.wire.call("HGETALL", self.keys.limit_provider(name))

        values = await self._caller.persist(read, "providers", None)
        pairs = values.items() if isinstance(values, dict) else zip(values[::2], values[1::2], strict=True)
        try:
            return read_state(name, {key.decode(): value.decode() for key, value in pairs}, now)
        except ValueError as error:
            raise QueueCorrupt(f"the limits of provider {name!r} are damaged: {error}") from error

    async def _time(self) -> float:
        """Return the server's clock in epoch ms, or that of a test."""
        given = self._caller.now()
        if given:
            return float(given)

        async def read() -> Any:
            return await self._caller.wire.call("TIME")

        seconds, micros = await self._caller.persist(read, "the time", None)
        return int(seconds) * 1000 + int(micros) / 1000


def read_state(name: str, values: Mapping[str, str], now: float) -> ProviderState:
    """Return the state that the fields of limit:provider describe at *now*, in epoch ms."""

    def number(field: str) -> float | None:
        return float(values[field]) if field in values else None

    def whole(field: str) -> int | None:
        return None if (value := number(field)) is None else math.floor(value)

    most, lowest = whole("max"), whole("min")
    allowed = most if lowest is None else math.floor(number("allowed") or most or 0)
    breaker, used = whole("breaker"), whole("used") or 0
    breaker = _BREAKER if breaker is None else breaker
    failures = whole("failures") or 0
    rate, tokens = whole("rate"), whole("tokens")
    has_failed = bool(breaker) and failures >= breaker
    condition, opens_at = _condition(values, now, used, allowed, has_failed=has_failed)
    return ProviderState(
        name=name,
        condition=condition,
        opens_in=None if opens_at is None else (opens_at - now) / 1000,
        concurrency=most,
        lowest=lowest,
        allowed=allowed,
        rate=rate,
        period=(number("period") or _MINUTE_MS) / 1000,
        tokens=tokens,
        breaker=breaker,
        used=used,
        failures=failures,
        waiting=tuple(values.get("waiting", "").split()),
    )


def _condition(
    values: Mapping[str, str], now: float, used: int, allowed: int | None, *, has_failed: bool
) -> tuple[Condition, float | None]:
    """Return what a claim would find, as lua/_routing.lua has it, and when time alone changes that."""
    cooling, opening = (float(values.get(field, 0)) for field in ("cooling_until", "open_until"))
    if values.get("paused") == "1":
        return "paused", None
    if opening > now:
        return "open", max(opening, cooling)
    if cooling > now:
        return "cooling", cooling
    if has_failed:
        return "probing", None
    if (allowed is not None and used >= allowed) or values.get("rate") == "0" or values.get("tokens") == "0":
        return "full", None
    at = max(_rate_opens(values, now), _tokens_open(values, now))
    return ("full", at) if at > now else ("ready", None)


def _rate_opens(values: Mapping[str, str], now: float) -> float:
    rate = int(values.get("rate", 0))
    if not rate:
        return now
    burst = max(1, rate // 10)
    slack = (burst - 1) * float(values["period"]) / (rate - burst + 1)
    return float(values.get("next_at", 0)) - slack


def _tokens_open(values: Mapping[str, str], now: float) -> float:
    tokens, since = int(values.get("tokens", 0)), float(values.get("spare_at", 0))
    if not tokens or not since:
        return now
    spare = float(values.get("spare", 0)) + (now - since) * tokens / _MINUTE_MS
    return now if spare > 0 else now + (1 - spare) * _MINUTE_MS / tokens
