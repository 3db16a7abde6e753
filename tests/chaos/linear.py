"""Whether the calls about one task can have happened one after the other, each at one instant.

The search of Wing and Gong: take any call that may be next, change the state as it would, go on. A
call whose end is not known may have happened at any time after its start, or not at all. Between
calls a task may move by itself: a lease may run out, and the answer to a claim may reach nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tests.chaos.evidence import Evidence
from tests.chaos.history import NEVER

_SHOWN = {
    "none": "",
    "queued": "QUEUED",
    "running": "PROCESSING",
    "completed": "COMPLETED",
    "failed": "FAILED",
    "cancelled": "CANCELLED",
}
_LASTING = frozenset({"completed", "failed", "cancelled", "retried", "released"})
"""Words that the same token gets again, until the next claim."""
_MOST_CALLS = 60
_MOST_LOST_CLAIMS = 3


class State(NamedTuple):
    """A task as the model has it."""

    phase: str = "none"
    deliveries: int = 0
    token: str = ""
    """Of the last claim."""
    word: str = ""
    """What became of that claim; `reaped` if its lease ran out, "" while it runs."""


class Step(NamedTuple):
    """One call: what it was, with what, and what was answered."""

    start: float
    end: float
    verb: str
    token: str = ""
    deliveries: int = 0
    word: str = ""


def is_linear(steps: Sequence[Step], *, has_lost_claims: bool = False) -> bool:
    """Whether some order of the calls explains every answer. With too many calls to tell: True.

    Args:
        steps: The calls.
        has_lost_claims: Whether the answer to some claim may have reached nobody.
    """
    if len(steps) > _MOST_CALLS:
        return True
    ordered = sorted(steps)
    needed = sum(1 << number for number, step in enumerate(ordered) if step.end < NEVER)
    spare = _MOST_LOST_CLAIMS if has_lost_claims else 0
    most = max((step.deliveries for step in ordered), default=0) + spare
    seen: set[tuple[int, State]] = set()
    stack = [(0, State())]
    while stack:
        done, state = stack.pop()
        if done & needed == needed:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        left = [number for number in range(len(ordered)) if not done >> number & 1]
        frontier = min(ordered[number].end for number in left)
        for number in left:
            if ordered[number].start <= frontier:
                stack += [(done | 1 << number, after) for after in _after(state, ordered[number])]
        stack += [(done, moved) for moved in _by_itself(state, most if has_lost_claims else 0)]
    return False


def steps_of(evidence: Evidence, task: str, final: str) -> list[Step]:
    """Return the calls about a task; *final* is the state in which it was found in the end, "" if in none."""
    submission = evidence.submissions.get(task)
    steps = [
        Step(call.start, call.end, "enqueue")
        for call in (submission.calls if submission is not None else ())
        if call.outcome != "refused"
    ]
    if submission is not None and submission.cost:
        # Its tenant may have nothing left at its turn; nobody is told.
        steps.append(Step(submission.begun_at, NEVER, "shortage"))
    steps += [
        Step(each.start, each.end, "claim", each.token, each.deliveries)
        for each in evidence.claimed.get(task, ())
    ]
    steps += [
        Step(each.start, each.end, "report", each.token, word=each.word or f"?{each.asked}")
        for each in evidence.reports.get(task, ())
    ]
    steps += [
        Step(call.start, call.end, "cancel", word=_state(call.answer))
        for call in evidence.cancels.get(task, ())
    ]
    steps += [
        Step(call.start, call.end, "read", word=_state(call.answer))
        for call in evidence.reads.get(task, ())
        if call.outcome == "ok"
    ]
    steps = _distinct(steps)
    # The last read comes after everything else was begun, whatever became of that.
    last = max((step.start if step.end == NEVER else step.end for step in steps), default=0.0) + 1
    return [*steps, Step(last, last, "read", word=final)]


def _distinct(steps: list[Step]) -> list[Step]:
    """Leave out calls of unknown fate that others say already: whatever they may do, the first one may."""
    kept: dict[Step, Step] = {}
    for step in sorted(steps):
        kept.setdefault(step._replace(start=0.0) if step.end == NEVER else step, step)
    return list(kept.values())


def _state(answer: Any) -> str:
    found: str | None = answer.get("state")
    return found or ""


def _after(state: State, step: Step) -> Iterator[State]:
    """Yield the states in which a call may leave a task, if it can answer so in this one."""
    match step.verb:
        case "claim":
            yield from _claimed(state, step)
        case "report":
            yield from _reported(state, step)
        case "cancel":
            yield from _cancelled(state, step)
        case "enqueue":
            yield State("queued") if state.phase == "none" else state
        case "shortage" if state.phase == "queued":
            yield State("failed", state.deliveries, state.token, "failed")
        case "read" if step.word == _SHOWN[state.phase]:
            yield state


def _claimed(state: State, step: Step) -> Iterator[State]:
    if state.phase == "running" and state.token == step.token:
        yield state
    elif state.phase == "queued" and step.deliveries > state.deliveries:
        yield State("running", step.deliveries, step.token)


def _reported(state: State, step: Step) -> Iterator[State]:
    is_known = not step.word.startswith("?")
    word = step.word.removeprefix("?")
    holds = state.phase == "running" and state.token == step.token
    if not is_known:
        yield state
        if holds and word in {"retried", "released"}:
            # Where a cancel was asked for, that is what comes of it.
            yield State("cancelled", state.deliveries, step.token, "cancelled")
    if word == "stale":
        if not holds and not (state.token == step.token and state.word in _LASTING):
            yield state
    elif holds:
        phase = "queued" if word in {"retried", "released"} else word
        yield State(phase, state.deliveries, step.token, word)
    elif is_known and state.token == step.token and state.word == word:
        yield state


def _cancelled(state: State, step: Step) -> Iterator[State]:
    if step.end == NEVER:
        yield state
    if state.phase == "queued" and step.word in {"", "CANCELLED"}:
        yield State("cancelled", state.deliveries, state.token, "cancelled")
    elif step.word == _SHOWN[state.phase]:
        yield state


def _by_itself(state: State, most: int) -> Iterator[State]:
    """Yield where a task may go without a call that was answered."""
    if state.phase == "running":
        # Its lease ran out: back to the queue, to the dead letters, or cancelled as was asked for.
        for phase in ("queued", "failed", "cancelled"):
            yield State(phase, state.deliveries, state.token, "reaped")
    elif state.phase == "queued" and state.deliveries < most:
        yield State("running", state.deliveries + 1, "?")
