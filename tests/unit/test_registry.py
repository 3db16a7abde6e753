"""Handlers: what may be one, under which options, and who may register it when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from scheduler import Exponential, Fixed, Handlers
from scheduler.registry import Registration
from taskqueue.errors import InvalidSetting

if TYPE_CHECKING:
    from scheduler import Context


class Question(BaseModel):
    """A payload."""

    prompt: str


@dataclass
class Page:
    """A payload as a dataclass."""

    url: str


class Object:
    """A handler that is an object."""

    async def __call__(self, payload: Question, context: Context) -> None:
        """Handle a task."""

    async def method(self, payload: dict[str, Any]) -> None:
        """Handle a task."""

    def __repr__(self) -> str:
        return "Object()"


async def async_handler(payload: dict[str, Any]) -> None:
    """Handle a task."""


def sync_handler(payload: Mapping[str, Any], context: Context) -> None:
    """Handle a task."""


def registered(function: Callable[..., Any], **options: Any) -> Registration:
    """Return what is recorded about a handler."""
    handlers = Handlers()
    handlers.handler("T", **options)(function)
    [registration] = handlers
    return registration


def test_a_decorated_function_stays_what_it_was() -> None:
    """So it can be called, tested, and registered for a second type."""
    handlers = Handlers()

    decorated = handlers.handler("A")(handlers.handler("B")(async_handler))

    assert decorated is async_handler
    assert [each.type for each in handlers] == ["B", "A"]


def test_options_are_kept_in_seconds_and_none_means_the_schedulers() -> None:
    """A timeout may be a timedelta or a number."""
    default = registered(async_handler)
    assert (default.concurrency, default.timeout, default.max_attempts, default.backoff) == (None,) * 4

    given = registered(
        async_handler, concurrency=3, timeout=timedelta(minutes=2), max_attempts=1, backoff=Exponential()
    )
    assert (given.concurrency, given.timeout, given.max_attempts) == (3, 120.0, 1)
    assert given.backoff == Exponential()
    assert registered(async_handler, timeout=0.5).timeout == 0.5


@pytest.mark.parametrize(
    ("function", "is_async", "takes_context", "is_checked"),
    [
        (async_handler, True, False, False),
        (sync_handler, False, True, False),
        (Object(), True, True, True),
        (Object().method, True, False, False),
        (partial(async_handler), True, False, False),
        (lambda payload: payload, False, False, False),
        (lambda payload, context, more=1: more, False, True, False),
    ],
)
def test_a_signature_says_how_a_handler_is_called(
    function: Callable[..., Any], is_async: bool, takes_context: bool, is_checked: bool
) -> None:
    """Functions, methods, partials and objects, with one argument or two."""
    signature = registered(function).signature

    assert (signature.is_async, signature.takes_context) == (is_async, takes_context)
    assert (signature.adapter is not None) == is_checked


@pytest.mark.parametrize("annotation", [Question, "Question", Page, "Page | Question", "Question | None"])
def test_an_annotated_payload_is_validated(annotation: Any) -> None:
    """By whatever pydantic can make of a mapping, written as a type or as text."""

    async def handle(payload: Any) -> None: ...

    handle.__annotations__["payload"] = annotation

    assert registered(handle).signature.adapter is not None


@pytest.mark.parametrize(
    "annotation",
    [dict, "dict", dict[str, Any], Mapping, Mapping[str, Any], "Mapping[str, object]", Any, "Any", object],
)
def test_a_payload_annotated_as_any_mapping_is_taken_as_it_is(annotation: Any) -> None:
    """Checking it could find nothing, and would cost time."""

    async def handle(payload: Any) -> None: ...

    handle.__annotations__["payload"] = annotation

    assert registered(handle).signature.adapter is None


def test_a_payloads_model_may_be_local_to_where_the_handler_is_registered() -> None:
    """The annotation is text here, and names something that only this function knows."""

    class Local(BaseModel):
        size: int

    async def handle(payload: Local) -> None: ...

    handlers = Handlers()
    handlers.handler("T")(handle)

    [registration] = handlers
    assert registration.signature.adapter is not None
    assert registration.signature.adapter.validate_python({"size": 1}) == Local(size=1)
    with pytest.raises(InvalidSetting, match="looked up where it is registered"):
        registered(handle)


def test_the_contexts_annotation_may_be_unknown_when_the_program_runs() -> None:
    """It often stands behind TYPE_CHECKING, as in this file."""

    async def handle(payload: Question, context: Context) -> None: ...

    assert registered(handle).signature.takes_context


async def generator(payload: dict[str, Any]) -> Any:
    """Not a handler: it yields."""
    yield payload


def no_argument() -> None:
    """Not a handler."""


def three_arguments(payload: Any, context: Any, more: Any) -> None:
    """Not a handler."""


def needs_a_keyword(payload: Any, *, more: Any) -> None:
    """Not a handler."""


def takes_text(payload: str) -> None:
    """Not a handler: no payload is a text."""


def takes_a_queue(payload: Handlers) -> None:
    """Not a handler: pydantic cannot make one."""


def takes_the_unknown(payload: Unknown) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Not a handler: nobody knows the name."""


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        ("text", "a function, async or not, of (payload) or (payload, context)"),
        (no_argument, "of (payload) or (payload, context)"),
        (three_arguments, "of (payload) or (payload, context)"),
        (needs_a_keyword, "of (payload) or (payload, context)"),
        (generator, "a generator cannot return one result"),
        (dict, "whose parameters Python can read"),
        (takes_text, "what a mapping can become"),
        (takes_a_queue, "a type that pydantic can validate"),
        (takes_the_unknown, "name 'Unknown' is not defined"),
    ],
)
def test_what_cannot_be_a_handler_is_refused_at_once(function: Any, hint: str) -> None:
    """Not with the first task, which may come at night."""
    with pytest.raises(InvalidSetting, match="handler 'T'") as refusal:
        registered(function)

    assert hint in str(refusal.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("concurrency", 0),
        ("concurrency", True),
        ("concurrency", 100_001),
        ("concurrency", "5"),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", float("inf")),
        ("timeout", float("nan")),
        ("timeout", True),
        ("timeout", "30s"),
        ("timeout", timedelta(days=8)),
        ("max_attempts", 0),
        ("max_attempts", 1001),
        ("max_attempts", 2.0),
        ("backoff", 5),
        ("backoff", Fixed),
        ("backoff", timedelta(seconds=1)),
    ],
)
def test_a_bad_option_names_itself_its_value_and_the_rule(option: str, value: Any) -> None:
    """And nothing is registered."""
    handlers = Handlers()

    with pytest.raises(InvalidSetting, match=option) as refusal:
        handlers.handler("T", **{option: value})

    assert (refusal.value.setting, refusal.value.value) == (option, value)
    assert len(handlers) == 0


@pytest.mark.parametrize("type_", ["", "1A", "a b", "x" * 65, "_internal", None, 7])
def test_a_bad_type_is_refused(type_: Any) -> None:
    """By the rule that tasks have to keep, too."""
    with pytest.raises(InvalidSetting, match="handler"):
        Handlers().handler(type_)


def test_a_type_has_one_handler() -> None:
    """Two would take turns by chance; the error names both."""
    handlers = Handlers()
    handlers.handler("T")(async_handler)

    with pytest.raises(InvalidSetting, match=r"async_handler handles it already.*sync_handler"):
        handlers.handler("T")(sync_handler)


def test_a_group_hands_its_handlers_over() -> None:
    """Whatever was registered before, on either side, stays."""
    group, other, all_of_them = Handlers(), Handlers(), Handlers()
    group.handler("A", concurrency=2)(async_handler)
    other.handler("B")(sync_handler)
    all_of_them.handler("C")(async_handler)

    all_of_them.include(group)
    all_of_them.include(other)

    assert {each.type: each.concurrency for each in all_of_them} == {"A": 2, "B": None, "C": None}


def test_a_group_can_be_included_in_two_schedulers() -> None:
    """Each counts for itself."""
    group, one, two = Handlers(), Handlers(), Handlers()
    group.handler("A")(async_handler)

    one.include(group)
    two.include(group)

    assert len(one) == len(two) == 1


def test_a_group_with_a_known_type_is_not_included_at_all() -> None:
    """Half of a group would be worse than none."""
    group, handlers = Handlers(), Handlers()
    group.handler("NEW")(async_handler)
    group.handler("T")(async_handler)
    handlers.handler("T")(sync_handler)

    with pytest.raises(InvalidSetting, match="handles it already"):
        handlers.include(group)

    assert [each.type for each in handlers] == ["T"]


@pytest.mark.parametrize("what", [None, "module", [async_handler]])
def test_only_a_group_can_be_included(what: Any) -> None:
    """A module is not one; the Handlers inside of it is."""
    with pytest.raises(InvalidSetting, match="another group of handlers"):
        Handlers().include(what)


def test_a_group_is_closed_once_it_was_included() -> None:
    """A handler registered later would never run, without a word."""
    group = Handlers()
    late = group.handler("LATE")
    Handlers().include(group)

    with pytest.raises(InvalidSetting, match="was included into a scheduler"):
        group.handler("T")
    with pytest.raises(InvalidSetting, match="was included into a scheduler"):
        late(async_handler)


def test_a_group_does_not_include_itself() -> None:
    """That would close it for ever."""
    group = Handlers()

    with pytest.raises(InvalidSetting):
        group.include(group)
