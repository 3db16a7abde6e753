"""Every error of the service: one shape, the contract's codes, and what of the engine becomes which.

400 VALIDATION_ERROR            (408, 413, 415 where HTTP has a word of its own)
401 MISSING_API_KEY  INVALID_API_KEY_FORMAT  INVALID_OR_EXPIRED_API_KEY
403 INSUFFICIENT_CREDITS
404 RESOURCE_NOT_FOUND          (405 for a path that has other methods)
409 RESOURCE_ALREADY_EXISTS
429 RATE_LIMIT_EXCEEDED  CONCURRENCY_LIMIT_EXCEEDED  QUEUE_LIMIT_EXCEEDED
499 REQUEST_CANCELED
500 INTERNAL_SERVER_ERROR
502 EXTERNAL_SERVICE_ERROR
503 SERVICE_UNAVAILABLE
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from taskqueue.accounts import KeyMalformed, KeyUnknown, RateExceeded
from taskqueue.api.replies import Header, Reply, json_reply
from taskqueue.errors import (
    DurabilityNotReached,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidTask,
    QueueCorrupt,
    QueueFull,
    ServerUnavailable,
    ServerUnsuitable,
    TaskNotFound,
    TaskQueueError,
)

VALIDATION_FAILED = "Request validation failed"
_MOST_PROBLEMS = 100
_BULK_PLACE = re.compile(r"specs\[[0-9]+\]\.")
_CONTRACT_NAMES = {"type": "taskType", "idempotency_key": "idempotencyKey"}
_CLOSE: Header = (b"connection", b"close")


class Problem(NamedTuple):
    """One field that breaks a rule: its path, such as `payload.prompt`, and a sentence."""

    field: str
    message: str


class ApiError(Exception):
    """An answer that is an error.

    Attributes:
        status: HTTP status.
        code: The contract's word for programs.
        message: One sentence for people.
        details: As the contract has them for the code; None where it has none.
        headers: Of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, details: Any = None, headers: Iterable[Header] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers = tuple(headers)

    def document(self) -> dict[str, Any]:
        """Return the contract's error object."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        error["timestamp"] = timestamp()
        return error

    def reply(self) -> Reply:
        """Return the answer."""
        return json_reply({"success": False, "error": self.document()}, self.status, self.headers)


def timestamp() -> str:
    """Return the present instant as the contract writes instants."""
    return f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def invalid(problems: Sequence[Problem], *, status: int = 400, close: bool = False) -> ApiError:
    """Return the error for fields that break rules; *close* ends a connection whose body was not read."""
    details = [{"field": problem.field, "message": problem.message} for problem in problems[:_MOST_PROBLEMS]]
    return ApiError(status, "VALIDATION_ERROR", VALIDATION_FAILED, details, [_CLOSE] if close else [])


def invalid_field(field: str, message: str, *, status: int = 400, close: bool = False) -> ApiError:
    """Return the error for one field that breaks a rule."""
    return invalid([Problem(field, message)], status=status, close=close)


def problem_of(error: InvalidTask) -> Problem:
    """Return what the engine refused in the contract's words, without the value that was given."""
    field = _BULK_PLACE.sub("", error.field)
    first, dot, rest = field.partition(".")
    return Problem(f"{_CONTRACT_NAMES.get(first, first)}{dot}{rest}", f"Must be {error.rule}")


def missing_key() -> ApiError:
    """Return the error for a request that shows no API key."""
    return ApiError(401, "MISSING_API_KEY", "Missing or invalid API key", headers=[_CHALLENGE])


_CHALLENGE: Header = (b"www-authenticate", b"Bearer")


def route_not_found(path: str) -> ApiError:
    """Return the error for a path that the service does not have."""
    return ApiError(404, "RESOURCE_NOT_FOUND", "Route not found", {"id": path})


def method_not_allowed(path: str, allow: str) -> ApiError:
    """Return the error for a path that has other methods."""
    return ApiError(
        405, "RESOURCE_NOT_FOUND", "Method not allowed", {"id": path}, [(b"allow", allow.encode("latin-1"))]
    )


def task_not_found(task_id: str) -> ApiError:
    """Return the error for an id or a key that names no task of the tenant."""
    return ApiError(404, "RESOURCE_NOT_FOUND", "Task not found", {"id": task_id})


def queue_full(limit: int) -> ApiError:
    """Return the error for a tenant that has as many queued tasks as it may."""
    message = f"Queue limit exceeded. Maximum {limit} queued tasks allowed per organization"
    return ApiError(429, "QUEUE_LIMIT_EXCEEDED", message, {"limit": limit})


def concurrency_reached(limit: int, headers: Iterable[Header] = ()) -> ApiError:
    """Return the error for a tenant whose slots are all taken."""
    return ApiError(
        429, "CONCURRENCY_LIMIT_EXCEEDED", "Concurrency limit exceeded", {"limit": limit}, headers
    )


def insufficient_credits() -> ApiError:
    """Return the error for a balance that does not cover the price."""
    return ApiError(403, "INSUFFICIENT_CREDITS", "Insufficient credits")


def request_canceled() -> ApiError:
    """Return the error for a client that went away, or a synchronous task that was taken off the queue."""
    return ApiError(499, "REQUEST_CANCELED", "Request was canceled by client")


def internal(message: str = "Internal server error") -> ApiError:
    """Return the error for what the caller can do nothing about."""
    return ApiError(500, "INTERNAL_SERVER_ERROR", message)


def unavailable(retry_after: int) -> ApiError:
    """Return the error for a service that cannot answer now (contract: the only one with Retry-After)."""
    headers = [(b"retry-after", b"%d" % retry_after)]
    return ApiError(503, "SERVICE_UNAVAILABLE", "Service unavailable", headers=headers)


def external_failed() -> ApiError:
    """Return the error for a redirect link that could not be followed."""
    return ApiError(502, "EXTERNAL_SERVICE_ERROR", "goto resolve request failed", {"service": "google"})


def error_of(error: Exception, retry_after: int = 1) -> ApiError:
    """Return what an exception of the engine means to the caller of the service.

    Whatever is no refusal and no outage is a 500 without any of its text.
    """
    match error:
        case ApiError():
            return error
        case InvalidTask():
            return invalid([problem_of(error)])
        case KeyMalformed():
            return ApiError(401, "INVALID_API_KEY_FORMAT", "Invalid API key format", headers=[_CHALLENGE])
        case KeyUnknown():
            message = "Invalid or expired API key"
            return ApiError(401, "INVALID_OR_EXPIRED_API_KEY", message, headers=[_CHALLENGE])
        case RateExceeded():
            return ApiError(429, "RATE_LIMIT_EXCEEDED", "API key rate limit exceeded")
        case _:
            return _refusal(error) or _outage(error, retry_after)


def _refusal(error: Exception) -> ApiError | None:
    match error:
        case InsufficientCredits():
            return insufficient_credits()
        case IdempotencyConflict():
            details = {"field": "idempotencyKey", "value": error.key}
            return ApiError(409, "RESOURCE_ALREADY_EXISTS", "Task already exists", details)
        case QueueFull():
            return queue_full(error.limit)
        case TaskNotFound():
            return task_not_found(error.task_id)
        case _:
            return None


def _outage(error: Exception, retry_after: int) -> ApiError:
    if isinstance(error, ServerUnavailable | ServerUnsuitable | DurabilityNotReached):
        return unavailable(retry_after)
    # By its exact type: the queue is being closed, because the service stops.
    if type(error) is TaskQueueError and not isinstance(error, QueueCorrupt):
        return unavailable(retry_after)
    return internal()
