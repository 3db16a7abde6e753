"""Whether tasks started in their order: the better one first, and of equals the one that was there first.

Only what is certain counts. A task was *passed over* by a claim if it was known to be accepted before
the claim began, if nobody took or cancelled it until the claim had ended, and if the claim took a
worse task in its place: one of the same type, or of any type while it still had a slot for this one.
Worse is a lower priority, or the same one and offered only after the other had been accepted. Calls
that overlap may have gone either way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tests.chaos.evidence import ClaimCall, Claimed, Evidence, Submission
from tests.chaos.history import NEVER


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A claim took `taken` although `waiting` stood before it."""

    waiting: str
    taken: str
    is_inversion: bool
    """Of priorities; else of two tasks of one priority."""


class _Band:
    """Tasks of one type and priority, by when they were accepted; finds the one that waited longest."""

    def __init__(self, tasks: list[tuple[float, float, str]]) -> None:
        tasks.sort()
        self._accepted = [accepted for accepted, _, _ in tasks]
        self._latest: list[tuple[float, str]] = []
        latest = (-NEVER, "")
        for _, waited_until, task in tasks:
            latest = max(latest, (waited_until, task))
            self._latest.append(latest)

    def waiting(self, accepted_before: float, until: float) -> str | None:
        """Return a task that was accepted before the one instant and still waited at the other."""
        index = bisect_left(self._accepted, accepted_before)
        if index and self._latest[index - 1][0] > until:
            return self._latest[index - 1][1]
        return None


def passed_over(evidence: Evidence, known: Collection[str]) -> Iterator[PassedOver]:
    """Yield what broke the order.

    Args:
        evidence: What happened.
        known: Tasks that the server still knows; a lost one waits for nobody.
    """
    bands = _bands(evidence, known)
    quiet = [excuse for excuse in evidence.excuses if excuse.disorders]
    for claim in evidence.claims:
        if any(excuse.begin <= claim.end and claim.start <= excuse.end for excuse in quiet):
            continue
        for taken in claim.tasks:
            submission = evidence.submissions.get(taken.task)
            if submission is not None:
                yield from _before(claim, taken, submission, evidence, bands)


def contested(evidence: Evidence, known: Collection[str]) -> int:
    """Return for how many of the tasks that were started another one of their type was certainly waiting.

    Only of these the order says anything.
    """
    bands = _bands(evidence, known)
    found = 0
    for claim in evidence.claims:
        for taken in claim.tasks:
            submission = evidence.submissions.get(taken.task)
            found += submission is not None and any(
                type_ == submission.type and band.waiting(claim.start, claim.end) is not None
                for (type_, _), band in bands.items()
            )
    return found


def _before(
    claim: ClaimCall,
    taken: Claimed,
    submission: Submission,
    evidence: Evidence,
    bands: dict[tuple[str, int], _Band],
) -> Iterator[PassedOver]:
    room = _room(claim, evidence)
    for (type_, priority), band in bands.items():
        has_slot = type_ == submission.type or room.get(type_, 0) > 0
        if not has_slot or priority < submission.priority:
            continue
        is_inversion = priority > submission.priority
        before = claim.start if is_inversion else min(claim.start, submission.begun_at)
        waiting = band.waiting(before, claim.end)
        if waiting is not None and waiting != taken.task:
            yield PassedOver(waiting, taken.task, is_inversion)


def _room(claim: ClaimCall, evidence: Evidence) -> dict[str, int]:
    """Return the slots that a claim did not fill, by type."""
    room = dict(claim.slots)
    for claimed in claim.tasks:
        submission = evidence.submissions.get(claimed.task)
        if submission is not None:
            room[submission.type] = room.get(submission.type, 0) - 1
    return room


def _bands(evidence: Evidence, known: Collection[str]) -> dict[tuple[str, int], _Band]:
    grouped: dict[tuple[str, int], list[tuple[float, float, str]]] = defaultdict(list)
    rewinds = [excuse for excuse in evidence.excuses if excuse.loses or excuse.rewinds]
    for task, submission in evidence.submissions.items():
        accepted_at = submission.accepted_at
        # It may have been lost, and accepted anew in another place.
        is_blurred = any(each.begin <= accepted_at <= each.end for each in rewinds)
        if submission.is_plain and accepted_at < NEVER and task in known and not is_blurred:
            waited_until = _waited_until(evidence, task)
            grouped[submission.type, submission.priority].append((accepted_at, waited_until, task))
    return {band: _Band(tasks) for band, tasks in grouped.items()}


def _waited_until(evidence: Evidence, task: str) -> float:
    """Return until when a task was certainly waiting for its first claim; -NEVER if that is not known."""
    claims = evidence.claimed.get(task, [])
    first = min(claims, key=lambda claimed: claimed.deliveries, default=None)
    if first is not None and first.deliveries > 1:
        # The first claim of it was answered to nobody: any instant is possible.
        return -NEVER
    if first is None and evidence.has_unknown_claims:
        return -NEVER
    cancelled = min((call.start for call in evidence.cancels.get(task, [])), default=NEVER)
    return min(cancelled, NEVER if first is None else first.start)
