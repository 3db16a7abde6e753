"""Tasks are sent to providers, which fail, cool, open and close, and get other limits meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import multiple, precondition, rule

from taskqueue.errors import InvalidSetting
from tests.machines.leases import Leases
from tests.machines.machine import PROVIDERS, TYPES, claims, known, tenants, types, wait
from tests.machines.model import ModelTask
from tests.machines.offers import Offers
from tests.machines.providers import ModelProvider

MOST_ROUTED = 40
which = st.integers(0, 9)
verdicts = st.sampled_from(["failed", "failed", "limited", "answered", "misconfigured", "left"])
afters = st.sampled_from([0, 0, 300, 20_000])


class Routers(Offers, Leases):
    """Claims with chains and switches, and says where each task goes and when a provider opens."""

    @precondition(lambda self: len(self.model.tasks) < MOST_ROUTED)
    @rule(target=known, type_=types, tenant=tenants, count=st.integers(1, 5), priority=st.integers(1, 3))
    def enqueue_some(self, type_: str, tenant: str, count: int, priority: int) -> Any:
        """Plain tasks of one type."""
        spec: dict[str, Any] = {"type": type_, "tenant": tenant, "priority": priority, "text": "a"}
        spec |= {"delay": None, "more": None}
        entries = [self.entry(dict(spec), f"t{next(self.ids)}") for _ in range(count)]
        return multiple(*self.offer(entries, None, atomic=False, together=False))

    @rule(target=claims, wanted=st.sets(types, min_size=1), slots=st.integers(1, 4), is_whole=st.booleans())
    def send(self, wanted: set[str], slots: int, is_whole: bool) -> Any:
        """What finds room at a provider is claimed, of some types or of all."""
        asked = TYPES if is_whole else sorted(wanted)
        return multiple(*self.claim_as(self.asked_for(dict.fromkeys(asked, slots), 2 * slots)))

    @precondition(lambda self: self.sent())
    @rule(
        number=which,
        verdict=verdicts,
        after=afters,
        goes_on=st.booleans(),
        repeats=st.integers(0, 2),
        is_foreign=st.sampled_from([False, False, False, True]),
    )
    def switch(  # noqa: PLR0917 - Hypothesis fills them by name
        self, number: int, verdict: Any, after: int, goes_on: bool, repeats: int, is_foreign: bool
    ) -> None:
        """A task leaves its provider for the others of its chain, or for none; the reply may get lost."""
        task = self.sent()[number % len(self.sent())]
        left, token = task.provider or "", task.token + ("x" if is_foreign else "")
        chain = self.model.providers.chains[task.type]
        following = [name for name in chain if name != left] if goes_on else []
        for _ in range(1 + repeats):
            self.switch_to((task.id, token), left, verdict, after, following)

    @precondition(lambda self: self.sent())
    @rule(number=which, passes=st.sampled_from([-1, 0, 0, 1]))
    def break_down(self, number: int, passes: int) -> None:
        """A provider fails all that run there; time passes until its breaker lets one task find out."""
        name = self.sent()[number % len(self.sent())].provider or ""
        for task in self.model.at(name):
            self.switch_to((task.id, task.token), name, "failed", 0, [])
        self.model.now = max(self.model.now, self.model.providers.known[name].open_until + passes)

    @precondition(lambda self: self.running())
    @rule(
        number=which,
        outcome=st.sampled_from(["completed", "completed", "retried", "released", "failed"]),
        wait_ms=st.sampled_from([0, 0, 700]),
        claims_again=st.booleans(),
    )
    def come_back(self, number: int, outcome: str, wait_ms: int, claims_again: bool) -> None:
        """A task ends, or goes back; a completion may claim for the slot that it frees."""
        if outcome == "completed" and claims_again:
            self.complete_one(self.lease_of(number), None, self.asked_for(dict.fromkeys(TYPES, 2), 1))
        else:
            self.end_lease(*self.lease_of(number), outcome, wait_ms)

    @rule(ms=st.sampled_from([1, 300, 1_000, 5_000]), passes=st.sampled_from([0, 0, 4]))
    def moments_pass(self, ms: int, passes: int) -> None:
        """At once; or while the reaper works, and whoever does not extend loses its lease."""
        for _ in range(passes):
            self.model.now += 5_000
            self.reap()
        self.model.now += ms

    @rule(
        name=st.sampled_from(PROVIDERS),
        most=st.sampled_from([1, 2, 1, 3, 6, 0, None]),
        lowest=st.sampled_from([None, 1, 2]),
        breaker=st.sampled_from([1, 2, None, 0]),
        is_fresh=st.sampled_from([False, False, True]),
    )
    def limit_provider(
        self, name: str, most: int | None, lowest: int | None, breaker: int | None, is_fresh: bool
    ) -> None:
        """A provider gets other limits, or forgets what it learned."""
        values = {"max": most, "min": lowest, "breaker": breaker}
        settings = {field: "none" if value is None else str(value) for field, value in values.items()}
        provider = self.model.providers.named(name)
        if not provider.set(most, lowest, breaker, is_fresh=is_fresh):
            with pytest.raises(InvalidSetting):
                wait(self.store.set_provider(name, settings, fresh=is_fresh))
            return
        wait(self.store.set_provider(name, settings, fresh=is_fresh))
        self._keep(name, provider, is_fresh=is_fresh)

    @rule(name=st.sampled_from(PROVIDERS))
    def pause_or_resume_provider(self, name: str) -> None:
        provider = self.model.providers.named(name)
        provider.is_paused = not provider.is_paused
        wait(self.store.set_provider(name, {"paused": "1" if provider.is_paused else "none"}))
        self._keep(name, provider)

    def _keep(self, name: str, provider: ModelProvider, *, is_fresh: bool = False) -> None:
        """Note what was set; a provider without settings and tasks is forgotten with what it learned."""
        self.model.providers.known[name] = provider
        if is_fresh and not provider.has_settings and not self.model.at(name):
            del self.model.providers.known[name]

    def sent(self) -> list[ModelTask]:
        """Return the tasks that run at some provider."""
        return [task for task in self.running() if task.provider is not None]
