"""A history in the words of the queue: submissions, claims, reports, runs, cancels, and excuses.

What the processes of a run write, by the name of the call or note:

| name      | given                                              | answer                             |
|-----------|----------------------------------------------------|------------------------------------|
| `enqueue` | task, type, tenant, priority, plain, cost, hold    |                                    |
| `claim`   | request, slots                                     | tasks: (id, token, deliveries)     |
| `report`  | done: (id, token, word that is asked for)          | words                              |
| `cancel`  | task                                               | state                              |
| `read`    | task                                               | state, null if unknown             |
| `grant`   | tenant, credits                                    |                                    |
| note      | `start`, `end`: task, token, fence, and of an end its charge                            |
| note      | `fault`: what the laboratory did, from when to when, and what it may cause              |

A `complete` that also claims is written as a report and a claim of the same instants.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.history import NEVER, Call, History, Note

EVERYONE = "*"


@dataclass(slots=True)
class Submission:
    """One task, and all calls that offered it."""

    task: str
    type: str
    tenant: str
    priority: int
    is_plain: bool
    """Whether nothing but its place decides when it starts: no delay, no limit, no lack of credits."""
    cost: int
    hold: int
    calls: list[Call] = field(default_factory=list)

    @property
    def begun_at(self) -> float:
        """When it was offered first."""
        return self.calls[0].start

    @property
    def accepted_at(self) -> float:
        """When it was known to be accepted."""
        return min((call.end for call in self.calls if call.outcome == "ok"), default=NEVER)

    @property
    def is_refused(self) -> bool:
        """Whether every call was refused, so that nothing of it may be there."""
        return all(call.outcome == "refused" for call in self.calls)


@dataclass(slots=True)
class Claimed:
    """One task in the answer to a claim; a request that was repeated counts from its first call."""

    task: str
    token: str
    deliveries: int
    worker: str
    start: float
    end: float


@dataclass(slots=True)
class ClaimCall:
    """One answered claim: how many of each type it could take, and what it got."""

    request: str
    worker: str
    start: float
    end: float
    slots: dict[str, int]
    tasks: list[Claimed]


@dataclass(slots=True)
class Report:
    """What a worker said of one task, and the word that it got; "" if the answer is not known."""

    task: str
    token: str
    asked: str
    word: str
    worker: str
    start: float
    end: float


@dataclass(slots=True)
class Run:
    """One run of a handler. `ended_at` is NEVER if its process was gone before."""

    task: str
    token: str
    fence: int
    worker: str
    started_at: float
    ended_at: float = NEVER
    charge: int | None = None


@dataclass(slots=True)
class Excuse:
    """Something that was done to the run, and what may follow from it.

    Attributes:
        fault: Its name.
        begin: When it began.
        end: When it was over, with what still comes of it.
        repeats: Processes whose tasks may run again because of it; EVERYONE is all of them.
        loses: Whether tasks that were accepted in this time may be gone.
        rewinds: Whether the server may have gone back to what it was: whatever was about is not judged.
        disorders: Whether the order of what started meanwhile says nothing.
    """

    fault: str
    begin: float
    end: float
    repeats: tuple[str, ...] = ()
    loses: bool = False
    rewinds: bool = False
    disorders: bool = False

    def explains(self, worker: str, begin: float, end: float) -> bool:
        """Whether it can be why a task that *worker* had from *begin* on ran again at *end*."""
        concerned = EVERYONE in self.repeats or worker in self.repeats
        return concerned and self.begin <= end and begin <= self.end


@dataclass(slots=True)
class Evidence:
    """Everything that can be said of a run, task by task where it is about tasks."""

    submissions: dict[str, Submission] = field(default_factory=dict)
    claims: list[ClaimCall] = field(default_factory=list)
    has_unknown_claims: bool = False
    claimed: dict[str, list[Claimed]] = field(default_factory=lambda: defaultdict(list))
    reports: dict[str, list[Report]] = field(default_factory=lambda: defaultdict(list))
    runs: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    cancels: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    reads: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    grants: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    excuses: list[Excuse] = field(default_factory=list)


def gather(history: History) -> Evidence:
    """Return what a history says."""
    found = Evidence()
    for call in history.called("enqueue"):
        _add_submission(found, call)
    _add_claims(found, history.called("claim"))
    for call in history.called("report"):
        _add_reports(found, call)
    for what, where in (("cancel", found.cancels), ("read", found.reads)):
        for call in history.called(what):
            where[call.given["task"]].append(call)
    for call in history.called("grant"):
        found.grants[call.given["tenant"]].append(call)
    _add_runs(found, history.notes)
    return found


def _add_submission(found: Evidence, call: Call) -> None:
    given = call.given
    made = found.submissions.get(given["task"])
    if made is None:
        made = found.submissions[given["task"]] = Submission(
            given["task"],
            given["type"],
            given.get("tenant", "default"),
            given["priority"],
            given.get("plain", True),
            given.get("cost", 0),
            given.get("hold", given.get("cost", 0)),
        )
    made.calls.append(call)


def _add_claims(found: Evidence, calls: list[Call]) -> None:
    begun: dict[str, float] = {}
    for call in calls:
        request: str = call.given["request"]
        start = begun.setdefault(request, call.start)
        if call.outcome != "ok":
            found.has_unknown_claims = True
            continue
        tasks = [
            Claimed(task, token, deliveries, call.process, start, call.end)
            for task, token, deliveries in call.answer["tasks"]
        ]
        found.claims.append(ClaimCall(request, call.process, start, call.end, call.given["slots"], tasks))
        for claimed in tasks:
            found.claimed[claimed.task].append(claimed)


def _add_reports(found: Evidence, call: Call) -> None:
    words = call.answer["words"] if call.outcome == "ok" else [""] * len(call.given["done"])
    for (task, token, asked), word in zip(call.given["done"], words, strict=True):
        report = Report(task, token, asked, word, call.process, call.start, call.end)
        found.reports[task].append(report)


def _add_runs(found: Evidence, notes: list[Note]) -> None:
    running: dict[tuple[str, str, str], Run] = {}
    for note in notes:
        details: Any = note.details
        if note.what == "start":
            run = Run(details["task"], details["token"], details["fence"], note.process, note.at)
            running[note.process, run.task, run.token] = run
            found.runs[run.task].append(run)
        elif note.what == "end":
            run = running[note.process, details["task"], details["token"]]
            run.ended_at, run.charge = note.at, details.get("charge")
        elif note.what == "fault":
            found.excuses.append(Excuse(**{**details, "repeats": tuple(details["repeats"])}))
