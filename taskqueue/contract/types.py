"""The task types of the contract."""

from __future__ import annotations

from taskqueue.errors import InvalidTask

TASK_TYPES: tuple[str, ...] = (
    "AIMODE",
    "GOOGLE",
    "GOOGLE_NEWS",
    "GEMINI",
    "CHATGPT",
    "COPILOT",
    "PERPLEXITY",
    "GROK",
)
"""The values of `taskType`, in the contract's order."""


def check_task_type(value: object) -> str:
    """Return *value* if it is one of `TASK_TYPES`.

    Raises:
        InvalidTask: If it is not; its `field` is `"taskType"`.
    """
    if not isinstance(value, str) or value not in TASK_TYPES:
        raise InvalidTask("taskType", value, f"one of {', '.join(TASK_TYPES)}")
    return value
