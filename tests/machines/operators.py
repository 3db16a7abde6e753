"""Time passes, the queue is kept in order, people and their tools change it."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import consumes, precondition, rule

from taskqueue.errors import InvalidSetting
from tests.machines.machine import PROVIDERS, TENANTS, TYPES, Machine, Running, known, tenants, types, wait
from tests.machines.model import LEASE
from tests.machines.providers import ModelProvider

SCOPES = [*(f"type:{name}" for name in TYPES), *(f"tenant:{name}" for name in TENANTS), "queue:"]
mosts = st.sampled_from([None, 2, 1, 3, 0])


class Operators(Machine):
    """Maintenance, cancels, clears, limits and pauses."""

    # Time and maintenance ------------------------------------------------------------------------

    @rule(ms=st.sampled_from([1, 500, 4_000, 16_000, 61_000]), passes=st.sampled_from([0, 1, 6]))
    def time_passes(self, ms: int, passes: int) -> None:
        """At once; or while the reaper makes passes at its usual pace, until every lease has run out."""
        if passes == 0:
            self.model.now += ms
        for _ in range(passes):
            self.model.now += min(ms, 6_000)
            self._reap()

    @rule(what=st.sampled_from(["promote", "purge", "flush", "reap"]))
    def tend(self, what: str) -> None:
        if what == "promote":
            assert wait(self.store.promote()).count == self.model.promote()
        elif what == "purge":
            wait(self.store.purge())
        elif what == "reap":
            self._reap()
        else:
            with Running.server.client() as client:
                client.script_flush()

    def _reap(self) -> None:
        got, expected = wait(self.store.reap(LEASE)), self.model.reap()
        if expected is None:
            assert got.holding_ms > 0
        else:
            assert (set(got.requeued), set(got.dead), set(got.cancelled)) == expected

    # Operators -----------------------------------------------------------------------------------

    @rule(task_id=known)
    def cancel(self, task_id: str) -> None:
        got = wait(self.store.cancel(task_id))
        if task_id not in self.model.tasks:
            assert got is None
            return
        self.model.cancel(task_id)
        assert got.state == self.model.tasks[task_id].state

    @rule(task_id=consumes(known))
    def redrive(self, task_id: str) -> None:
        task = self.model.tasks.get(task_id)
        if task is not None and task.state in {"FAILED", "CANCELLED"}:
            got = wait(self.store.redrive(task_id))
            self.model.redrive(task_id)
            assert got.sequence == self.model.sequence

    @precondition(lambda self: len(self.model.tasks) > 6)
    @rule(tenant=st.none() | tenants, type_=st.none() | types)
    def clear(self, tenant: str | None, type_: str | None) -> None:
        assert wait(self.store.clear(tenant=tenant, type=type_)) == self.model.clear(tenant, type_)

    @rule(name=types | tenants, most=mosts, weight=st.sampled_from([1, 2, 10]))
    def limit(self, name: str, most: int | None, weight: int) -> None:
        if name in TYPES:
            wait(self.store.set_limit(type=name, concurrency=most))
            limits = self.model.most_of_type
        else:
            wait(self.store.set_limit(tenant=name, concurrency=most, weight=weight))
            limits = self.model.most_of_tenant
            self.model.weights[name] = weight
        limits.pop(name, None)
        if most is not None:
            limits[name] = most
        self.model.settle()

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

    @rule(scope=st.sampled_from(SCOPES), is_over=st.booleans())
    def pause_or_resume(self, scope: str, is_over: bool) -> None:
        """One scope changes; or all that is paused goes on."""
        for changed in sorted(self.model.paused) if is_over else [scope]:
            kind, _, name = changed.partition(":")
            where = {} if kind == "queue" else {kind: name}
            if changed in self.model.paused:
                wait(self.store.resume(**where))
            else:
                wait(self.store.pause(**where))
            self.model.paused ^= {changed}
            self.model.settle()
