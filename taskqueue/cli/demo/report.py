"""The end of the demo: counts and waits by priority and type, promises, failures, and what next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskqueue.cli.demo.play import Outcome
from taskqueue.cli.demo.summary import Summary, summarize
from taskqueue.cli.documents import error_document
from taskqueue.cli.output import console, plain, span, table
from taskqueue.task import Task, TaskState

if TYPE_CHECKING:
    from rich.console import Console

NEXT = (
    ("taskqueue enqueue examples/pages.jsonl", "queue real work: pages to fetch"),
    ("taskqueue worker examples.fetch_pages:scheduler --burst", "do it, until the queue is empty"),
    ("taskqueue stats", "see what is queued; more in taskqueue --help"),
)


def document(outcome: Outcome) -> dict[str, Any]:
    """Return the summary as a JSON document; times in milliseconds."""
    return {
        "ok": outcome.ok,
        "simulated": True,
        "seconds": round(outcome.seconds, 3),
        "accepted": len(outcome.scene.accepted),
        "refused": [{"line": each.line, "message": str(each.error)} for each in outcome.scene.refused],
        "byPriority": [{"priority": each.group, **_numbers(each)} for each in _by_priority(outcome)],
        "byType": [{"taskType": each.group, **_numbers(each)} for each in _by_type(outcome)],
        "promises": [
            {"promise": each.promise, "kept": each.kept, "detail": each.detail} for each in outcome.findings
        ],
        "failed": [
            {
                "id": task.id,
                "idempotencyKey": task.idempotency_key,
                "attempt": task.attempt,
                "error": error and error_document(error.code, error.message, error.details),
            }
            for task in _failed(outcome)
            for error in [task.error]
        ],
    }


def show(outcome: Outcome) -> None:
    """Write the summary to stdout."""
    screen = console()
    screen.print(f"\n{len(outcome.ended)} tasks in {outcome.seconds:.1f} s; all answers are simulated")
    for title, summaries in (("priority", _by_priority(outcome)), ("type", _by_type(outcome))):
        columns = (title, "tasks", "failed", "wait p50", "wait p99", "run p50")
        screen.print(table(columns, map(_row, summaries), right=columns[1:]))
    for finding in outcome.findings:
        mark, style = ("kept", "green") if finding.kept else ("BROKEN", "bold red")
        screen.print(f"{mark:8}{plain(finding.promise)}", style=style)
        _indented(screen, finding.detail)
    screen.print("\nfailed, as it was meant to:" if outcome.ok else "\nfailed:")
    for task in _failed(outcome):
        why = f"{task.error.code}: {task.error.message}" if task.error else "no reason was stored"
        _indented(screen, f"{task.idempotency_key}, {task.type}, after {task.attempt} attempts: {why}")
    screen.print("\nnext:")
    for command, what in NEXT:
        screen.print(f"        {command}\n            {what}")


def _indented(screen: Console, text: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    screen.print(Padding(Text(plain(text)), (0, 0, 0, 8)))


def _by_priority(outcome: Outcome) -> list[Summary]:
    found = summarize(outcome.scene.accepted, outcome.ended, lambda task: task.priority)
    return [found[priority] for priority in sorted(found, reverse=True)]


def _by_type(outcome: Outcome) -> list[Summary]:
    found = summarize(outcome.scene.accepted, outcome.ended, lambda task: task.type)
    return [found[type_] for type_ in sorted(found)]


def _failed(outcome: Outcome) -> list[Task]:
    return [task for task in outcome.ended.values() if task.state is not TaskState.COMPLETED]


def _row(each: Summary) -> tuple[object, ...]:
    times = (each.wait_p50, each.wait_p99, each.run_p50)
    return each.group, each.count, each.failed, *map(span, times)


def _numbers(each: Summary) -> dict[str, int]:
    return {
        "count": each.count,
        "failed": each.failed,
        "waitP50Ms": round(each.wait_p50 * 1000),
        "waitP99Ms": round(each.wait_p99 * 1000),
        "runP50Ms": round(each.run_p50 * 1000),
    }
