"""Which function runs which type of task, and within what limits.

A group of handlers lives in a module of its own and is included into a scheduler::

    handlers = Handlers()


    @handlers.handler("CHATGPT", concurrency=20, timeout=timedelta(seconds=120))
    async def chatgpt(payload: ChatPayload, context: Context) -> dict: ...


    scheduler.include(handlers)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from scheduler.backoff import Backoff
from scheduler.options import (
    MOST_ATTEMPTS,
    MOST_SLOTS,
    Duration,
    check_backoff,
    check_count,
    check_providers,
    check_timeout,
)
from scheduler.signature import HandlerFunction, Signature, read_signature
from taskqueue.errors import InvalidSetting, InvalidTask
from taskqueue.names import TYPE_RULE, WEBHOOK_TYPE, check_type

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Registration:
    """One handler as it was registered. None means: as the scheduler says.

    Attributes:
        type: The type of task that it runs.
        function: What is called.
        signature: How it wants to be called.
        concurrency: How many of its tasks run at once in this scheduler.
        timeout: How long one attempt may take, in seconds.
        max_attempts: How often a task is tried that says nothing of its own.
        backoff: How long to wait between attempts.
        providers: Names of the outside services that it may be sent to, the first choice first.
    """

    type: str
    function: HandlerFunction
    signature: Signature
    concurrency: int | None
    timeout: float | None
    max_attempts: int | None
    backoff: Backoff | None
    providers: tuple[str, ...] = ()


class Handlers:
    """Handlers by type: what a scheduler has, and what a module can hand to it as a group.

    Args:
        lifespan: A function that returns an async context manager, which is around everything that
            these handlers do; None if they share nothing.
    """

    def __init__(self, lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None) -> None:
        self._registrations: dict[str, Registration] = {}
        self._lifespans = [] if lifespan is None else [lifespan]
        self._frozen: str | None = None

    def __len__(self) -> int:
        return len(self._registrations)

    @property
    def lifespans(self) -> tuple[Callable[[], AbstractAsyncContextManager[Any]], ...]:
        """What is to be opened around these handlers, in this order."""
        return tuple(self._lifespans)

    def __iter__(self) -> Iterator[Registration]:
        return iter(self._registrations.values())

    def handler(
        self,
        type: str,  # noqa: A002  the word for it everywhere else
        *,
        concurrency: int | None = None,
        timeout: Duration | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        providers: Sequence[str] = (),
    ) -> Callable[[F], F]:
        """Register a function as the handler of one type of task.

        The function takes (payload) or (payload, context). An async one runs in the scheduler's
        event loop; any other runs in a thread, where it cannot be stopped, only told. If its
        payload is annotated with a pydantic model, or another type that pydantic can validate,
        every payload is checked first; one that does not fit ends its task as FAILED at once.
        Whatever it returns is stored as the task's result: what a payload could hold, a pydantic
        model, or a dataclass.

        Args:
            type: A letter, then up to 63 of `A-Z a-z 0-9 _ . -`.
            concurrency: How many of its tasks run at once in this scheduler, 1 to 100,000;
                None leaves only the scheduler's own limit.
            timeout: How long one attempt may take, as a timedelta or seconds, up to 7 days; None
                takes the scheduler's. A timeout given at enqueue beats both.
            max_attempts: How often a task may be tried, 1 to 1,000; None takes the scheduler's.
                A number given at enqueue beats both.
            backoff: How long to wait between attempts; None takes the scheduler's.
            providers: Names of the outside services that an async handler of (payload, context) can send
                its tasks to, the first choice first. A task is claimed only when one of them has room
                within its limits, which `context.provider` then names; if that one fails the handler is
                called again for the next (see `scheduler.errors`). None: its tasks are just claimed.

        Raises:
            InvalidSetting: If an option breaks its rule, the type has a handler already, the
                function cannot be a handler, or the scheduler has started.
        """
        self._refuse_if_frozen(type)
        options = {
            "type": _checked_type(type),
            "concurrency": _optional(check_count, "concurrency", concurrency, MOST_SLOTS),
            "timeout": _optional(check_timeout, "timeout", timeout),
            "max_attempts": _optional(check_count, "max_attempts", max_attempts, MOST_ATTEMPTS),
            "backoff": _optional(check_backoff, "backoff", backoff),
            "providers": check_providers("providers", providers),
        }

        def register(function: F) -> F:
            # Annotations written as text may use names that are local to where this decorator stands.
            names = sys._getframe(1).f_locals  # noqa: SLF001  documented; inspect's copy of it costs more
            signature = read_signature(type, function, names)
            if providers and not (signature.is_async and signature.takes_context):
                rule = "an async function of (payload, context) where it has providers"
                raise InvalidSetting(f"handler {type!r}", function, rule)
            self._add(Registration(function=function, signature=signature, **options))
            return function

        return register

    def include(self, handlers: Handlers) -> None:
        """Take over every handler of a group, which is closed from then on.

        Raises:
            InvalidSetting: If it is no group, one of its types has a handler here already, or
                the scheduler has started.
        """
        if not isinstance(handlers, Handlers) or handlers is self:
            raise InvalidSetting("handlers", handlers, "another group of handlers, made by Handlers()")
        for registration in handlers:
            self._refuse_if_frozen(registration.type)
            self._refuse_if_known(registration)
        for registration in handlers:
            self._registrations[registration.type] = registration
        self._lifespans += handlers.lifespans
        handlers.freeze("was included into a scheduler: register its handlers before that")

    def freeze(self, reason: str) -> None:
        """Refuse further handlers, and say why."""
        self._frozen = reason

    def thaw(self) -> None:
        """Accept further handlers again."""
        self._frozen = None

    def _add(self, registration: Registration) -> None:
        self._refuse_if_frozen(registration.type)
        self._refuse_if_known(registration)
        self._registrations[registration.type] = registration

    def _refuse_if_frozen(self, type_: object) -> None:
        if self._frozen is not None:
            raise InvalidSetting("handler", type_, f"registered in time; this group {self._frozen}")

    def _refuse_if_known(self, registration: Registration) -> None:
        known = self._registrations.get(registration.type)
        if known is not None:
            raise InvalidSetting(
                "handler",
                registration.type,
                f"a type without a handler; {_name_of(known.function)} handles it already, "
                f"so give {_name_of(registration.function)} another type or remove one of them",
            )


def _checked_type(value: object) -> str:
    if value == WEBHOOK_TYPE:
        return WEBHOOK_TYPE
    try:
        return check_type(value)
    except InvalidTask:
        raise InvalidSetting("handler", value, TYPE_RULE) from None


def _optional(check: Callable[..., Any], setting: str, value: object, *more: object) -> Any:
    return None if value is None else check(setting, value, *more)


def _name_of(function: HandlerFunction) -> str:
    name = getattr(function, "__qualname__", None) or repr(function)
    return f"{getattr(function, '__module__', '?')}.{name}"
