"""The parts of the OpenAPI document that its operations name: schemas, headers, examples."""

from __future__ import annotations

from typing import Any, Final

from taskqueue.api.listing import STATUSES
from taskqueue.api.openapi_payloads import GOTO, payload_schema, webhook_pattern
from taskqueue.api.options import MOST_TASKS, ApiOptions
from taskqueue.api.submission import DEFAULT_PRIORITY, HIGHEST_PRIORITY, LONGEST_KEY, LOWEST_PRIORITY
from taskqueue.contract import TASK_TYPES

Json = dict[str, Any]

EXAMPLE_TASK: Final[Json] = {
    "id": "b27a21e1-7c39-4aa2-a347-23e828c426f9",
    "taskType": "CHATGPT",
    "status": "QUEUED",
    "priority": 5,
    "createdAt": "2026-04-09T15:00:00.000Z",
    "latencyMs": None,
    "idempotencyKey": "batch-chatgpt-001",
}
_EXAMPLE_CREATED: Final[Json] = {
    "success": True,
    "task": EXAMPLE_TASK,
    "credits": {"creditsToCharge": 5, "creditsCharged": None},
}
_EXAMPLE_STATUS: Final[Json] = {
    "task": {**EXAMPLE_TASK, "status": "COMPLETED", "latencyMs": 3420},
    "credits": {"creditsToCharge": 5, "creditsCharged": 5},
    "webhook": {"url": "https://your-app.com/webhook", "deliveredAt": None, "delivered": False},
    "response": {"text": "...", "sources": []},
}
_EXAMPLE_ERROR: Final[Json] = {
    "success": False,
    "error": {
        "code": "VALIDATION_ERROR",
        "message": "Request validation failed",
        "details": [{"field": "payload.prompt", "message": "Prompt cannot be empty"}],
        "timestamp": "2026-04-09T15:00:00.000Z",
    },
}
# OpenAPI 3.1 has no word for the items of a stream: as FastAPI does, the schema is told of each.
_EVENT: Final[Json] = {
    "type": "object",
    "description": "One event: its fields. Comments come between them.",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["task", "progress", "result", "gone"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_INSTANT: Final[Json] = {"type": "string", "format": "date-time", "examples": ["2026-04-09T15:00:00.000Z"]}
_INTEGER: Final[Json] = {"type": "integer", "minimum": 0}


def ref(name: str) -> Json:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Json) -> Json:
    """Return the schema of a value that may be null."""
    kind = schema.get("type")
    return (
        {**schema, "type": [kind, "null"]} if isinstance(kind, str) else {"anyOf": [schema, {"type": "null"}]}
    )


def record(required: Json, optional: Json | None = None, *, told: str = "", closed: bool = False) -> Json:
    """Return the schema of an object, from its properties."""
    schema: Json = {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }
    if told:
        schema["description"] = told
    if closed:
        schema["additionalProperties"] = False
    return schema


HEADERS: Final[dict[str, Json]] = {
    "X-Request-ID": {
        "description": "Random; name it when you ask about a request.",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    },
    "X-Latency-Ms": {
        "description": "Milliseconds from the arrival of the request to the start of the response.",
        "required": True,
        "schema": _INTEGER,
    },
    "X-RateLimit-Limit": {
        "description": "Requests a second that the API key may make to this endpoint.",
        "required": True,
        "schema": _INTEGER,
    },
    "X-RateLimit-Remaining": {
        "description": "How many of them are left in this second.",
        "required": True,
        "schema": _INTEGER,
    },
    "X-Concurrency-Limit": {
        "description": "Concurrent slots of the organization; absent where there is no limit.",
        "schema": _INTEGER,
    },
    "X-Concurrency-Current": {
        "description": "How many of them were in use when the request came.",
        "schema": _INTEGER,
    },
    "X-Concurrency-Remaining": {
        "description": "How many of them were free when the request came.",
        "schema": _INTEGER,
    },
    "X-Credits-Charged": {
        "description": "Credits that the request was charged.",
        "required": True,
        "schema": _INTEGER,
    },
    "X-Credits-Remaining": {
        "description": "Credits that are left.",
        "required": True,
        "schema": _INTEGER,
    },
    "Retry-After": {
        "description": "Seconds to wait before the next try.",
        "required": True,
        "schema": _INTEGER,
    },
    "Allow": {"description": "Methods of the path.", "required": True, "schema": {"type": "string"}},
    "WWW-Authenticate": {
        "description": "How to authenticate.",
        "required": True,
        "schema": {"type": "string", "const": "Bearer"},
    },
}


def schemas(options: ApiOptions) -> dict[str, Json]:
    """Return all schemas that operations name."""
    return {**_payloads(options), **_tasks(options), **_answers(), **_errors()}


def payload_name(task_type: str) -> str:
    """Return the name of the schema of a task type's payload."""
    return f"{task_type}_Payload"


def _payloads(options: ApiOptions) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for task_type in options.served:
        schema, parts = payload_schema(task_type, options)
        found.update(parts)
        found[payload_name(task_type)] = schema
    return found


def _tasks(options: ApiOptions) -> dict[str, Json]:
    webhook = record(
        {"url": {"type": "string", "pattern": webhook_pattern(options), "maxLength": 2048}},
        told="Where a POST tells of the task's end.",
        closed=True,
    )
    others: Json = {
        "priority": {
            "type": "integer",
            "minimum": LOWEST_PRIORITY,
            "maximum": HIGHEST_PRIORITY,
            "default": DEFAULT_PRIORITY,
            "description": "Higher numbers are processed first.",
        },
        "idempotencyKey": {
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_KEY,
            # Which others are printable, Unicode says, and no pattern that all programs read.
            "pattern": r"^[^\u0000-\u001f\u007f-\u00a0\u00ad]*$",
            "description": "Printable characters; refused while another task of the organization has it.",
            "examples": ["batch-chatgpt-001"],
        },
        "webhook": ref("Webhook"),
    }
    kinds: dict[str, Json] = {}
    for name in options.served:
        required = {"taskType": {"const": name}, "payload": ref(payload_name(name))}
        kinds[f"{name}_Task"] = record(required, others, closed=True)
    names = [f"{name}_Task" for name in options.served]
    mapping = {name: f"#/components/schemas/{name}_Task" for name in options.served}
    task = {
        "oneOf": [ref(name) for name in names],
        "discriminator": {"propertyName": "taskType", "mapping": mapping},
        "description": "One task.",
    }
    batch = {
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_TASKS,
        "items": {"type": "object"},
        "description": "Each item is read as a TaskRequest, by itself: one that is none fails alone.",
    }
    return {"Webhook": webhook, **kinds, "TaskRequest": task, "BatchTaskRequest": batch}


def _answers() -> dict[str, Json]:
    return {**_task_answers(), **_other_answers()}


def _task_answers() -> dict[str, Json]:
    text, true = {"type": "string"}, {"const": True}
    task = record(
        {
            "id": {"type": "string", "examples": [EXAMPLE_TASK["id"]]},
            "taskType": {"type": "string", "enum": list(TASK_TYPES)},
            "status": {"type": "string", "enum": list(STATUSES)},
            "priority": {"type": "integer", "minimum": LOWEST_PRIORITY, "maximum": HIGHEST_PRIORITY},
            "createdAt": _INSTANT,
            "latencyMs": nullable({"type": "integer", "description": "First start to end."}),
            "idempotencyKey": nullable(text),
        }
    )
    pair = {"task": ref("Task"), "credits": ref("TaskCredits")}
    parts: Json = {
        "webhook": ref("WebhookState"),
        "response": {
            "description": "Only of a finished task: the provider's result of a COMPLETED one, "
            '`{"error": {...}}` of a FAILED one.'
        },
    }
    created: Json = {**record({"success": true, **pair}), "examples": [_EXAMPLE_CREATED]}
    return {
        "Task": task,
        "TaskCredits": record({"creditsToCharge": _INTEGER, "creditsCharged": nullable(_INTEGER)}),
        "WebhookState": record(
            {"url": text, "deliveredAt": nullable(_INSTANT), "delivered": {"type": "boolean"}}
        ),
        "TaskCreated": created,
        "TaskStatus": {**record(pair, parts), "examples": [_EXAMPLE_STATUS]},
        "Event": _EVENT,
        "TaskCancelled": record({"success": true, **pair}, parts),
        "TaskList": record({"tasks": {"type": "array", "items": record(pair)}, "nextCursor": nullable(text)}),
        "BatchCreated": _batch_answer(pair),
    }


def _other_answers() -> dict[str, Json]:
    text, true = {"type": "string"}, {"const": True}
    level = record({"priority": {"type": "integer"}, "count": _INTEGER})
    slots = record({"used": _INTEGER, "max": _INTEGER})
    link = {
        "type": "string",
        "pattern": GOTO,
        "maxLength": 8192,
        "examples": ["https://www.google.com/url?q=https%3A%2F%2Fexample.com"],
    }
    return {
        "QueueStatus": record(
            {
                "queuedTasks": _INTEGER,
                "processingTasks": _INTEGER,
                "priorityBreakdown": {"type": "array", "items": level},
                "concurrency": nullable(slots),
            }
        ),
        "QueueCleared": record({"success": true, "cleared": _INTEGER}),
        "Credits": record(
            {
                "remaining": {"type": "integer", "examples": [48210]},
                "perCycle": nullable(_INTEGER),
                "cycleResetsAt": nullable(_INSTANT),
            }
        ),
        "Countries": {"type": "array", "items": {"type": "string", "pattern": "^[A-Z]{2}$"}},
        "States": {"type": "array", "items": record({"code": text, "name": text})},
        "MonitorResult": record({"success": true, "result": {"description": "The provider's result."}}),
        "GotoRequest": record({"url": link}, closed=True),
        "GotoResult": record({"url": text}),
        "Health": record({"status": {"const": "ok"}, "demo": {"type": "boolean"}}),
    }


def _batch_answer(pair: Json) -> Json:
    index = {"type": "integer", "minimum": 0, "maximum": MOST_TASKS - 1}
    good = record({"success": {"const": True}, "index": index, **pair})
    error = {
        "type": "object",
        "required": ["code", "message", "timestamp"],
        "properties": {
            "code": {"type": "string"},
            "message": {"type": "string"},
            "details": {"type": "object"},
            "timestamp": _INSTANT,
        },
    }
    bad = record({"success": {"const": False}, "index": index, "error": error})
    summary = record({"total": _INTEGER, "succeeded": _INTEGER, "failed": _INTEGER})
    results = {"type": "array", "items": {"oneOf": [good, bad]}}
    return record({"success": {"const": True}, "summary": summary, "results": results})


def _errors() -> dict[str, Json]:
    error = record(
        {
            "code": {"type": "string", "description": "For programs; never changes."},
            "message": {"type": "string", "description": "For people."},
            "timestamp": _INSTANT,
        },
        {"details": {"description": "Depends on the code.", "type": ["object", "array"]}},
    )
    return {
        "Error": {**record({"success": {"const": False}, "error": error}), "examples": [_EXAMPLE_ERROR]},
    }
