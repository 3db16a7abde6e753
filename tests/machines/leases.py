"""How every machine holds leases: claims, reports and switches, each held against the model."""

from __future__ import annotations

import math
from typing import Any

from taskqueue.codec import encode_error
from taskqueue.store import Claim, ClaimRequest, Completion, Failure, Release
from taskqueue.task import TaskError
from tests.machines.machine import Machine, wait
from tests.machines.model import LEASE, ModelTask

ERROR = encode_error(TaskError("HANDLER_ERROR", "as told"))
NIL = b"\xc0"

Lease = tuple[str, str]


class Leases(Machine):
    """Says which tasks a claim takes, where they are sent, and what a lease's end costs."""

    def running(self) -> list[ModelTask]:
        """Return the tasks that somebody holds."""
        return [task for task in self.model.tasks.values() if task.state == "PROCESSING"]

    def lease_of(self, which: int) -> Lease:
        """Return one of the leases that are held."""
        running = self.running()
        task = running[which % len(running)]
        return task.id, task.token

    def asked_for(self, slots: dict[str, int], limit: int) -> ClaimRequest:
        """Return a new request, with the chains of this queue's workers."""
        chains = self.model.providers.chains
        return ClaimRequest("worker", f"r{next(self.requests)}", slots, limit, LEASE, chains)

    def claim_as(self, asked: ClaimRequest) -> list[Lease]:
        """Claim, and return the leases."""
        return self.agreed(wait(self.store.claim(asked)), asked)

    def complete_one(self, lease: Lease, charge: str | None, asked: ClaimRequest | None) -> list[Lease]:
        """End a task and, in the same call, claim if that is asked for."""
        charged = self.charge_of(lease[0], charge)
        words, got = wait(self.store.complete([Completion(*lease, NIL, charge=charged)], asked))
        assert words == [self.model.report(*lease, "completed", charge=charged)]
        return [] if asked is None else self.agreed(got, asked)

    def agreed(self, got: Claim, asked: ClaimRequest) -> list[Lease]:
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

    def charge_of(self, task_id: str, word: str | None) -> int | None:
        """Return what a handler says that the task costs, beside what is held for it."""
        task = self.model.tasks.get(task_id)
        if word is None or task is None:
            return None
        held = task.most if task.hold is None else task.hold
        return {"nothing": 0, "less": max(0, held - 1), "equal": held, "more": held + 3}[word]

    def end_lease(  # noqa: PLR0917 - as the store has them
        self, task_id: str, token: str, outcome: str, wait_ms: int, charge: int | None = None, times: int = 1
    ) -> None:
        """Report, as often as asked, and hold the answers against the model; or keep the lease."""
        if outcome != "kept":
            expected = self.model.report(task_id, token, outcome, wait_ms, charge)
            for _ in range(times):
                assert self.report_once(task_id, token, outcome, wait_ms, charge) == expected

    def report_once(
        self, task_id: str, token: str, outcome: str, wait_ms: int, charge: int | None = None
    ) -> str:
        """Report, and return the word that was answered."""
        if outcome == "completed":
            done = Completion(task_id, token, NIL, charge=charge)
            return str(wait(self.store.complete([done]))[0][0])
        if outcome == "released":
            return str(wait(self.store.release([Release(task_id, token, wait_ms)]))[0])
        failure = Failure(
            task_id, token, ERROR, wait_ms if outcome == "retried" else None, outcome == "cancelled"
        )
        return str(wait(self.store.fail([failure]))[0])

    def switch_to(self, lease: Lease, left: str, verdict: Any, after: int, following: list[str]) -> None:
        """Let a task leave a provider for the first of others that has room, or for none."""
        expected = self.model.switch(lease, left, verdict, after, following)
        options: dict[str, Any] = {"verdict": verdict, "after_ms": after, "following": following}
        got = wait(self.store.switch(*lease, left=left, **options))
        assert got.is_stale == (expected is None)
        if expected is not None:
            provider, opens_in = expected
            assert (got.provider, got.opens_in) == (provider, None if opens_in is None else opens_in / 1000)
