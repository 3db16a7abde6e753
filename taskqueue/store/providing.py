"""The verbs of providers: their limits, what they are at, and the move of a task to another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from taskqueue.errors import InvalidSetting, QueueCorrupt
from taskqueue.store.base import StoreBase

Verdict = Literal["answered", "limited", "failed", "misconfigured", "left"]
"""How it went with a provider: it works and refuses this task; it takes no more for now; it does not
work; it refuses us; nothing is known."""

Condition = Literal["ready", "full", "cooling", "open", "probing", "paused"]
"""`full`: its concurrency, rate or tokens are used up; `open`: its breaker is, so it gets nothing;
`probing`: the breaker lets one task at a time find out whether it works again."""

_MOST_PROVIDERS = 1000
"""Providers that are shown at once: far more than anybody configures."""


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
        opens_in: Seconds until time alone may let it take tasks; None if it takes some, or waits for
            something else.
        concurrency: Most tasks at once over all workers; None for no limit.
        lowest: The concurrency adapts between this and *concurrency*; None: it does not adapt.
        allowed: What it allows at present; None for no limit.
        rate: Most starts in each period; None for no limit.
        period: Length of that, in seconds.
        tokens: Most tokens in a minute; None for no limit.
        breaker: Failures in a row that open the breaker; 0: it has none.
        used: Tasks that run there now.
        failures: Failures in a row until now.
        waiting: Types that have tasks and found no room there when they were last claimed.
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
            fresh: Forget what it learned: cooling, breaker, adapted concurrency, spare tokens; and the
                provider itself, if it has no settings and no tasks.

        Raises:
            InvalidSetting: If its concurrency would adapt without a highest one, or from above that.
        """
        reply = await self._run(
            "set_provider",
            limit=self.keys.limit_provider(name),
            providers=self.keys.providers,
            name=name,
            fresh=int(fresh),
            rest=[text for pair in settings.items() for text in pair],
        )
        if reply[0] == b"above":
            most = reply[1].decode()
            rule = f"at most the concurrency of the provider, which is {most}"
            rule = rule if most else "given together with a concurrency: this provider has none"
            raise InvalidSetting("lowest", int(settings["min"]), rule)

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
            after_ms: For how long that one asks to be left alone, up to an hour; 0: it says nothing.
                One that takes no more is left alone for a second at least.
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
                return Switched(None, None if opens == b"" else opens / 1000)
            case _:
                return Switched(is_stale=True)

    async def providers(self) -> list[ProviderState]:
        """Return every provider that has settings or was used, by name."""
        reply = await self._run("providers", providers=self.keys.providers, limit=_MOST_PROVIDERS)
        try:
            return sorted(map(_read_state, reply[1:]), key=lambda state: state.name)
        except (ValueError, TypeError) as error:
            raise QueueCorrupt(f"the limits of a provider are damaged: {error}") from error


def _read_state(fields: Sequence[Any]) -> ProviderState:
    """Return the state that providers.lua tells of one provider."""
    name, condition, opens, used, failures, allowed, waiting, *settings = fields
    most, lowest, rate, period, tokens, breaker = (None if value == b"" else int(value) for value in settings)
    return ProviderState(
        name=name.decode(),
        condition=condition.decode(),
        opens_in=None if opens == b"" else opens / 1000,
        concurrency=most,
        lowest=lowest,
        allowed=None if allowed == b"" else int(allowed),
        rate=rate,
        period=(period or 0) / 1000,
        tokens=tokens,
        breaker=breaker or 0,
        used=used,
        failures=failures,
        waiting=tuple(waiting.decode().split()),
    )
