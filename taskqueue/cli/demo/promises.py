"""What the demo promised, held against what happened. Pure: records in, findings out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskqueue.cli.demo.scene import ALWAYS_FAILS_KEY, FAILS_TWICE_KEY, SEED_KEY, Scene
from taskqueue.errors import IdempotencyConflict, InvalidTask
from taskqueue.task import Task, TaskState

SEED_PAYLOAD = {"prompt": "What is the weather in New York?", "country": "US"}
SEED_WEBHOOK = {"url": "https://your-app.com/webhook-handler"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, whether it was kept, and how that was seen."""

    promise: str
    kept: bool
    detail: str


def check_all(
    scene: Scene, ended: Mapping[str, Task], starts: Sequence[tuple[str, int]], max_attempts: int
) -> list[Finding]:
    """Return a finding for each promise.

    Args:
        scene: What was submitted.
        ended: Task id -> its record at the end.
        starts: (task id, attempt) in the order in which handlers were called.
        max_attempts: How often a task was allowed to be tried.
    """
    return [
        check_order(scene, starts),
        check_delays(scene, ended),
        check_outcomes(scene, ended, starts),
        check_retries(scene, ended, max_attempts),
        check_refusals(scene),
        check_seed(scene, ended),
    ]


def rank(task: Task) -> tuple[int, int]:
    """Return what tasks are ordered by: priority from the top, then submission."""
    return -task.priority, task.sequence


def check_order(scene: Scene, starts: Sequence[tuple[str, int]]) -> Finding:
    """Compare the first starts of all tasks that were runnable from the beginning with a sorted list.

    They were all queued before the scheduler started, and no limit kept one back, so the promise
    is exact: handlers are called in this order and no other.
    """
    tasks = {task.id: task for task in scene.accepted}
    seen = [tasks[id_] for id_, attempt in starts if attempt == 1 and id_ not in scene.delayed]
    wanted = sorted((task for task in scene.accepted if task.id not in scene.delayed), key=rank)
    promise = "highest priority first, first in first out inside a priority"
    for place, (got, due) in enumerate(zip(seen, wanted, strict=False), start=1):
        if got is not due:
            return Finding(
                promise,
                False,
                f"start {place} was {_name(got)}, priority {got.priority}, number {got.sequence}; "
                f"due was {_name(due)}, priority {due.priority}, number {due.sequence}",
            )
    if len(seen) != len(wanted):
        return Finding(promise, False, f"{len(seen)} first starts of {len(wanted)} tasks")
    return Finding(
        promise,
        True,
        f"the {len(seen)} tasks without delay were queued before the scheduler started; "
        "their handlers were called exactly in the order of (-priority, submission)",
    )


def check_delays(scene: Scene, ended: Mapping[str, Task]) -> Finding:
    """Check by the server's clock that a delayed task starts when due, before lesser tasks."""
    promise = "a delayed task starts when it is due, then in its own place"
    details = []
    for submitted in scene.accepted:
        if submitted.id not in scene.delayed:
            continue
        due, started = submitted.not_before_ms, ended[submitted.id].started_ms
        if due is None or started is None or started < due:
            return Finding(promise, False, f"{_name(submitted)} was due at {due} and started at {started}")
        others = [
            task for task in ended.values() if rank(task) > rank(submitted) and task.started_ms is not None
        ]
        for other in others:
            if due < (other.started_ms or 0) < started:
                return Finding(
                    promise, False, f"{_name(other)} started before {_name(submitted)}, which was due"
                )
        later = sum((other.started_ms or 0) >= started for other in others)
        details.append(
            f"{_name(submitted)} {started - due} ms after, ahead of {later} waiting tasks of lower rank"
        )
    return Finding(promise, bool(details), "; ".join(details) or "there was no delayed task")


def check_outcomes(scene: Scene, ended: Mapping[str, Task], starts: Sequence[tuple[str, int]]) -> Finding:
    """Every task but the one that always fails was COMPLETED, and each attempt was one call."""
    promise = "every accepted task ran and has its result"
    for submitted in scene.accepted:
        task = ended[submitted.id]
        wanted = TaskState.FAILED if task.idempotency_key == ALWAYS_FAILS_KEY else TaskState.COMPLETED
        if task.state is not wanted:
            return Finding(promise, False, f"{_name(task)} is {task.state}, {wanted} was expected")
        if wanted is TaskState.COMPLETED and not (
            isinstance(task.result, dict) and task.result.get("simulated")
        ):
            return Finding(promise, False, f"{_name(task)} has no result of a simulated provider")
    attempts = sum(task.attempt for task in ended.values())
    if len(set(starts)) != len(starts) or len(starts) != attempts:
        return Finding(promise, False, f"{len(starts)} calls of handlers for {attempts} attempts")
    return Finding(
        promise, True, f"{len(scene.accepted)} tasks, {attempts} attempts, each one call of a handler"
    )


def check_retries(scene: Scene, ended: Mapping[str, Task], max_attempts: int) -> Finding:
    """The one that fails twice works the third time; the one that always fails is a dead letter."""
    promise = "a failed task is tried again, and kept as a dead letter when its attempts are used up"
    by_key = {task.idempotency_key: ended[task.id] for task in scene.accepted}
    twice, always = by_key[FAILS_TWICE_KEY], by_key[ALWAYS_FAILS_KEY]
    kept = (
        (twice.state, twice.attempt) == (TaskState.COMPLETED, 3)
        and (always.state, always.attempt) == (TaskState.FAILED, max_attempts)
        and always.error is not None
    )
    return Finding(
        promise,
        kept,
        f"{_name(twice)}: {twice.state} at attempt {twice.attempt}; "
        f"{_name(always)}: {always.state} after {always.attempt} attempts",
    )


def check_refusals(scene: Scene) -> Finding:
    """The second task with a known key and the one with priority 11 were refused, nothing else."""
    promise = "a duplicate key and an invalid task are refused"
    seed = next((task.id for task in scene.accepted if task.idempotency_key == SEED_KEY), None)
    duplicates = [r.error for r in scene.refused if isinstance(r.error, IdempotencyConflict)]
    invalid = [r.error for r in scene.refused if isinstance(r.error, InvalidTask)]
    kept = (
        len(scene.refused) == len(duplicates) + len(invalid)
        and [error.task_id for error in duplicates] == [seed]
        and [(error.field, error.value) for error in invalid] == [("priority", 11)]
    )
    return Finding(promise, kept, "; ".join(f"line {r.line}: {r.error}" for r in scene.refused) or "none was")


def check_seed(scene: Scene, ended: Mapping[str, Task]) -> Finding:
    """The contract's example request came through unchanged."""
    promise = "the example request of the contract is stored as it was sent"
    task = next((ended[task.id] for task in scene.accepted if task.idempotency_key == SEED_KEY), None)
    if task is None:
        return Finding(promise, False, "it was not accepted")
    stored = (task.type, task.priority, task.payload, task.webhook)
    kept = stored == ("CHATGPT", 5, SEED_PAYLOAD, SEED_WEBHOOK)
    return Finding(
        promise, kept, f"{task.type}, priority {task.priority}, key {task.idempotency_key}: {task.state}"
    )


def _name(task: Task) -> str:
    return task.idempotency_key or task.id
