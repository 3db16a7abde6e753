"""One task in the shape of the HTTP contract (camelCase) turned into a `TaskSpec`.

The shape: `taskType` and `payload` are required, `priority`, `idempotencyKey` and `webhook`
may be left out, and any other field is refused, because a mistyped name would otherwise be
dropped without a word. `taskType` may be any valid type name here: a worker of yours may handle
more than the eight types of the HTTP API.
"""

from __future__ import annotations

import re
from typing import Any

from taskqueue.errors import InvalidTask
from taskqueue.task import TaskSpec

_REQUIRED = ("taskType", "payload")
_OPTIONAL = ("priority", "idempotencyKey", "webhook")
_KNOWN = (*_REQUIRED, *_OPTIONAL)
_PLACE = re.compile(r"specs\[[0-9]+\]\.")
"""How an error about one of many tasks begins; the reader counts lines instead."""

_CONTRACT_NAMES = {"type": "taskType", "idempotency_key": "idempotencyKey"}


def task_spec(document: object, *, tenant: str = "default") -> TaskSpec:
    """Return the task that *document* describes, for *tenant*.

    The values are checked later, by the code that encodes the task; this checks the shape.

    Args:
        document: What a JSON parser made of one task.
        tenant: Whose task it is; the contract's shape does not say.

    Raises:
        InvalidTask: If a field is missing, unknown, null, or `webhook` is not `{"url": ...}`.
    """
    if not isinstance(document, dict):
        raise InvalidTask("task", document, "a JSON object with taskType and payload")
    for name in document:
        if name not in _KNOWN:
            raise InvalidTask(name, document[name], f"one of the fields {', '.join(_KNOWN)}")
    for name in _REQUIRED:
        if name not in document:
            raise InvalidTask(name, None, "present")
    for name in _OPTIONAL:
        if name in document and document[name] is None:
            raise InvalidTask(name, None, "left out, or have a value")
    return TaskSpec(
        type=document["taskType"],
        payload=document["payload"],
        priority=document.get("priority", 1),
        idempotency_key=document.get("idempotencyKey"),
        webhook=_webhook(document["webhook"]) if "webhook" in document else None,
        tenant=tenant,
    )


def in_contract_words(error: InvalidTask) -> InvalidTask:
    """Return *error* with its field spelled as in the contract, so that a reader finds it in the file."""
    field = _PLACE.sub("", error.field)
    first, dot, rest = field.partition(".")
    return InvalidTask(f"{_CONTRACT_NAMES.get(first, first)}{dot}{rest}", error.value, error.rule)


def _webhook(value: object) -> dict[str, Any]:
    """Return *value* if it has the contract's shape; its address is checked with the other values."""
    if not isinstance(value, dict):
        raise InvalidTask("webhook", value, 'an object such as {"url": "https://..."}')
    for name in value:
        if name != "url":
            raise InvalidTask(f"webhook.{name}", value[name], "left out; only webhook.url is known")
    if "url" not in value:
        raise InvalidTask("webhook.url", None, "present")
    return value
