"""Tasks and counts as JSON documents, with the names of the HTTP contract where it has one."""

from __future__ import annotations

from typing import Any

from taskqueue.cli.output import utc
from taskqueue.task import Task


def task_document(task: Task) -> dict[str, Any]:
    """Return everything that is known of *task*.

    `id`, `taskType`, `status`, `priority`, `createdAt`, `latencyMs` and `idempotencyKey` mean what
    they mean in the contract; the rest is ours. `result` and `error` are there once there is one.
    """
    latency = task.latency
    document: dict[str, Any] = {
        "id": task.id,
        "taskType": task.type,
        "status": str(task.state),
        "priority": task.priority,
        "createdAt": utc(task.created_at),
        "latencyMs": None if latency is None else round(latency.total_seconds() * 1000),
        "idempotencyKey": task.idempotency_key,
        "tenant": task.tenant,
        "attempt": task.attempt,
        "startedAt": utc(task.started_at),
        "finishedAt": utc(task.finished_at),
        "notBefore": utc(task.not_before),
        "payload": task.payload,
    }
    if task.webhook is not None:
        document["webhook"] = task.webhook
    if task.progress is not None:
        document["progress"] = task.progress
    if task.error is not None:
        document["error"] = error_document(task.error.code, task.error.message, task.error.details)
    if task.state == "COMPLETED":
        document["result"] = task.result
    return document


def error_document(code: str, message: str, details: Any = None) -> dict[str, Any]:
    """Return an error as the contract writes it, without `details` where there are none."""
    document = {"code": code, "message": message}
    return document if details is None else {**document, "details": details}
