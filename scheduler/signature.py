"""Reads from a handler's function how it wants to be called."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, get_origin, get_type_hints

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from taskqueue.errors import InvalidSetting

HandlerFunction = Callable[..., Any]
"""A function of (payload) or (payload, context), async or not."""

_RULE = "a function, async or not, of (payload) or (payload, context)"

_MOST_ARGUMENTS = 2
"""payload and context."""

_UNCHECKED = frozenset({dict, Mapping, MutableMapping, object})
"""Annotations that every payload fits, so that nothing needs to be checked."""

_NEVER_MAPPINGS = (str, bytes, int, float, list, tuple, set, frozenset, type(None))
"""Annotations that no payload fits, because a payload is a mapping."""


@dataclass(frozen=True, slots=True)
class Signature:
    """How one handler wants to be called.

    Attributes:
        is_async: Whether it returns an awaitable; the others run in threads.
        takes_context: Whether it takes the context as its second argument.
        adapter: Turns a payload into what the annotation asks for; None takes it as it is.
    """

    is_async: bool
    takes_context: bool
    adapter: TypeAdapter[Any] | None


def read_signature(type_: str, function: object, names: Mapping[str, Any]) -> Signature:
    """Return how the handler of *type_* wants to be called.

    Args:
        type_: Names the handler in errors.
        function: What was registered.
        names: What annotations written as text may use beside the function's own module: the
            local names where it was registered.

    Raises:
        InvalidSetting: If it cannot be called with a payload, or its annotation cannot be used.
    """
    setting = f"handler {type_!r}"
    if not callable(function):
        raise InvalidSetting(setting, function, _RULE)
    inner = _unwrapped(function)
    if inspect.isasyncgenfunction(inner) or inspect.isgeneratorfunction(inner):
        raise InvalidSetting(setting, function, f"{_RULE}; a generator cannot return one result")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError, NameError) as error:
        raise InvalidSetting(
            setting, function, f"{_RULE}, whose parameters Python can read ({error})"
        ) from error
    arguments = _arguments(setting, function, parameters)
    return Signature(
        is_async=inspect.iscoroutinefunction(inner),
        takes_context=len(arguments) == _MOST_ARGUMENTS,
        adapter=_adapter(setting, arguments[0].annotation, inner, names),
    )


def _unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function behind partials, or the `__call__` of an object."""
    while hasattr(function, "func"):
        function = function.func
    if inspect.isroutine(function):
        return function
    return type(function).__call__ if not isinstance(function, type) else function


def _arguments(
    setting: str, function: object, parameters: list[inspect.Parameter]
) -> list[inspect.Parameter]:
    """Return the one or two parameters that are filled from the queue."""
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    arguments = [each for each in parameters if each.kind in positional]
    more = arguments[_MOST_ARGUMENTS:] + [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    if not arguments or any(each.default is inspect.Parameter.empty for each in more):
        raise InvalidSetting(setting, function, _RULE)
    return arguments[:_MOST_ARGUMENTS]


def _adapter(
    setting: str, annotation: Any, function: Callable[..., Any], names: Mapping[str, Any]
) -> TypeAdapter[Any] | None:
    if isinstance(annotation, str):
        annotation = _resolved(setting, annotation, function, names)
    if annotation is inspect.Parameter.empty or annotation is Any or _fits_every_payload(annotation):
        return None
    if isinstance(annotation, type) and issubclass(annotation, _NEVER_MAPPINGS):
        raise InvalidSetting(setting, annotation, "annotated with what a mapping can become")
    try:
        return TypeAdapter(annotation)
    except PydanticUserError as error:
        rule = f"annotated with a pydantic model, or a type that pydantic can validate ({error.message})"
        raise InvalidSetting(setting, annotation, rule) from error


def _fits_every_payload(annotation: Any) -> bool:
    bare = get_origin(annotation) or annotation
    arguments = getattr(annotation, "__args__", (str, Any))
    return isinstance(bare, type) and bare in _UNCHECKED and arguments in {(str, Any), (str, object)}


def _resolved(setting: str, text: str, function: Callable[..., Any], names: Mapping[str, Any]) -> Any:
    """Return what an annotation written as text means where the handler was defined."""
    if isinstance(function, types.FunctionType):
        function = inspect.unwrap(function)
    own = getattr(function, "__globals__", {})
    try:
        # Only this one annotation: the context's may stand behind TYPE_CHECKING.
        return get_type_hints(types.SimpleNamespace(__annotations__={"payload": text}), own, dict(names))[
            "payload"
        ]
    except Exception as error:
        rule = (
            f"annotated with names that can be looked up where it is registered ({error}); "
            "define the payload's model in the module, and import it outside of TYPE_CHECKING"
        )
        raise InvalidSetting(setting, text, rule) from error
