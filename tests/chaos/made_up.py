"""Histories made by hand, call by call, for tests of the checker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.chaos.checker import Final, Found, Verdict, check
from tests.chaos.credits import Account
from tests.chaos.history import NEVER, Call, History, Note


class MadeUp:
    """A history in the making. Each call lasts from `at` to `at` + 1, unless it says until when."""

    def __init__(self) -> None:
        self.history = History()
        self._requests = 0

    def enqueue(self, task: str, at: float, priority: int = 1, outcome: str = "ok", **given: Any) -> None:
        """Offer a task."""
        given = {"task": task, "type": "NOTE", "priority": priority, **given}
        self._call("enqueue", "producer", at, given, {}, outcome=outcome)

    def claim(
        self,
        worker: str,
        at: float,
        *tasks: str,
        slots: int = 1,
        until: float | None = None,
        unheard: bool = False,
        **types: int,
    ) -> None:
        """Claim tasks, given as `task` or `task/deliveries`; the token is `deliveries-worker`."""
        self._requests += 1
        lent = [task.partition("/") for task in tasks]
        answer = [(task, f"{number or 1}-{worker}", int(number or 1)) for task, _, number in lent]
        given = {"request": str(self._requests), "slots": {"NOTE": slots, **types}}
        self._call(
            "claim", worker, at, given, {"tasks": answer}, outcome="unknown" if unheard else "ok", until=until
        )

    def run(self, worker: str, at: float, task: str, ended_at: float | None = None, **end: Any) -> None:
        """Run a task, given as in a claim, until it ends."""
        name, _, number = task.partition("/")
        details = {"task": name, "token": f"{number or 1}-{worker}"}
        self.history.notes.append(Note("start", worker, at, {**details, "fence": int(number or 1)}))
        if ended_at is not None:
            self.history.notes.append(Note("end", worker, ended_at, {**details, **end}))

    def report(
        self,
        worker: str,
        at: float,
        task: str,
        word: str = "completed",
        asked: str = "",
        *,
        until: float | None = None,
    ) -> None:
        """Report a task, given as in a claim; no word: the answer was lost."""
        name, _, number = task.partition("/")
        done = [(name, f"{number or 1}-{worker}", asked or word)]
        outcome = "ok" if word else "unknown"
        self._call("report", worker, at, {"done": done}, {"words": [word]}, outcome=outcome, until=until)

    def cancel(self, task: str, at: float, state: str) -> None:
        """Cancel a task."""
        self._call("cancel", "operator", at, {"task": task}, {"state": state})

    def read(self, task: str, at: float, state: str | None) -> None:
        """Read a task."""
        self._call("read", "observer", at, {"task": task}, {"state": state})

    def grant(self, tenant: str, at: float, credits_given: int, outcome: str = "ok") -> None:
        """Give a tenant credits."""
        self._call("grant", "operator", at, {"tenant": tenant, "credits": credits_given}, {}, outcome=outcome)

    def fault(self, begin: float, end: float, *repeats: str, **causes: bool) -> None:
        """Do something to the run."""
        details = {"fault": "made up", "begin": begin, "end": end, "repeats": repeats, **causes}
        self.history.notes.append(Note("fault", "laboratory", end, details))

    def killed(self, worker: str, at: float) -> None:
        """End a worker."""
        self.history.notes.append(Note("killed", "laboratory", at, {"worker": worker}))

    def simple(self, task: str, at: float, worker: str = "w", **given: Any) -> None:
        """Let a task have the plainest of lives, from *at* to *at* + 9."""
        self.enqueue(task, at, **given)
        self.claim(worker, at + 2, task)
        self.run(worker, at + 4, task, at + 5)
        self.report(worker, at + 6, task)

    def checked(
        self,
        states: Mapping[str, str] | None = None,
        *,
        accounts: Mapping[str, Account] | None = None,
        charged: Mapping[str, int] | None = None,
    ) -> Verdict:
        """Return the verdict; every task that was offered is COMPLETED in the end, unless *states* says else.

        A task whose state is "" is unknown in the end.
        """
        offered = {call.given["task"] for call in self.history.called("enqueue")}
        final = dict.fromkeys(offered, "COMPLETED") | dict(states or {})
        tasks = {task: Found(state, (charged or {}).get(task, 0)) for task, state in final.items() if state}
        self.history.calls.sort(key=lambda call: call.start)
        self.history.notes.sort(key=lambda note: note.at)
        return check(self.history, Final(tasks, dict(accounts or {})))

    def _call(
        self,
        what: str,
        process: str,
        at: float,
        given: dict[str, Any],
        answer: dict[str, Any],
        *,
        outcome: Any = "ok",
        until: float | None = None,
    ) -> None:
        end = NEVER if outcome == "unknown" else at + 1 if until is None else until
        self.history.calls.append(Call(what, process, at, end, outcome, given, answer))


def rules(verdict: Verdict) -> set[str]:
    """Return which rules were broken."""
    return {violation.rule for violation in verdict.violations}
