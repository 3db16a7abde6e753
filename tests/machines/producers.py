"""Tasks come in: alone or in bulks, with keys, delays, slots, prices and webhooks."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import multiple, precondition, rule

from tests.machines.machine import known, metered, tenants, types, wait
from tests.machines.offers import HOOKS, Offers

MOST_QUEUED = 12
A_CROWD = 60
"""More tasks than one claim ends for lack of credits."""

specs: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    type=types,
    tenant=tenants,
    priority=st.integers(1, 10),
    idempotency_key=st.sampled_from([None, None, None, "k1", "k2"]),
    delay=st.sampled_from([*[None] * 6, 1, 5_000, 60_000]),
    reserve=st.sampled_from([False, False, True]),
    text=st.sampled_from(["a", "b"]),
    cost=st.sampled_from([0, 1, 4, 9]),
    more=st.sampled_from([None, None, 0, 6]),
    webhook=st.sampled_from([None, None, *HOOKS]),
)


class Producers(Offers):
    """Enqueues, and says which task is accepted and which is refused, and why."""

    @rule(
        target=known,
        batch=st.lists(specs, min_size=1, max_size=4),
        atomic=st.booleans(),
        together=st.booleans(),
    )
    def enqueue(self, batch: list[dict[str, Any]], atomic: bool, together: bool) -> Any:
        entries = [self.entry(dict(spec), f"t{next(self.ids)}") for spec in batch]
        return multiple(*self.offer(entries, MOST_QUEUED, atomic=atomic, together=together))

    @rule(
        target=known,
        tenant=metered,
        type_=types,
        parts=st.lists(st.sampled_from([2, 3, 4]), min_size=2, max_size=3),
        more=st.sampled_from([None, 2, 8]),
        webhook=st.sampled_from([None, *HOOKS]),
        reserve=st.booleans(),
    )
    def enqueue_dear(  # noqa: PLR0917 - Hypothesis fills them by name
        self,
        tenant: str,
        type_: str,
        parts: list[int],
        more: int | None,
        webhook: str | None,
        reserve: bool,
    ) -> Any:
        """Tasks that cost quarters of all that their tenant has: not all can run at once."""
        if not self.model.accounts.is_metered(tenant):
            return multiple()
        left = max(0, int(self.model.accounts.left(tenant)))
        spec: dict[str, Any] = {"type": type_, "tenant": tenant, "text": "a", "delay": None, "more": more}
        spec |= {"webhook": webhook, "reserve": reserve}
        entries = [self.entry(spec | {"cost": left * part // 4}, f"t{next(self.ids)}") for part in parts]
        return multiple(*self.offer(entries, MOST_QUEUED, atomic=False, together=False))

    @precondition(lambda self: len(self.model.tasks) < A_CROWD)
    @rule(
        target=known,
        tenant=metered,
        type_=types,
        cost=st.integers(1, 3),
        left=st.integers(-3, 3),
        webhook=st.sampled_from([None, *HOOKS]),
    )
    def become_poor(self, tenant: str, type_: str, cost: int, left: int, webhook: str | None) -> Any:
        """More tasks come than one claim ends, and then the credits go."""
        spec: dict[str, Any] = {"type": type_, "tenant": tenant, "text": "a", "delay": None, "more": None}
        spec["webhook"] = webhook
        costs = [0 if number % 9 == 8 else cost for number in range(A_CROWD)]  # some can be paid later on
        entries = [self.entry(spec | {"cost": each}, f"t{next(self.ids)}") for each in costs]
        accepted = self.offer(entries, None, atomic=False, together=False)
        if self.model.accounts.is_metered(tenant):
            self._grant(tenant, left - int(self.model.accounts.left(tenant)))
        return multiple(*accepted[:3])

    @rule(tenant=metered, amount=st.sampled_from([-30, -8, -1, 0, 1, 5, 5, 12, 12, 40]))
    def grant(self, tenant: str, amount: int) -> None:
        self._grant(tenant, amount)

    def _grant(self, tenant: str, amount: int) -> None:
        balance = wait(self.store.grant(tenant, amount))
        self.model.grant(tenant, amount)
        assert balance.remaining == self.model.accounts.left(tenant)
