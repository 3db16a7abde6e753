"""Holds a history against what is promised. Whatever it finds is one violation, with a rule and a sentence.

| rule         | it says that                                                                          |
|--------------|---------------------------------------------------------------------------------------|
| `lost`       | a task that was accepted is unknown in the end, or has not ended                      |
| `phantom`    | a task is there, or ran, that nobody offered, or that was refused whenever offered    |
| `twice`      | completions of one task were accepted with two tokens                                 |
| `stale`      | a report was accepted whose token was never lent, or after the task was lent anew     |
| `repeat`     | a task ran again, and nothing that was done or reported explains it                   |
| `fifo`       | of two tasks of one priority the later one started first                              |
| `inversion`  | a task of a lower priority started before one of a higher priority                    |
| `linear`     | no order of the calls about a task explains all of their answers                      |
| `credits`    | granted is not spent + free, something is held in the end, or the charges add up to else |

A server that goes back in time takes promises with it. `rewinds` of an excuse: what was answered about tasks
that were about meanwhile is not judged. `loses`: what was accepted in that time may be gone as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.credits import Account, credit_problems
from tests.chaos.evidence import Evidence, Report, Run, Submission, gather
from tests.chaos.history import NEVER, History
from tests.chaos.linear import is_linear, steps_of
from tests.chaos.ordering import contested, passed_over

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
_WORDS_THAT_REPEAT = frozenset({"retried", "released"})


@dataclass(frozen=True, slots=True)
class Found:
    """A task as it was found in the end."""

    state: str
    charged: int | None = None


@dataclass(slots=True)
class Final:
    """What the server knew when everything had been drained."""

    tasks: dict[str, Found] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    rule: str
    task: str
    text: str


@dataclass(slots=True)
class Counts:
    """What a run consisted of. `excused` are accepted tasks that are gone, as their fault may cause.

    `contested` are the starts of which the order says anything: others were waiting.
    """

    offered: int = 0
    accepted: int = 0
    unknown: int = 0
    recovered: int = 0
    excused: int = 0
    runs: int = 0
    repeats: int = 0
    completed: int = 0
    claims: int = 0
    contested: int = 0


@dataclass(slots=True)
class Verdict:
    """What the checker found."""

    counts: Counts
    violations: list[Violation]

    def of(self, *rules: str) -> list[Violation]:
        """Return the violations of some rules."""
        return [violation for violation in self.violations if violation.rule in rules]


def check(history: History, final: Final) -> Verdict:
    """Judge a run. Nothing here asks a server."""
    checking = _Checking(gather(history), final)
    violations = [
        *checking.lost(),
        *checking.phantoms(),
        *checking.reports(),
        *checking.repeats(),
        *checking.order(),
        *checking.calls(),
        *(
            Violation("credits", tenant, text)
            for tenant, text in credit_problems(checking.evidence, _charged(final), final.accounts)
        ),
    ]
    return Verdict(checking.counts(), violations)


def _charged(final: Final) -> Mapping[str, tuple[str, int]]:
    return {task: (found.state, found.charged or 0) for task, found in final.tasks.items()}


class _Checking:
    """One judgement."""

    def __init__(self, evidence: Evidence, final: Final) -> None:
        self.evidence = evidence
        self.final = final
        self._losses = [excuse for excuse in evidence.excuses if excuse.loses]
        self._rewinds = [excuse for excuse in evidence.excuses if excuse.loses or excuse.rewinds]

    def lost(self) -> Iterator[Violation]:
        for task, submission in self._accepted():
            found = self.final.tasks.get(task)
            if found is None and not self._may_be_lost(submission):
                yield Violation("lost", task, "was accepted, and is unknown")
            elif found is not None and found.state not in ENDED:
                yield Violation(
                    "lost", task, f"was accepted, and is {found.state} after everything was drained"
                )

    def phantoms(self) -> Iterator[Violation]:
        for task in sorted(self.final.tasks.keys() | self.evidence.runs.keys()):
            submission = self.evidence.submissions.get(task)
            if submission is None:
                yield Violation("phantom", task, "is there, and nobody offered it")
            elif submission.is_refused:
                yield Violation("phantom", task, "is there, and was refused whenever it was offered")

    def reports(self) -> Iterator[Violation]:
        for task, reports in sorted(self.evidence.reports.items()):
            if self._is_blurred(task):
                continue
            lent = {claimed.token: claimed for claimed in self.evidence.claimed.get(task, [])}
            accepted = [report for report in reports if report.word not in {"", "stale"}]
            tokens = {report.token for report in accepted if report.word == "completed"}
            if len(tokens) > 1:
                yield Violation("twice", task, f"was completed with {len(tokens)} tokens: {sorted(tokens)}")
            for report in accepted:
                claimed = lent.get(report.token)
                if claimed is None:
                    yield Violation(
                        "stale", task, f"{report.word} with {report.token!r}, which was never lent"
                    )
                    continue
                later = [each for each in lent.values() if each.deliveries > claimed.deliveries]
                if any(each.end < report.start for each in later):
                    text = f"{report.word} with {report.token!r} by {report.worker}, lent anew before that"
                    yield Violation("stale", task, text)

    def repeats(self) -> Iterator[Violation]:
        for task, runs in sorted(self.evidence.runs.items()):
            # Not by their starts: a worker may be frozen between its claim and the start.
            ordered = sorted(runs, key=lambda run: (run.fence, run.started_at))
            for run, again in pairwise(ordered):
                if not self._is_explained(run, again):
                    text = f"ran on {run.worker} with {run.token!r}, and again on {again.worker}"
                    yield Violation("repeat", task, text)

    def order(self) -> Iterator[Violation]:
        seen: set[tuple[str, bool]] = set()
        for each in passed_over(self.evidence, self.final.tasks):
            if (each.waiting, each.is_inversion) not in seen:
                seen.add((each.waiting, each.is_inversion))
                rule = "inversion" if each.is_inversion else "fifo"
                yield Violation(rule, each.waiting, f"waited while {each.taken} was started in its place")

    def calls(self) -> Iterator[Violation]:
        for task in sorted(self.evidence.submissions):
            if self._is_blurred(task):
                continue
            found = self.final.tasks.get(task)
            steps = steps_of(self.evidence, task, "" if found is None else found.state)
            if not is_linear(steps, has_lost_claims=self.evidence.has_unknown_claims):
                answers = ", ".join(f"{step.verb} {step.token} {step.word}".strip() for step in steps)
                yield Violation("linear", task, f"no order explains: {answers}")

    def counts(self) -> Counts:
        evidence, known = self.evidence, self.final.tasks
        unknown = [task for task, each in evidence.submissions.items() if each.accepted_at == NEVER]
        unknown = [task for task in unknown if not evidence.submissions[task].is_refused]
        accepted = list(self._accepted())
        ran = Counter({task: len(runs) for task, runs in evidence.runs.items()})
        return Counts(
            offered=len(evidence.submissions),
            accepted=len(accepted),
            unknown=len(unknown),
            recovered=sum(task in known for task in unknown),
            excused=sum(task not in known and self._may_be_lost(each) for task, each in accepted),
            runs=ran.total(),
            repeats=sum(times - 1 for times in ran.values()),
            completed=sum(found.state == "COMPLETED" for found in known.values()),
            claims=len(evidence.claims),
            contested=contested(evidence, known),
        )

    def _accepted(self) -> Iterator[tuple[str, Submission]]:
        for task, submission in sorted(self.evidence.submissions.items()):
            if submission.accepted_at < NEVER:
                yield task, submission

    def _may_be_lost(self, submission: Submission) -> bool:
        instant = submission.accepted_at
        return any(excuse.begin <= instant <= excuse.end for excuse in self._losses)

    def _is_blurred(self, task: str) -> bool:
        """Whether the server may have gone back in time while the task was about."""
        if not self._rewinds:
            return False
        submission = self.evidence.submissions.get(task)
        begun = submission.begun_at if submission is not None else 0.0
        reports = self.evidence.reports.get(task, [])
        ended = max((report.end for report in reports), default=NEVER)
        return any(excuse.begin <= ended and begun <= excuse.end for excuse in self._rewinds)

    def _gave_back(self, report: Report, again: Run) -> bool:
        """Whether a report let its task run again.

        One that was answered may have been made twice: the first answer was lost, and before the second try
        somebody else had the task already, so that the report was `stale` by then. Such a report was under
        way before that claim was answered.
        """
        if report.word in _WORDS_THAT_REPEAT:
            return True
        if report.asked not in _WORDS_THAT_REPEAT or report.word not in {"", "stale"}:
            return False
        lent = [each.end for each in self.evidence.claimed.get(again.task, []) if each.token == again.token]
        return report.start < min(lent, default=again.started_at)

    def _is_explained(self, run: Run, again: Run) -> bool:
        """Whether *run* was given back, or something was done that may make its task run again."""
        for report in self.evidence.reports.get(run.task, []):
            if report.token == run.token and self._gave_back(report, again):
                return True
        lent = [each.start for each in self.evidence.claimed.get(run.task, []) if each.token == run.token]
        begin = min(lent, default=run.started_at)
        return any(excuse.explains(run.worker, begin, again.started_at) for excuse in self.evidence.excuses)
