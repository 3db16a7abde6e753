"""What goes out: tasks, credits, webhooks and responses in the contract's shape.

Only what is named here leaves the service; what a handler raised stays inside, because its text
may tell of files, addresses and keys.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from taskqueue.task import Task, TaskError, TaskState

HIGHEST_PRIORITY = 10
"""Highest of the contract; the band of synchronous requests above it is ours."""

MAX_RETRIES = "Task failed after max retries"

_SHOWN_STATUS = {TaskState.CANCELLED: "FAILED"}
_INTERNAL = frozenset(
    {
        "CRASHED",
        "GIVEN_UP",
        "HANDLER_ERROR",
        "INVALID_PAYLOAD",
        "INVALID_RESULT",
        "TIMEOUT",
        "UNREADABLE",
    }
)
"""Codes that the engine gives to failures by itself. All others were chosen to be told."""


def is_visible(task: Task | None, tenant: str) -> bool:
    """Whether *tenant* may know of *task*: its own, made by the asynchronous endpoints."""
    return task is not None and task.tenant == tenant and not task.reserved and not task.type.startswith("_")


def instant(ms: int | None) -> str | None:
    """Return epoch milliseconds as the contract writes instants: `2026-04-09T15:00:00.000Z`."""
    if ms is None:
        return None
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    # Most tasks that are told of come from the last few seconds.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def task_block(task: Task) -> dict[str, Any]:
    """Return the contract's `task`."""
    is_over = task.finished_ms is not None and task.started_ms is not None and task.state.is_finished
    return {
        "id": task.id,
        "taskType": task.type,
        "status": _SHOWN_STATUS.get(task.state, str(task.state)),
        "priority": min(task.priority, HIGHEST_PRIORITY),
        "createdAt": instant(task.created_ms),
        "latencyMs": (task.finished_ms or 0) - (task.started_ms or 0) if is_over else None,
        "idempotencyKey": task.idempotency_key,
    }


def credits_block(task: Task) -> dict[str, Any]:
    """Return the contract's `credits`."""
    return {"creditsToCharge": task.cost, "creditsCharged": task.charged}


def webhook_block(task: Task) -> dict[str, Any] | None:
    """Return the contract's `webhook`; None without one, and before the end."""
    if task.webhook is None or not task.state.is_finished:
        return None
    delivered = instant(task.delivered_ms)
    return {"url": task.webhook["url"], "deliveredAt": delivered, "delivered": delivered is not None}


def error_block(task: Task) -> dict[str, Any]:
    """Return what is told of a task that did not complete: `code`, `message` and perhaps `details`."""
    error = task.error or TaskError("UNREADABLE", "")
    if error.code not in _INTERNAL:
        block = {"code": error.code, "message": error.message}
        return block if error.details is None else {**block, "details": error.details}
    return {
        "code": "INTERNAL_SERVER_ERROR",
        # A handler that gives up says why on purpose; other texts come from exceptions.
        "message": error.message if error.code == "GIVEN_UP" and error.message else MAX_RETRIES,
        "details": {"reason": error.code, "attempts": task.attempt},
    }


def response_block(task: Task) -> Any:
    """Return the contract's `response` of a finished task: the bare result, or `{"error": ...}`.

    It is never null: official receivers take a body without a response for a broken one.
    """
    if task.state is not TaskState.COMPLETED:
        return {"error": error_block(task)}
    return {} if task.result is None else task.result


def created_body(task: Task) -> dict[str, Any]:
    """Return the answer to a submission."""
    return {"success": True, "task": task_block(task), "credits": credits_block(task)}


def finished_body(task: Task) -> dict[str, Any]:
    """Return the body of the webhook of a finished task: what GET returns, without `webhook`."""
    return {
        "task": task_block(task),
        "credits": credits_block(task),
        "response": response_block(task),
    }


def status_body(task: Task) -> dict[str, Any]:
    """Return the answer to GET of a task."""
    if not task.state.is_finished:
        return {"task": task_block(task), "credits": credits_block(task)}
    webhook = webhook_block(task)
    return finished_body(task) if webhook is None else {**finished_body(task), "webhook": webhook}
