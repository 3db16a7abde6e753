"""How many tasks may run here: one number for every handler, and one for all together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from scheduler.backoff import Backoff
from scheduler.registry import Registration
from scheduler.signature import HandlerFunction


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for a handler that says nothing of its own.

    Attributes:
        concurrency: How many tasks run at once, all types together.
        timeout: How long one attempt may take, in seconds.
        max_attempts: How often a task is tried.
        backoff: How long to wait between attempts.
    """

    concurrency: int
    timeout: float
    max_attempts: int
    backoff: Backoff


class ActiveHandler:
    """One handler in a running scheduler: what to call, its limits, and how much of them is used."""

    __slots__ = (
        "adapter",
        "asked",
        "backoff",
        "concurrency",
        "function",
        "is_async",
        "max_attempts",
        "providers",
        "running",
        "takes_context",
        "timeout",
        "type",
    )

    def __init__(self, registration: Registration, defaults: Defaults) -> None:
        self.type = registration.type
        self.function: HandlerFunction = registration.function
        self.is_async = registration.signature.is_async
        self.takes_context = registration.signature.takes_context
        self.adapter: TypeAdapter[Any] | None = registration.signature.adapter
        self.concurrency = min(registration.concurrency or defaults.concurrency, defaults.concurrency)
        self.timeout = registration.timeout or defaults.timeout
        self.max_attempts = registration.max_attempts or defaults.max_attempts
        self.backoff = registration.backoff or defaults.backoff
        self.providers = registration.providers
        self.running = 0
        self.asked = 0


class Slots:
    """Counts running handlers. A slot is free again when its handler has ended, not before.

    Args:
        registrations: The handlers.
        defaults: What holds for those that say nothing of their own.

    Attributes:
        handlers: By type.
        concurrency: How many tasks run at once, all types together.
        chains: The providers of the types that have any.
        running: How many tasks run now.
        asked: How many may still come from claims that are not answered yet.
    """

    def __init__(self, registrations: Iterable[Registration], defaults: Defaults) -> None:
        self.handlers = {each.type: ActiveHandler(each, defaults) for each in registrations}
        self.concurrency = defaults.concurrency
        self.chains = {type_: each.providers for type_, each in self.handlers.items() if each.providers}
        self.running = 0
        self.asked = 0

    @property
    def free(self) -> int:
        """How many tasks more may run here, all types together."""
        return self.concurrency - self.running - self.asked

    @property
    def for_threads(self) -> int:
        """How many threads the handlers that are not async can need at once."""
        wanted = sum(each.concurrency for each in self.handlers.values() if not each.is_async)
        return min(wanted, self.concurrency)

    def by_type(self) -> dict[str, int]:
        """Return how many tasks more of each type may run here; types without room are left out."""
        free = self.free
        if free <= 0:
            return {}
        return {
            type_: min(handler.concurrency - handler.running - handler.asked, free)
            for type_, handler in self.handlers.items()
            if handler.running + handler.asked < handler.concurrency
        }

    def ask(self, slots: Mapping[str, int], limit: int) -> None:
        """Count what a claim may bring, until it is answered."""
        self._count_asked(slots, limit, 1)

    def answered(self, slots: Mapping[str, int], limit: int) -> None:
        """Count it no more: what the claim has brought is counted when it is started."""
        self._count_asked(slots, limit, -1)

    def _count_asked(self, slots: Mapping[str, int], limit: int, sign: int) -> None:
        self.asked += sign * limit
        for type_, wanted in slots.items():
            self.handlers[type_].asked += sign * min(wanted, limit)

    def take(self, handler: ActiveHandler) -> None:
        """Count one more running task of that handler."""
        handler.running += 1
        self.running += 1

    def give(self, handler: ActiveHandler) -> None:
        """Count one running task of that handler less."""
        handler.running -= 1
        self.running -= 1
