"""Which model describes the payload of which task type, strictly and leniently."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, Field, create_model

from taskqueue.contract.engines import (
    ChatgptPayload,
    CopilotPayload,
    GeminiPayload,
    GrokPayload,
    PerplexityPayload,
)
from taskqueue.contract.fields import Part, not_null, without_null
from taskqueue.contract.google import AimodePayload, AiOverview, GoogleNewsPayload, GooglePayload
from taskqueue.contract.types import check_task_type

_STRICT: dict[str, type[Part]] = {
    "AIMODE": AimodePayload,
    "GOOGLE": GooglePayload,
    "GOOGLE_NEWS": GoogleNewsPayload,
    "GEMINI": GeminiPayload,
    "CHATGPT": ChatgptPayload,
    "COPILOT": CopilotPayload,
    "PERPLEXITY": PerplexityPayload,
    "GROK": GrokPayload,
}


def payload_model(task_type: str, *, strict: bool = True) -> type[BaseModel]:
    """Return the model of the payloads of *task_type*, for schemas and for handlers.

    Its fields are snake_case, their names in JSON camelCase; a text that was left out is `""`.

    Args:
        task_type: One of `TASK_TYPES`.
        strict: Whether unknown fields are refused; else they are dropped, and google's
            `include.aioverview` may be true or false.

    Raises:
        InvalidTask: If there is no such type.
    """
    return (_STRICT if strict else _LENIENT)[check_task_type(task_type)]


@cache
def fields(model: type[BaseModel]) -> MappingProxyType[str, type[Part] | None]:
    """Return the fields of *model*: names in JSON, and the models of those that are objects.

    Remembered for each model, because every check of a payload asks for it.
    """
    return MappingProxyType(
        {field.alias or name: _part(field.annotation) for name, field in model.model_fields.items()}
    )


def _part(annotation: Any) -> type[Part] | None:
    """Return the model that *annotation* names, by itself or beside null."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Part):
            return kind
    return None


def _as_overview(value: object) -> object:
    """Return what a truth value stands for: an overview as it comes, or none."""
    if isinstance(value, bool):
        return {} if value else None
    return not_null(value)


def _or_a_truth_value(schema: dict[str, Any]) -> None:
    without_null(schema)
    schema["anyOf"] = [{"type": "boolean"}, {"$ref": schema.pop("$ref")}]


def _lenient(model: type[Part]) -> type[Part]:
    """Return a model like *model* that drops what it does not know, at every depth."""
    changed: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        part = _part(field.annotation)
        if part is None:
            continue
        kind = _lenient(part)
        if part is AiOverview:
            told = Field(
                default=None,
                description=field.description,
                examples=[True, *(field.examples or ())],
                json_schema_extra=_or_a_truth_value,
            )
            changed[name] = (Annotated[kind | None, BeforeValidator(_as_overview)], told)
        else:
            changed[name] = (kind, Field(default_factory=kind, description=field.description))
    return create_model(
        f"Lenient{model.__name__}",
        __base__=model,
        __doc__=model.__doc__,
        __module__=__name__,
        __cls_kwargs__={"extra": "ignore"},
        **changed,
    )


_LENIENT: dict[str, type[Part]] = {task_type: _lenient(model) for task_type, model in _STRICT.items()}
