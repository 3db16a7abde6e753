"""Whether the calls about one task can have happened one after the other, each at one instant.

The search of Wing and Gong: take any call that may be next, change the state as it would, go on. A
call whose end is not known may have happened at any time after its start, or not at all. Between
calls a task may move by itself: a lease may run out, and the answer to a claim may reach nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tests.chaos.evidence import Evidence
from tests.chaos.history import NEVER

ENDED = {"completed": "COMPLETED", "failed": "FAILED", "cancelled": "CANCELLED"}
_MOST_CALLS = 60


class State(NamedTuple):
    """A task as the model has it. `token` is that of the last claim, `word` what became of it."""

    phase: str = "none"
    """`none`, `queued`, `running`, or how it ended: `completed`, `failed`, `cancelled`."""
    deliveries: int = 0
    token: str = ""
    word: str = ""


class Step(NamedTuple):
    """One call: what it was, with what, and what was answered; "" if that is not known."""

    start: float
    end: float
    verb: str
    token: str = ""
    deliveries: int = 0
    word: str = ""


def is_linear(steps: Sequence[Step], *, has_unknown_claims: bool = False) -> bool:
    """Whether some order of the calls explains every answer. Undecided, for very many calls, is yes."""
    if len(steps) > _MOST_CALLS:
        return True
    ordered = sorted(steps)
    needed = sum(1 << number for number, step in enumerate(ordered) if step.end < NEVER)
    seen: set[tuple[int, State]] = set()
    stack = [(0, State())]
    while stack:
        done, state = stack.pop()
        if done & needed == needed:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        open_steps = [number for number in range(len(ordered)) if not done >> number & 1]
        frontier = min(ordered[number].end for number in open_steps)
        for number in open_steps:
            if ordered[number].start <= frontier:
                stack += [(done | 1 << number, after) for after in _after(state, ordered[number])]
        stack += [(done, moved) for moved in _by_itself(state, has_unknown_claims=has_unknown_claims)]
    return False


def steps_of(evidence: Evidence, task: str, final: str | None) -> list[Step]:
    """Return the calls about a task; *final* is the state in which it was found in the end."""
    steps = [Step(call.start, call.end, "read", word=_state(call.answer)) for call in evidence.reads[task]]
    for cancel in evidence.cancels[task]:
        steps.append(Step(cancel.start, cancel.end, "cancel", word=_state(cancel.answer)))
    for claimed in evidence.claimed[task]:
        steps.append(Step(claimed.start, claimed.end, "claim", claimed.token, claimed.deliveries))
    for report in evidence.reports[task]:
        word = report.word or f"?{report.asked}"
        steps.append(Step(report.start, report.end, "report", report.token, word=word))
    steps.append(Step(NEVER, NEVER, "read", word=final or ""))
    # The last read is certain, and comes last; so is every claim, whose answer somebody acted upon.
    last = max((step.end for step in steps if step.end < NEVER), default=0.0) + 1
    steps[-1] = steps[-1]._replace(start=last, end=last)
    return steps


def submission_steps(calls: Iterable[tuple[float, float, str]]) -> list[Step]:
    """Return the steps of the calls that offered a task, each as start, end and outcome."""
    return [Step(start, end, "enqueue") for start, end, outcome in calls if outcome != "refused"]


def _state(answer: object) -> str:
    found = answer.get("state") if isinstance(answer, dict) else None
    return found or ""


def _after(state: State, step: Step) -> Iterator[State]:
    """Yield the states in which a call may leave a task, if it can answer so in this one."""
    match step.verb:
        case "enqueue":
            yield State("queued") if state.phase == "none" else state
        case "claim":
            if state.phase == "running" and state.token == step.token:
                yield state
            elif state.phase in ("queued", "running") and step.deliveries > state.deliveries:
                yield State("running", step.deliveries, step.token)
        case "report":
            yield from _reported(state, step)
        case "cancel":
            yield from _cancelled(state, step)
        case "read":
            if step.word == _shown(state):
                yield state


def _reported(state: State, step: Step) -> Iterator[State]:
    if step.word.startswith("?"):
        # Asked for and never answered: as it was asked for, or without effect.
        yield state
        word = step.word[1:]
    else:
        word = step.word
    holds = state.phase == "running" and state.token == step.token
    if word == "stale":
        if not holds and not (state.token == step.token and state.word in ENDED | {"retried": "", "released": ""}):
            yield state
    elif holds:
        phase = word if word in ENDED else "queued"
        yield State(phase, state.deliveries, step.token, word)
        if word == "retried":
            # Its attempts may be used up, or it was to be cancelled: the answer says which.
            return
    elif state.token == step.token and state.word == word:
        yield state


def _cancelled(state: State, step: Step) -> Iterator[State]:
    if step.end == NEVER:
        yield state
    if state.phase == "queued" and step.word in ("", "CANCELLED"):
        yield State("cancelled", state.deliveries, state.token, "reaped")
    elif step.word == _shown(state):
        yield state


def _shown(state: State) -> str:
    return {"none": "", "queued": "QUEUED", "running": "PROCESSING"}.get(state.phase) or ENDED.get(
        state.phase, ""
    )


def _by_itself(state: State, *, has_unknown_claims: bool) -> Iterator[State]:
    """Yield where a task may go without any call that was answered."""
    if state.phase == "running":
        # Its lease ran out: back to the queue, to the dead letters, or cancelled as was asked for.
        for phase in ("queued", "failed", "cancelled"):
            yield State(phase, state.deliveries, state.token, "reaped")
    elif state.phase == "queued" and has_unknown_claims:
        yield State("running", state.deliveries + 1, "?")
