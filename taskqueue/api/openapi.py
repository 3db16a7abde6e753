"""The OpenAPI 3.1 document of the service: every path, status and header that there is.

It is written by hand because handlers read requests by themselves; tests hold every answer of the
service against it.
"""

from __future__ import annotations

from typing import Any, Final

from taskqueue.api.listing import CURSOR, DEFAULT_LIMIT, HIGHEST_LIMIT, STATUSES
from taskqueue.api.openapi_schemas import HEADERS, Json, payload_name, ref, schemas
from taskqueue.api.options import ApiOptions
from taskqueue.api.routes.monitor import ENGINES
from taskqueue.contract import MODELS, TASK_TYPES

_EVERY: Final = ("X-Request-ID", "X-Latency-Ms")
_RATE: Final = ("X-RateLimit-Limit", "X-RateLimit-Remaining")
_SLOTS: Final = ("X-Concurrency-Limit", "X-Concurrency-Current", "X-Concurrency-Remaining")
_CREDITS: Final = ("X-Credits-Charged", "X-Credits-Remaining")

_ERRORS: Final[dict[int, tuple[str, tuple[str, ...]]]] = {
    400: ("The request breaks a rule.", ("VALIDATION_ERROR",)),
    401: (
        "No API key, or none that is accepted.",
        ("MISSING_API_KEY", "INVALID_API_KEY_FORMAT", "INVALID_OR_EXPIRED_API_KEY"),
    ),
    403: ("The balance does not cover the price.", ("INSUFFICIENT_CREDITS",)),
    404: ("There is no such thing.", ("RESOURCE_NOT_FOUND",)),
    408: ("The body came too slowly.", ("VALIDATION_ERROR",)),
    409: ("The idempotency key names another task.", ("RESOURCE_ALREADY_EXISTS",)),
    413: ("The body is too long.", ("VALIDATION_ERROR",)),
    415: ("The body is no JSON.", ("VALIDATION_ERROR",)),
    429: ("A limit was reached.", ("RATE_LIMIT_EXCEEDED",)),
    499: ("The client went away, or the task was cleared.", ("REQUEST_CANCELED",)),
    500: ("Something failed here.", ("INTERNAL_SERVER_ERROR",)),
    502: ("The redirect target could not be found.", ("EXTERNAL_SERVICE_ERROR",)),
    503: ("The service cannot answer now.", ("SERVICE_UNAVAILABLE",)),
}
_BODY_ERRORS: Final = (408, 413, 415, 499)


def document(options: ApiOptions, release: str) -> Json:
    """Return the document of a service with these options."""
    told = (
        "Queue slow work of outside providers, highest priority first, and collect the results. "
        "Clients must ignore fields that they do not know."
    )
    if options.demo:
        told += " **This is a demo: all results are made up.**"
    return {
        "openapi": "3.1.0",
        "info": {"title": "Task queue", "version": release, "description": told},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name} for name in ("async", "monitor", "reference", "operation")],
        "paths": _paths(options),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "sk_live_..."}
            },
            "headers": HEADERS,
            "schemas": schemas(options),
        },
    }


def _paths(options: ApiOptions) -> Json:
    return {
        **_task_paths(),
        **_queue_paths(),
        **_reference_paths(),
        **_monitor_paths(options),
        **_operation_paths(options),
    }


def _task_paths() -> Json:
    task_id = _parameter("taskId", "path", {"type": "string"}, "Its id, or its idempotency key.")
    task_id["required"] = True
    found = _operation("getTask", "async", "Status and result of a task", _json(ref("TaskStatus")), (404,))
    create = _operation(
        "createTask",
        "async",
        "Queue one task",
        _json(ref("TaskCreated")),
        (400, 403, 409, *_BODY_ERRORS),
        codes={429: ("QUEUE_LIMIT_EXCEEDED",)},
        body="TaskRequest",
        example=_EXAMPLE_TASK,
    )
    batch = _operation(
        "createTaskBatch",
        "async",
        "Queue 1 to 500 tasks, each by itself",
        _json(ref("BatchCreated")),
        (400, *_BODY_ERRORS),
        codes={429: ("QUEUE_LIMIT_EXCEEDED",)},
        body="BatchTaskRequest",
        example=[_EXAMPLE_TASK],
    )
    cancel = _operation(
        "cancelTask",
        "async",
        "End a QUEUED task; ask a PROCESSING one to stop",
        _json(ref("TaskCancelled")),
        (400, 404),
    )
    events = _operation(
        "streamTask",
        "async",
        "A task as server-sent events: task, progress, result, gone",
        {"text/event-stream": {"schema": ref("Event")}},
        (400, 404),
        codes={429: ("CONCURRENCY_LIMIT_EXCEEDED",)},
    )
    found["responses"]["400"] = _error_response(400)
    old = {**found, "operationId": "getTaskOldPath", "deprecated": True}
    return {
        "/v1/async/task": {"post": create},
        "/v1/async/task/batch": {"post": batch},
        "/v1/async/task/{taskId}": {"parameters": [task_id], "get": found, "delete": cancel},
        "/v1/async/task/{taskId}/events": {"parameters": [task_id], "get": events},
        "/v1/async/tasks": {"get": _list_operation()},
        "/v1/tasks/{taskId}": {"parameters": [task_id], "get": old},
    }


def _list_operation() -> Json:
    listed = _operation(
        "listTasks", "async", "Tasks of the organization, page by page", _json(ref("TaskList")), (400,)
    )
    listed["parameters"] = [
        _parameter("status", "query", {"type": "string", "enum": list(STATUSES)}, "Only these."),
        _parameter("taskType", "query", {"type": "string", "enum": list(TASK_TYPES)}, "Only these."),
        _parameter(
            "limit",
            "query",
            {"type": "integer", "minimum": 1, "maximum": HIGHEST_LIMIT, "default": DEFAULT_LIMIT},
            "Of the page.",
        ),
        _parameter(
            "cursor", "query", {"type": "string", "pattern": CURSOR}, "`nextCursor` of the page before."
        ),
    ]
    return listed


def _queue_paths() -> Json:
    status = _operation("getQueueStatus", "async", "Count the queue", _json(ref("QueueStatus")), (400,))
    clear = _operation("clearQueue", "async", "Remove all QUEUED tasks", _json(ref("QueueCleared")), (400,))
    credits_ = _operation("getCredits", "reference", "Balance and cycle", _json(ref("Credits")), (400,))
    return {
        "/v1/async/status": {"get": status},
        "/v1/async/queue": {"delete": clear},
        "/v1/credits": {"get": credits_},
    }


def _reference_paths() -> Json:
    countries = _operation("listCountries", "reference", "Country codes", _json(ref("Countries")), (400,))
    model = {"type": "string", "enum": list(MODELS)}
    countries["parameters"] = [_parameter("model", "query", model, "Only those that it answers from.")]
    states = _operation("listStates", "reference", "States of a country", _json(ref("States")), (400,))
    country = {"type": "string", "pattern": "^[A-Z]{2}$", "default": "US"}
    states["parameters"] = [_parameter("country", "query", country, "ISO 3166-1 alpha-2.")]
    return {"/v1/countries": {"get": countries}, "/v1/states": {"get": states}}


def _monitor_paths(options: ApiOptions) -> Json:
    paths: Json = {}
    for path, name, task_type in ENGINES:
        if task_type in options.served:
            paths[path] = {"post": _monitor(name, task_type)}
    goto = _operation(
        "resolveGoto",
        "monitor",
        "Where a redirect link leads",
        _json(ref("GotoResult")),
        (400, 502, *_BODY_ERRORS),
        body="GotoRequest",
    )
    return {**paths, "/v1/monitor/google/goto": {"post": goto}}


def _monitor(name: str, task_type: str) -> Json:
    operation = _operation(
        f"monitor{name}",
        "monitor",
        f"Run {task_type} and wait for its result",
        _json(ref("MonitorResult")),
        (400, 403, *_BODY_ERRORS),
        codes={429: ("CONCURRENCY_LIMIT_EXCEEDED", "QUEUE_LIMIT_EXCEEDED")},
        body=payload_name(task_type),
    )
    operation["responses"]["200"]["headers"].update(_headers(*_SLOTS, *_CREDITS))
    operation["responses"]["429"]["headers"].update(_headers(*_SLOTS))
    return operation


def _operation_paths(options: ApiOptions) -> Json:
    health = _open("healthz", "Whether the service and its server answer", _json(ref("Health")), (503,))
    ready = _open("readyz", "As healthz, and not while the service stops", _json(ref("Health")), (503,))
    own = _open("openapi", "This document", _json({"type": "object"}), ())
    paths = {"/healthz": {"get": health}, "/readyz": {"get": ready}, "/openapi.json": {"get": own}}
    if options.metrics:
        text = {"text/plain": {"schema": {"type": "string"}}}
        paths["/metrics"] = {"get": _open("metrics", "Counts for Prometheus, without tenants", text, ())}
    if options.docs:
        html = {"text/html": {"schema": {"type": "string"}}}
        paths["/docs"] = {"get": _open("docs", "This document as a page, which can try it", html, ())}
    return paths


def _operation(
    name: str,
    tag: str,
    summary: str,
    content: Json,
    errors: tuple[int, ...],
    *,
    codes: dict[int, tuple[str, ...]] | None = None,
    body: str | None = None,
    example: Any = None,
) -> Json:
    """Return an operation inside of `/v1`; 401, 405, 429, 500 and 503 can happen to all of them."""
    good = {"description": "Done.", "headers": _headers(*_EVERY, *_RATE), "content": content}
    more = codes or {}
    statuses = sorted({*errors, 401, 429, 500, 503})
    operation: Json = {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "responses": {
            "200": good,
            **{str(status): _error_response(status, more.get(status, ())) for status in statuses},
        },
    }
    if body is not None:
        media: Json = {"schema": ref(body)}
        if example is not None:
            media["example"] = example
        operation["requestBody"] = {"required": True, "content": {"application/json": media}}
    return operation


def _open(name: str, summary: str, content: Json, errors: tuple[int, ...]) -> Json:
    """Return an operation that needs no API key."""
    good = {"description": "Done.", "headers": _headers(*_EVERY), "content": content}
    responses = {"200": good, **{str(status): _error_response(status, guarded=False) for status in errors}}
    return {
        "operationId": name,
        "tags": ["operation"],
        "summary": summary,
        "security": [],
        "responses": responses,
    }


def _error_response(status: int, more: tuple[str, ...] = (), *, guarded: bool = True) -> Json:
    told, codes = _ERRORS[status]
    names = [*_EVERY]
    if guarded and status != 401:  # noqa: PLR2004 - who is not known has no rate
        names += _RATE
    names += {401: ["WWW-Authenticate"], 503: ["Retry-After"]}.get(status, [])
    headers = _headers(*names)
    if status == 503 and guarded:  # noqa: PLR2004 - perhaps before the key could be looked up
        for name in _RATE:
            headers[name] = {**HEADERS[name], "required": False}
    code = {"properties": {"error": {"properties": {"code": {"enum": [*codes, *more]}}}}}
    schema = {"allOf": [ref("Error"), code]}
    return {"description": told, "headers": headers, "content": _json(schema)}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _parameter(name: str, place: str, schema: Json, told: str) -> Json:
    return {"name": name, "in": place, "schema": schema, "description": told}


_EXAMPLE_TASK: Final[Json] = {
    "taskType": "CHATGPT",
    "priority": 5,
    "idempotencyKey": "your-custom-identifier-123",
    "webhook": {"url": "https://your-app.com/webhook-handler"},
    "payload": {"prompt": "What is the weather in New York?", "country": "US"},
}
