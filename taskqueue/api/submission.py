"""One task of a request, in the contract's shape, turned into what the engine takes, with its price.

The messages are those that the contract's own validation is known to give, where they are known.
Everything is looked at once, and every bad field is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from taskqueue.api.errors import Problem
from taskqueue.api.options import ApiOptions
from taskqueue.contract import PayloadInvalid, Price, check_payload
from taskqueue.errors import InvalidTask
from taskqueue.names import check_idempotency_key
from taskqueue.rules import check_webhook
from taskqueue.task import TaskSpec
from taskqueue.webhooks import DeliveryRefused

LOWEST_PRIORITY, HIGHEST_PRIORITY, DEFAULT_PRIORITY = 1, 10, 1
LONGEST_KEY = 255
URL_MESSAGE = (
    "Invalid URL: it must be an http:// or https:// address of at most 2048 printable characters, "
    "without user name, password and spaces"
)
KEY_MESSAGE = f"It must have 1 to {LONGEST_KEY} printable characters"

_FIELDS: Final = frozenset({"taskType", "payload", "priority", "idempotencyKey", "webhook"})
_MISSING: Final = object()
_JSON_NAMES: Final[Mapping[type, str]] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    type(None): "null",
}


class Refused(Exception):
    """A task was refused. Its `problems` are all fields that break a rule."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} fields break a rule")
        self.problems = problems


def expected(wanted: str, value: object) -> str:
    """Return the message for a value of another type; none at all is `undefined`."""
    received = "undefined" if value is _MISSING else _JSON_NAMES.get(type(value), "unknown")
    return f"Invalid input: expected {wanted}, received {received}"


def read_payload(
    task_type: str, payload: object, options: ApiOptions, *, prefix: str, sync: bool = False
) -> tuple[dict[str, Any], Price]:
    """Return a payload as the engine keeps it, and its price.

    Args:
        task_type: One of the contract's types.
        payload: What a JSON parser made of it.
        options: Of the service.
        prefix: What the paths of its fields begin with.
        sync: Whether it comes from a synchronous endpoint, which costs more.

    Raises:
        Refused: If a field breaks a rule.
    """
    try:
        checked = check_payload(task_type, payload, strict=options.strict)
    except PayloadInvalid as error:
        raise Refused(
            [
                Problem(f"{prefix}{problem.field}" if problem.field else prefix.rstrip("."), problem.message)
                for problem in error.problems
            ]
        ) from None
    return checked, options.prices.price(task_type, checked, sync=sync)


def read_task(document: dict[str, Any], tenant: str, options: ApiOptions) -> TaskSpec:
    """Return the task that *document* describes, for *tenant* (contract: POST /v1/async/task).

    Raises:
        Refused: If a field is missing, unknown or breaks a rule.
    """
    problems: list[Problem] = []
    if not document.keys() <= _FIELDS:
        problems += [Problem(name, f'Unrecognized key: "{name}"') for name in document if name not in _FIELDS]
    task_type = document.get("taskType", _MISSING)
    payload, price = document.get("payload", _MISSING), None
    if not isinstance(task_type, str) or task_type not in options.served:
        options_text = "|".join(f'"{name}"' for name in options.served)
        problems.append(Problem("taskType", f"Invalid option: expected one of {options_text}"))
    if type(payload) is not dict:
        problems.append(Problem("payload", expected("object", payload)))
    elif not any(problem.field == "taskType" for problem in problems):
        try:
            payload, price = read_payload(task_type, payload, options, prefix="payload.")
        except Refused as refused:
            problems += refused.problems
    priority = _priority(document.get("priority", DEFAULT_PRIORITY), problems)
    key = _idempotency_key(document.get("idempotencyKey", _MISSING), problems)
    webhook = _webhook(document.get("webhook", _MISSING), options, problems)
    if problems or price is None:
        raise Refused(problems)
    return TaskSpec(
        type=task_type,
        payload=payload,
        priority=priority,
        idempotency_key=key,
        tenant=tenant,
        webhook=webhook,
        cost=price.charge,
        hold=price.hold if price.hold > price.charge else None,
    )


def _priority(value: object, problems: list[Problem]) -> int:
    if type(value) is float and value.is_integer():
        # JSON has one kind of number. The parser leaves those that are too large to be exact: 1e300.
        value = int(value)
    if type(value) is not int:
        wanted = "int" if type(value) is float else "number"
        problems.append(Problem("priority", expected(wanted, value)))
    elif value < LOWEST_PRIORITY:
        problems.append(Problem("priority", f"Too small: expected number to be >={LOWEST_PRIORITY}"))
    elif value > HIGHEST_PRIORITY:
        problems.append(Problem("priority", f"Too big: expected number to be <={HIGHEST_PRIORITY}"))
    else:
        return value
    return DEFAULT_PRIORITY


def _idempotency_key(value: object, problems: list[Problem]) -> str | None:
    if value is _MISSING:
        return None
    if not isinstance(value, str):
        problems.append(Problem("idempotencyKey", expected("string", value)))
        return None
    try:
        return check_idempotency_key(value)
    except InvalidTask:
        problems.append(Problem("idempotencyKey", KEY_MESSAGE))
        return None


def _webhook(value: object, options: ApiOptions, problems: list[Problem]) -> dict[str, Any] | None:
    if value is _MISSING:
        return None
    if type(value) is not dict:
        problems.append(Problem("webhook", expected("object", value)))
        return None
    found = len(problems)
    problems += [Problem(f"webhook.{name}", f'Unrecognized key: "{name}"') for name in value if name != "url"]
    url = value.get("url", _MISSING)
    if not isinstance(url, str):
        problems.append(Problem("webhook.url", expected("string", url)))
    elif (message := _address_problem(url, options)) is not None:
        problems.append(Problem("webhook.url", message))
    return {"url": url} if len(problems) == found else None


def _address_problem(url: str, options: ApiOptions) -> str | None:
    try:
        check_webhook(url)
    except InvalidTask:
        return URL_MESSAGE
    if options.egress is not None:
        try:
            options.egress.parse(url)
        except DeliveryRefused as refused:
            return f"Invalid URL: {refused.reason}"
    return None
