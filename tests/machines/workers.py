"""Tasks are claimed and reported: with right, stale and foreign tokens; deliveries like any other."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import multiple, precondition, rule

from taskqueue.codec import encode_error
from taskqueue.names import WEBHOOK_TYPE
from taskqueue.store import Claim, ClaimRequest, Completion, Failure, Release
from taskqueue.task import TaskError
from tests.machines.machine import TYPES, Machine, claims, types, wait
from tests.machines.model import LEASE, ModelTask

ERROR = encode_error(TaskError("HANDLER_ERROR", "as told"))
NIL = b"\xc0"
charges = st.sampled_from([None, None, "nothing", "less", "equal", "more"])
slots_of_types = st.dictionaries(types, st.integers(0, 4), min_size=1)
ends = st.lists(
    st.tuples(st.sampled_from(["completed", "completed", "kept", "retried", "failed", "released"]), charges),
    max_size=4,
)
limits = st.sampled_from([6, 3, 2, 1, 0])

Lease = tuple[str, str]
End = tuple[str, str | None]
"""What a handler does with a task, and what it says that the task costs."""


class Workers(Machine):
    """Claims and reports, and says which tasks a claim takes and what a lease's end costs."""

    @rule(target=claims, slots=slots_of_types, limit=limits, again=st.booleans(), ends=ends)
    def claim(self, slots: dict[str, int], limit: int, again: bool, ends: list[End]) -> Any:
        """Work is taken; some of it ends at once, the rest is kept."""
        asked = self._request(slots, limit)
        taken = self._claim(asked)
        if again and taken:
            repeated = wait(self.store.claim(asked))
            assert [task.token for task in repeated.tasks] == [token for _, token in taken]
        for lease, (outcome, charge) in zip(taken, ends, strict=False):
            self._end(*lease, outcome, 0, self._charge(lease[0], charge))
        return multiple(*taken)

    @rule(target=claims, ends=ends)
    def work(self, ends: list[End]) -> Any:
        """The rhythm of a worker: what one completion frees is claimed by the same call."""
        slots = dict.fromkeys(TYPES, 6)
        taken = self._claim(self._request(slots, 12))
        for number, (outcome, charge) in enumerate(ends):
            if number == len(taken):
                break
            if outcome == "completed":
                taken += self._complete(taken[number], charge, self._request(slots, 12))
            else:
                self._end(*taken[number], outcome, 0)
        return multiple(*taken)

    @precondition(lambda self: self.running())
    @rule(
        target=claims, which=st.integers(0, 9), charge=charges, slots=st.none() | slots_of_types, limit=limits
    )
    def complete(self, which: int, charge: str | None, slots: dict[str, int] | None, limit: int) -> Any:
        asked = self._request(slots, limit) if slots is not None else None
        return multiple(*self._complete(self._lease(which), charge, asked))

    @precondition(lambda self: self.running())
    @rule(
        which=st.integers(0, 9),
        outcome=st.sampled_from(["retried", "failed", "cancelled", "released"]),
        wait_ms=st.sampled_from([0, 1_000]),
    )
    def give_up(self, which: int, outcome: str, wait_ms: int) -> None:
        """A lease ends and its task does not complete: it costs nothing."""
        task_id, token = self._lease(which)
        self._end(task_id, token, outcome, wait_ms)

    @rule(target=claims, most=st.integers(1, 6), ends=ends, wait_ms=st.sampled_from([0, 1_000]))
    def deliver(self, most: int, ends: list[End], wait_ms: int) -> Any:
        """Deliveries go out, in the order of the ends that they tell; some are taken, some are not."""
        taken = self._claim(self._request({WEBHOOK_TYPE: most}, 10))
        for lease, (outcome, _) in zip(taken, ends, strict=False):
            told = self.model.tasks[lease[0]].told
            if outcome == "completed":
                task = self.model.tasks.get(told)
                assert wait(self.store.delivered(told)) == (task is not None and task.is_over)
            self._end(*lease, outcome, wait_ms)
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
        self._end(task_id, token, outcome, wait_ms, self._charge(task_id, charge), times=1 + repeat)

    @precondition(lambda self: self.running())
    @rule(
        which=st.integers(0, 9),
        verdict=st.sampled_from(["failed", "failed", "limited", "answered", "misconfigured", "left"]),
        after=st.sampled_from([0, 0, 300, 20_000]),
        goes_on=st.booleans(),
        repeats=st.integers(0, 2),
        is_foreign=st.sampled_from([False, False, False, True]),
    )
    def switch(  # noqa: PLR0917 - Hypothesis fills them by name
        self, which: int, verdict: Any, after: int, goes_on: bool, repeats: int, is_foreign: bool
    ) -> None:
        """A task leaves its provider for the others of its chain, or for none; the reply may get lost."""
        task_id, token = self._lease(which)
        task = self.model.tasks[task_id]
        left = task.provider or "alpha"
        chain = self.model.providers.chains.get(task.type, ())
        following = [name for name in chain if name != left] if goes_on else []
        token += "x" if is_foreign else ""
        for _ in range(1 + repeats):
            self._switch((task_id, token), left, verdict, after, following)

    @precondition(lambda self: any(task.provider is not None for task in self.running()))
    @rule(which=st.integers(0, 9), passes=st.sampled_from([-1, 0, 0, 1]))
    def break_down(self, which: int, passes: int) -> None:
        """A provider fails all that run there; time passes until its breaker lets one task find out."""
        names = sorted({task.provider for task in self.running() if task.provider is not None})
        name = names[which % len(names)]
        for task in self.model.at(name):
            self._switch((task.id, task.token), name, "failed", 0, [])
        self.model.now = max(self.model.now, self.model.providers.known[name].open_until + passes)

    def _switch(self, lease: Lease, left: str, verdict: Any, after: int, following: list[str]) -> None:
        expected = self.model.switch(lease, left, verdict, after, following)
        options: dict[str, Any] = {"verdict": verdict, "after_ms": after, "following": following}
        got = wait(self.store.switch(*lease, left=left, **options))
        assert got.is_stale == (expected is None)
        if expected is not None:
            provider, opens_in = expected
            assert (got.provider, got.opens_in) == (provider, None if opens_in is None else opens_in / 1000)

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

    def running(self) -> list[ModelTask]:
        """Return the tasks that somebody holds."""
        return [task for task in self.model.tasks.values() if task.state == "PROCESSING"]

    def _lease(self, which: int) -> Lease:
        running = self.running()
        task = running[which % len(running)]
        return task.id, task.token

    def _request(self, slots: dict[str, int], limit: int) -> ClaimRequest:
        chains = self.model.providers.chains
        return ClaimRequest("worker", f"r{next(self.requests)}", slots, limit, LEASE, chains)

    def _claim(self, asked: ClaimRequest) -> list[Lease]:
        return self._agreed(wait(self.store.claim(asked)), asked)

    def _complete(self, lease: Lease, charge: str | None, asked: ClaimRequest | None) -> list[Lease]:
        """End a task and, in the same call, claim if that is asked for."""
        charged = self._charge(lease[0], charge)
        words, got = wait(self.store.complete([Completion(*lease, NIL, charge=charged)], asked))
        assert words == [self.model.report(*lease, "completed", charge=charged)]
        return [] if asked is None else self._agreed(got, asked)

    def _agreed(self, got: Claim, asked: ClaimRequest) -> list[Lease]:
        """Hold the answer to a claim against the model, and return its leases."""
        expected = self.model.claim(asked.slots, asked.limit, asked.request)
        assert [(t.id, t.token, t.attempt, t.deliveries, t.crashes, t.provider) for t in got.tasks] == [
            (t.id, t.token, t.attempt, t.deliveries, t.crashes, t.provider) for t in expected
        ]
        next_at = self.model.next_at(asked.slots)
        wanted = max(0, next_at - self.model.now) / 1000 if next_at < math.inf else None
        assert got.next_in == wanted
        self.told.update(dict.fromkeys(asked.slots, next_at))
        return [(task.id, task.token) for task in got.tasks]

    def _charge(self, task_id: str, word: str | None) -> int | None:
        """Return what a handler says that the task costs, beside what is held for it."""
        task = self.model.tasks.get(task_id)
        if word is None or task is None:
            return None
        held = task.most if task.hold is None else task.hold
        return {"nothing": 0, "less": max(0, held - 1), "equal": held, "more": held + 3}[word]

    def _end(  # noqa: PLR0917 - as the store has them
        self, task_id: str, token: str, outcome: str, wait_ms: int, charge: int | None = None, times: int = 1
    ) -> None:
        """Report, as often as asked, and hold the answers against the model; or keep the lease."""
        if outcome != "kept":
            expected = self.model.report(task_id, token, outcome, wait_ms, charge)
            for _ in range(times):
                assert self._report(task_id, token, outcome, wait_ms, charge) == expected

    def _report(self, task_id: str, token: str, outcome: str, wait_ms: int, charge: int | None = None) -> str:
        if outcome == "completed":
            done = Completion(task_id, token, NIL, charge=charge)
            return str(wait(self.store.complete([done]))[0][0])
        if outcome == "released":
            return str(wait(self.store.release([Release(task_id, token, wait_ms)]))[0])
        failure = Failure(
            task_id, token, ERROR, wait_ms if outcome == "retried" else None, outcome == "cancelled"
        )
        return str(wait(self.store.fail([failure]))[0])
