"""Time passes, the queue is kept in order, people and their tools change it."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import consumes, precondition, rule

from tests.machines.machine import TENANTS, TYPES, Machine, known, tenants, types, wait

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
            self.reap()

    @rule(what=st.sampled_from(["promote", "purge", "flush", "reap"]))
    def tend(self, what: str) -> None:
        if what == "promote":
            assert wait(self.store.promote()).count == self.model.promote()
        elif what == "purge":
            wait(self.store.purge())
        elif what == "reap":
            self.reap()
        else:
            self.client.script_flush()

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
