"""What is stored of an attempt: the result of one that worked, the error of one that did not."""

from __future__ import annotations

import dataclasses
import traceback
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from taskqueue.codec import encode_value
from taskqueue.task import TaskError

LONGEST_TRACEBACK = 8_000
"""Characters of a traceback that are stored with a failed task: its end."""

_MOST_FRAMES = 20
_MOST_FIELDS = 50
_LONGEST_MESSAGE = 2_000
_EXECUTOR = "scheduler.executor"

HANDLER_ERROR = "HANDLER_ERROR"
INVALID_PAYLOAD = "INVALID_PAYLOAD"
INVALID_RESULT = "INVALID_RESULT"
TASK_CANCELLED = "TASK_CANCELLED"
TIMEOUT = "TIMEOUT"
UNREADABLE = "UNREADABLE"


def encode_result(value: object, max_bytes: int) -> bytes:
    """Return what a handler returned as it is stored.

    A pydantic model or a dataclass is stored as a mapping, in the form that it has in JSON.

    Raises:
        InvalidTask: If a queue cannot carry it; `field` is the path of the culprit.
        PayloadTooLarge: If it is longer than *max_bytes* when encoded.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = to_jsonable_python(value, serialize_unknown=False)
    return encode_value(value, field="result", max_bytes=max_bytes)


def error_of_exception(error: BaseException) -> TaskError:
    """Return what is stored of an exception: its type and text, and where it was raised.

    The traceback has file names, lines and source text, never the values of variables.
    """
    kind = type(error).__name__
    text = _text(error)
    message = f"{kind}: {text}" if text else kind
    details: dict[str, Any] = {"exception": f"{type(error).__module__}.{type(error).__qualname__}"}
    frames = error.__traceback__
    if frames is not None and frames.tb_frame.f_globals.get("__name__") == _EXECUTOR:
        # Ours. What a group carried begins with a frame of the handler's own.
        frames = frames.tb_next
    if frames is not None:
        lines = traceback.format_exception(type(error), error, frames, limit=-_MOST_FRAMES)
        details["traceback"] = "".join(lines)[-LONGEST_TRACEBACK:]
    return TaskError(HANDLER_ERROR, message[:_LONGEST_MESSAGE], details)


def error_of_payload(error: ValidationError) -> TaskError:
    """Return what is stored of a payload that its handler's annotation refused.

    The details list `{"field", "rule", "type"}` for every field in error, without the values.
    """
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    fields = [
        {
            "field": ".".join(str(step) for step in problem["loc"]) or "payload",
            "rule": problem["msg"],
            "type": problem["type"],
        }
        for problem in problems[:_MOST_FIELDS]
    ]
    first = f"{fields[0]['field']}: {fields[0]['rule']}"
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return TaskError(INVALID_PAYLOAD, f"the payload does not fit its handler: {first}{more}", fields)


def error_of_result(problem: Exception) -> TaskError:
    """Return what is stored of a result that no queue can carry."""
    return TaskError(
        INVALID_RESULT, f"the handler's result cannot be stored: {_text(problem)}"[:_LONGEST_MESSAGE]
    )


def error_of_timeout(seconds: float) -> TaskError:
    """Return what is stored of an attempt that took too long."""
    return TaskError(TIMEOUT, f"the attempt did not finish within its timeout of {seconds:g} s")


def error_of_cancel() -> TaskError:
    """Return what is stored of a task that was cancelled while it ran."""
    return TaskError(TASK_CANCELLED, "the task was cancelled while it ran")


def error_of_record(problem: Exception) -> TaskError:
    """Return what is stored of a task whose record cannot be read."""
    return TaskError(UNREADABLE, f"the task cannot be read: {_text(problem)}"[:_LONGEST_MESSAGE])


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  an exception whose text fails is still to be reported
        return "<its text cannot be shown>"
