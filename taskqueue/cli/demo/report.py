"""The end of the demo: counts and waits by priority and type, promises, failures, and what next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from taskqueue.cli.demo.play import Outcome
from taskqueue.cli.documents import error_document
from taskqueue.cli.output import console, plain, span, table
from taskqueue.task import Task, TaskState

NEXT = (
    ("taskqueue enqueue examples/pages.jsonl", "queue real work: pages to fetch"),
    ("taskqueue worker examples.fetch_pages:scheduler --burst", "do it, and stop when the queue is empty"),
    ("taskqueue stats", "see what is queued; then taskqueue --help"),
)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least *share* of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def waited(task: Task) -> float:
    """Return the seconds between the moment from which *task* could run and its first claim."""
    runnable = task.created_ms if task.not_before_ms is None else task.not_before_ms
    return ((task.started_ms or runnable) - runnable) / 1000


def groups(tasks: Iterable[Task], key: Callable[[Task], Any]) -> dict[Any, list[Task]]:
    """Return the tasks by what *key* says of them."""
    found: dict[Any, list[Task]] = {}
    for task in tasks:
        found.setdefault(key(task), []).append(task)
    return found


def document(outcome: Outcome) -> dict[str, Any]:
    """Return the summary as a JSON document; times in milliseconds."""
    by_priority, by_type = _by_priority(outcome), _by_type(outcome)
    return {
        "ok": outcome.ok,
        "simulated": True,
        "seconds": round(outcome.seconds, 3),
        "accepted": len(outcome.scene.accepted),
        "refused": [
            {"line": refusal.line, "message": str(refusal.error)} for refusal in outcome.scene.refused
        ],
        "byPriority": [{"priority": key, **_numbers(tasks)} for key, tasks in by_priority.items()],
        "byType": [{"taskType": key, **_numbers(tasks)} for key, tasks in by_type.items()],
        "promises": [{"promise": f.promise, "kept": f.kept, "detail": f.detail} for f in outcome.findings],
        "failed": [
            {
                "id": task.id,
                "idempotencyKey": task.idempotency_key,
                "attempt": task.attempt,
                "error": _error(task),
            }
            for task in _failed(outcome)
        ],
    }


def show(outcome: Outcome) -> None:
    """Write the summary to stdout."""
    screen = console()
    print_ = screen.print
    print_(f"\n{len(outcome.ended)} tasks in {outcome.seconds:.1f} s; the answers are simulated")
    for title, groups_ in (("priority", _by_priority(outcome)), ("type", _by_type(outcome))):
        columns = (title, "tasks", "failed", "wait p50", "wait p99", "run p50")
        print_(table(columns, (_row(key, tasks) for key, tasks in groups_.items()), right=columns[1:]))
    for finding in outcome.findings:
        print_(plain(f"{'kept' if finding.kept else 'BROKEN':6}  {finding.promise}"))
        print_(plain(f"        {finding.detail}"))
    print_("\nfailed, as it was meant to:" if outcome.ok else "\nfailed:")
    for task in _failed(outcome):
        error = task.error
        why = f"{error.code}: {error.message}" if error else "no reason was stored"
        print_(plain(f"  {task.idempotency_key}, {task.type}, after {task.attempt} attempts: {why}"))
    print_("\nnext:")
    for command, what in NEXT:
        print_(f"  {command:58} {what}")


def _by_priority(outcome: Outcome) -> dict[int, list[Task]]:
    found = groups(outcome.ended.values(), lambda task: task.priority)
    return {priority: found[priority] for priority in sorted(found, reverse=True)}


def _by_type(outcome: Outcome) -> dict[str, list[Task]]:
    found = groups(outcome.ended.values(), lambda task: task.type)
    return {type_: found[type_] for type_ in sorted(found)}


def _failed(outcome: Outcome) -> list[Task]:
    return [task for task in outcome.ended.values() if task.state is not TaskState.COMPLETED]


def _row(key: object, tasks: Sequence[Task]) -> tuple[object, ...]:
    numbers = _numbers(tasks)
    times = (span(numbers[name] / 1000) for name in ("waitP50Ms", "waitP99Ms", "runP50Ms"))
    return key, numbers["count"], numbers["failed"], *times


def _numbers(tasks: Sequence[Task]) -> dict[str, Any]:
    waits = [waited(task) for task in tasks]
    runs = [task.latency.total_seconds() for task in tasks if task.latency is not None]
    return {
        "count": len(tasks),
        "failed": sum(task.state is not TaskState.COMPLETED for task in tasks),
        "waitP50Ms": round(percentile(waits, 0.50) * 1000),
        "waitP99Ms": round(percentile(waits, 0.99) * 1000),
        "runP50Ms": round(percentile(runs, 0.50) * 1000),
    }


def _error(task: Task) -> dict[str, Any] | None:
    return (
        None
        if task.error is None
        else error_document(task.error.code, task.error.message, task.error.details)
    )
