"""Tasks are sent to providers, which fail, cool, open and close, and get other limits meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import multiple, precondition, rule

from taskqueue.errors import InvalidSetting
from tests.machines.leases import Leases
from tests.machines.machine import PROVIDERS, TYPES, claims, tenants, types, wait
from tests.machines.model import ModelTask
from tests.machines.offers import Offers
from tests.machines.providers import ModelProvider

MOST_ROUTED = 40
which = st.integers(0, 9)
verdicts = st.sampled_from(["failed", "failed", "limited", "answered", "misconfigured", "left"])
moves = st.tuples(
    which,
    verdicts,
    st.sampled_from([0, 0, 300, 20_000]),
    st.sampled_from([True, True, False]),
    st.integers(0, 1),
)


class Routers(Offers, Leases):
    """Claims with chains and switches, and says where each task goes and when a provider opens."""

    @rule(
        target=claims,
        type_=types,
        tenant=tenants,
        count=st.integers(0, 5),
        wanted=st.none() | st.sets(types, min_size=1),
        slots=st.integers(1, 4),
    )
    def send(self, type_: str, tenant: str, count: int, wanted: set[str] | None, slots: int) -> Any:
        """Tasks come in, and what finds room at a provider is claimed, of some types or of all."""
        if len(self.model.tasks) < MOST_ROUTED:
            spec: dict[str, Any] = {"type": type_, "tenant": tenant, "text": "a", "delay": None, "more": None}
            spec |= {"priority": slots, "cost": 0}
            entries = [self.entry(dict(spec), f"t{next(self.ids)}") for _ in range(count)]
            self.offer(entries, None, atomic=False, together=False)
        asked = TYPES if wanted is None else sorted(wanted)
        return multiple(*self.claim_as(self.asked_for(dict.fromkeys(asked, slots), 2 * slots)))

    @precondition(lambda self: self.sent())
    @rule(moves=st.lists(moves, min_size=1, max_size=4))
    def switch(self, moves: list[tuple[int, str, int, bool, int]]) -> None:
        """Tasks leave their providers for the others of their chains, or for none; replies may get lost."""
        for number, verdict, after, goes_on, repeats in moves:
            if sent := self.sent():
                task = sent[number % len(sent)]
                left = task.provider or ""
                chain = self.model.providers.chains[task.type]
                following = [name for name in chain if name != left] if goes_on else []
                for _ in range(1 + repeats):
                    self.switch_to((task.id, task.token), left, verdict, after, following)

    @precondition(lambda self: self.sent())
    @rule(number=which, verdict=verdicts)
    def switch_without_the_lease(self, number: int, verdict: str) -> None:
        """Somebody names a task that is not his."""
        task = self.sent()[number % len(self.sent())]
        self.switch_to((task.id, task.token + "x"), task.provider or "", verdict, 0, list(PROVIDERS))

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
        most=st.sampled_from([2, 1, 3, None, 6, 0]),
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

    @rule(name=st.sampled_from(PROVIDERS), is_paused=st.sampled_from([False, False, True]))
    def pause_or_resume_provider(self, name: str, is_paused: bool) -> None:
        provider = self.model.providers.named(name)
        provider.is_paused = is_paused
        wait(self.store.set_provider(name, {"paused": "1" if is_paused else "none"}))
        self._keep(name, provider)

    def _keep(self, name: str, provider: ModelProvider, *, is_fresh: bool = False) -> None:
        """Note what was set; a provider without settings and tasks is forgotten with what it learned."""
        self.model.providers.known[name] = provider
        if is_fresh and not provider.has_settings and not self.model.at(name):
            del self.model.providers.known[name]

    def sent(self) -> list[ModelTask]:
        """Return the tasks that run at some provider."""
        return [task for task in self.running() if task.provider is not None]
