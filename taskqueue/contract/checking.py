"""Payloads are checked whole: every bad field is named at once, or the payload is normalized."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from taskqueue.contract.models import fields, payload_model
from taskqueue.contract.problems import FieldProblem, PayloadInvalid, message_of, shown_name, type_name

MOST_UNKNOWN = 20
"""How many unknown fields are named; a body may hold a hundred thousand."""


def check_payload(task_type: str, payload: object, *, strict: bool = True) -> dict[str, Any]:
    """Return *payload*, normalized: what was given, trimmed and in the letters that it is used in.

    Spaces around texts are taken off; `state` and `country` are written in capital letters, `gl`
    and `hl` in small ones; empty texts and what the contract ignores are left out. A normalized
    payload stays as it is when it is checked again. The time taken grows with the size of the
    payload and not faster; how large and how deep it may be is for the caller to limit.

    Args:
        task_type: One of `TASK_TYPES`.
        payload: Anything that JSON can hold, as Python reads it.
        strict: Whether unknown fields are refused, as the contract says; else they are dropped,
            and google's `include.aioverview` may be true or false.

    Raises:
        PayloadInvalid: With one problem for each bad field, in the order of the fields.
        InvalidTask: If there is no such task type.
    """
    model = payload_model(task_type, strict=strict)
    if not isinstance(payload, dict):
        problem = FieldProblem("", f"Invalid input: expected object, received {type_name(payload)}")
        raise PayloadInvalid([problem])
    unknown = _Unknown()
    known = _known_part(model, payload, "", unknown)
    refused = unknown.problems() if strict else []
    try:
        checked = model.model_validate(known)
    except ValidationError as error:
        raise PayloadInvalid([*_problems(error), *refused]) from None
    if refused:
        raise PayloadInvalid(refused)
    dumped = checked.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
    return {name: value for name, value in dumped.items() if value != ""}


class _Unknown:
    """The fields that no model knows: the first of them by name, the others counted."""

    def __init__(self) -> None:
        self._named: list[FieldProblem] = []
        self._others = 0

    def add(self, path: str, name: object) -> None:
        if len(self._named) < MOST_UNKNOWN:
            text = shown_name(name)
            self._named.append(FieldProblem(path + text, f'Unrecognized key: "{text}"'))
        else:
            self._others += 1

    def problems(self) -> list[FieldProblem]:
        more = FieldProblem("", f"Unrecognized keys: {self._others:,} more")
        return [*self._named, more] if self._others else self._named


def _known_part(model: type[BaseModel], value: object, path: str, unknown: _Unknown) -> object:
    """Return *value* with the fields that *model* knows, and add the others to *unknown*.

    Pydantic finds them too, but makes an error of each, and stops at a name that is no proper text.
    """
    if not isinstance(value, dict):
        return value
    names = fields(model)
    known = {}
    for name, item in value.items():
        if name not in names:
            unknown.add(path, name)
        else:
            part = names[name]
            known[name] = item if part is None else _known_part(part, item, f"{path}{name}.", unknown)
    return known


def _problems(error: ValidationError) -> list[FieldProblem]:
    found: dict[str, FieldProblem] = {}
    for item in error.errors(include_url=False):
        field = ".".join(map(str, item["loc"]))
        found.setdefault(field, FieldProblem(field, message_of(field, dict(item))))
    return list(found.values())
