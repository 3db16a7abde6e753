"""What the payloads have in common: kinds of fields, how they refuse, and the base model.

Everything is strict: `"yes"` and 1 are not true, True and 2.0 are not whole numbers, and null is
not the same as a field left out.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

LONGEST_PROMPT = 10_000
"""Longest prompt or query in characters, without the spaces around it."""

CONTROL = "Invalid input: text must not contain NUL characters"


class Absent(str):
    """An empty text that nobody can give: a default that is told apart from an empty value."""

    __slots__ = ()


def refuse(message: str) -> NoReturn:
    """Refuse the value being checked with *message*, one sentence for the caller of the API.

    Raises:
        PydanticCustomError: Always.
    """
    # By way of the context: braces in the message are no placeholders.
    raise PydanticCustomError("refused", "{message}", {"message": message})


def _without_nul(value: str) -> str:
    if "\0" in value:
        refuse(CONTROL)
    return value


def not_null(value: object) -> object:
    """Return *value* unless it is null: a field left out is None here, null is refused."""
    if value is None:
        refuse("Invalid input: expected object, received null")
    return value


def without_null(schema: dict[str, Any]) -> None:
    """Take null, which is no more than a default in Python, out of a JSON schema."""
    schema.pop("default", None)
    (other,) = (option for option in schema.pop("anyOf") if option != {"type": "null"})
    schema.update(other)


def absent(*, schema: dict[str, Any] | None = None, **extra: Any) -> Any:
    """Return a text that may be left out; it is then "", and "" is as good as left out.

    Args:
        schema: What the JSON schema says beside the type.
        extra: Other arguments of pydantic's `Field`.
    """
    # By a factory: as a plain default it would be told in the JSON schema.
    return Field(default_factory=str, json_schema_extra=schema, **extra)


def flag(description: str) -> Any:
    """Return a field that is true or false, and false when it is left out."""
    return Field(default=False, description=description)


LongText = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_PROMPT),
    AfterValidator(_without_nul),
]
"""A prompt or a query: 1 to 10,000 characters, the spaces around it taken off."""

Token = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=1_000), AfterValidator(_without_nul)
]
"""A short text, the spaces around it taken off. The limit is ours: the contract names none."""

Code = Annotated[str, StringConstraints(max_length=64)]
"""A code; which ones exist is checked where the other fields are known."""


class Part(BaseModel):
    """An object of a payload. Its fields are snake_case here and camelCase in JSON."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
        frozen=True,
        hide_input_in_errors=True,
    )


class Payload(Part):
    """The payload of a task.

    Attributes:
        served_as: Whose list of countries counts.
    """

    served_as: ClassVar[str]
