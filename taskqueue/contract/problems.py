"""What is wrong with a payload, in the words of the contract."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from taskqueue.errors import TaskQueueError

MOST_SHOWN = 100
"""Longest name of a field that is repeated, in characters."""


class FieldProblem(NamedTuple):
    """One bad field.

    Attributes:
        field: Path of the field, such as `"include.html"`; `""` is the payload itself.
        message: What is wrong with it, in one sentence. Printable, and safe to encode.
    """

    field: str
    message: str


class PayloadInvalid(TaskQueueError, ValueError):
    """The payload of a task was refused.

    Attributes:
        problems: At least one; at most one a field, in the order of the fields.
    """

    def __init__(self, problems: Iterable[FieldProblem]) -> None:
        self.problems = tuple(problems)
        said = "; ".join(f"{field}: {message}" if field else message for field, message in self.problems)
        super().__init__(f"the payload was refused: {said}")


def shown_name(name: object) -> str:
    """Return the name of a field as messages may repeat it: printable, and cut when it is long."""
    text = name if isinstance(name, str) else repr(name)
    cut = text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"
    return cut if cut.isprintable() else cut.encode("unicode_escape", "replace").decode("ascii")


def type_name(value: object) -> str:
    """Return the name that JSON has for the type of *value*."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case _:
            return "object"


def message_of(field: str, error: dict[str, Any]) -> str:
    """Return the sentence for what pydantic found at *field*.

    The texts are the contract's where it has one, else short sentences of the same kind.

    Args:
        field: Path of the field.
        error: One item of `ValidationError.errors()`.
    """
    kind, context = error["type"], error.get("ctx", {})
    if kind == "refused":
        return str(context["message"])
    if field in _TEXTS and kind in ("missing", "string_type", "string_too_short"):
        return f"{_TEXTS[field]} cannot be empty"
    if field in _TEXTS and kind == "string_too_long":
        return f"{_TEXTS[field]} is too long (max {context['max_length']:,} characters)"
    return _common(kind, context, error["input"])


_TEXTS = {"prompt": "Prompt", "query": "Query"}
_EXPECTED = {
    "string_type": "string",
    "bool_type": "boolean",
    "int_type": "number",
    "model_type": "object",
    "model_attributes_type": "object",
}
_SENTENCES = {
    "missing": "Invalid input: expected string, received undefined",
    "greater_than_equal": "Too small: expected number to be >={ge}",
    "less_than_equal": "Too big: expected number to be <={le}",
    "string_too_short": "Too small: expected string to have >={min_length} characters",
    "string_too_long": "Too big: expected string to have <={max_length} characters",
    "string_unicode": "Invalid input: text must not contain unpaired surrogates",
}


def _common(kind: str, context: dict[str, Any], given: object) -> str:
    if kind == "int_type" and isinstance(given, float):
        return "Invalid input: expected int, received number"
    if kind in _EXPECTED:
        return f"Invalid input: expected {_EXPECTED[kind]}, received {type_name(given)}"
    if kind == "literal_error":
        options = context["expected"].replace("'", '"').replace(" or ", "|").replace(", ", "|")
        return f"Invalid option: expected one of {options}"
    return _SENTENCES.get(kind, "Invalid input").format(**context)
