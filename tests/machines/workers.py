"""Tasks are claimed and reported: with right, stale and foreign tokens; deliveries like any other."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import multiple, precondition, rule

from taskqueue.names import WEBHOOK_TYPE
from tests.machines.leases import Leases
from tests.machines.machine import TYPES, claims, types, wait
from tests.machines.model import LEASE

charges = st.sampled_from([None, None, "nothing", "less", "equal", "more"])
slots_of_types = st.dictionaries(types, st.integers(0, 4), min_size=1)
ends = st.lists(
    st.tuples(st.sampled_from(["completed", "completed", "kept", "retried", "failed", "released"]), charges),
    max_size=4,
)
limits = st.sampled_from([6, 3, 2, 1, 0])

End = tuple[str, str | None]
"""What a handler does with a task, and what it says that the task costs."""


class Workers(Leases):
    """Claims and reports, and says which tasks a claim takes and what a lease's end costs."""

    @rule(target=claims, slots=slots_of_types, limit=limits, again=st.booleans(), ends=ends)
    def claim(self, slots: dict[str, int], limit: int, again: bool, ends: list[End]) -> Any:
        """Work is taken; some of it ends at once, the rest is kept."""
        asked = self.asked_for(slots, limit)
        taken = self.claim_as(asked)
        if again and taken:
            repeated = wait(self.store.claim(asked))
            assert [task.token for task in repeated.tasks] == [token for _, token in taken]
        for lease, (outcome, charge) in zip(taken, ends, strict=False):
            self.end_lease(*lease, outcome, 0, self.charge_of(lease[0], charge))
        return multiple(*taken)

    @rule(target=claims, ends=ends)
    def work(self, ends: list[End]) -> Any:
        """The rhythm of a worker: what one completion frees is claimed by the same call."""
        slots = dict.fromkeys(TYPES, 6)
        taken = self.claim_as(self.asked_for(slots, 12))
        for number, (outcome, charge) in enumerate(ends):
            if number == len(taken):
                break
            if outcome == "completed":
                taken += self.complete_one(taken[number], charge, self.asked_for(slots, 12))
            else:
                self.end_lease(*taken[number], outcome, 0)
        return multiple(*taken)

    @precondition(lambda self: self.running())
    @rule(
        target=claims, which=st.integers(0, 9), charge=charges, slots=st.none() | slots_of_types, limit=limits
    )
    def complete(self, which: int, charge: str | None, slots: dict[str, int] | None, limit: int) -> Any:
        asked = self.asked_for(slots, limit) if slots is not None else None
        return multiple(*self.complete_one(self.lease_of(which), charge, asked))

    @precondition(lambda self: self.running())
    @rule(
        which=st.integers(0, 9),
        outcome=st.sampled_from(["retried", "failed", "cancelled", "released"]),
        wait_ms=st.sampled_from([0, 1_000]),
    )
    def give_up(self, which: int, outcome: str, wait_ms: int) -> None:
        """A lease ends and its task does not complete: it costs nothing."""
        task_id, token = self.lease_of(which)
        self.end_lease(task_id, token, outcome, wait_ms)

    @rule(target=claims, most=st.integers(1, 6), ends=ends, wait_ms=st.sampled_from([0, 1_000]))
    def deliver(self, most: int, ends: list[End], wait_ms: int) -> Any:
        """Deliveries go out, in the order of the ends that they tell; some are taken, some are not."""
        taken = self.claim_as(self.asked_for({WEBHOOK_TYPE: most}, 10))
        for lease, (outcome, _) in zip(taken, ends, strict=False):
            told = self.model.tasks[lease[0]].told
            if outcome == "completed":
                task = self.model.tasks.get(told)
                assert wait(self.store.delivered(told)) == (task is not None and task.is_over)
            self.end_lease(*lease, outcome, wait_ms)
        return multiple(*taken)

    @rule(held=claims, foreign=claims, kind=st.sampled_from([*["right"] * 3, "foreign", "garbage"]),
          outcome=st.sampled_from(["completed", "retried", "failed", "cancelled", "released"]),
          wait_ms=st.sampled_from([0, 1_000]), charge=charges, repeat=st.booleans())  # fmt: skip
    def report(  # noqa: PLR0917 - Hypothesis fills them by name
        self,
        held: Any,
        foreign: Any,
        kind: str,
        outcome: str,
        wait_ms: int,
        charge: str | None,
        repeat: bool,
    ) -> None:
        task_id, token = held
        token = {"right": token, "foreign": foreign[1] + "x", "garbage": ""}[kind]
        self.end_lease(task_id, token, outcome, wait_ms, self.charge_of(task_id, charge), times=1 + repeat)

    @rule(held=claims)
    def extend(self, held: Any) -> None:
        task_id, token = held
        answer = wait(self.store.extend("worker", [held], LEASE))
        task = self.model.tasks.get(task_id)
        if task is not None and task.state == "PROCESSING" and task.token == token:
            task.deadline = self.model.now + LEASE
            assert answer.lost == []
            assert answer.cancelled == ([task_id] if task.cancel else [])
        else:
            assert answer.lost == [task_id]
