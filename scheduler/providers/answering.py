"""The handler behind every type that has providers: asks the one that the claim chose, checks its answer."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel

from scheduler.context import Context
from scheduler.errors import RateLimited, Unavailable
from scheduler.providers.base import Call, Provider
from scheduler.providers.hiding import told
from scheduler.providers.results import checked_result

PARTIAL_INTERVAL: Final = 0.5
"""Seconds between two partial texts that are stored: event streams look that often."""

LONGEST_PARTIAL: Final = 200_000
"""Characters of a partial text that are stored: its beginning. The result has all of it."""

_MARGIN: Final = 0.5
"""Seconds before the end of an attempt at which its call is stopped, so that the next of the chain may
still be tried and the provider is told from a handler that hangs."""


class TaskCall:
    """The call that a task makes; see `Call`.

    Args:
        context: Of the task.
        ends_at: When the call is stopped, on the monotonic clock.
    """

    __slots__ = ("_context", "_ends_at", "_shown", "_shown_at")

    def __init__(self, context: Context, ends_at: float) -> None:
        self._context = context
        self._ends_at = ends_at
        self._shown = ""
        self._shown_at = 0.0

    @property
    def task_type(self) -> str:
        """The type of the task."""
        return self._context.task.type

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at the task."""
        return self._context.idempotency_key

    @property
    def deliveries(self) -> int:
        """How often the task was given to a handler, this time included."""
        return self._context.deliveries

    @property
    def remaining(self) -> timedelta:
        """How long this call may still take."""
        return timedelta(seconds=max(0.0, self._ends_at - time.monotonic()))

    async def partial(self, text: str) -> None:
        """Store how much has come, as the progress `{"text": ...}`, unless that was done just now."""
        now = time.monotonic()
        shown = text[:LONGEST_PARTIAL]
        if now - self._shown_at < PARTIAL_INTERVAL or shown == self._shown:
            return
        self._shown, self._shown_at = shown, now
        await self._context.progress({"text": shown})

    def spend(self, tokens: int) -> None:
        """Count tokens in the provider's limit."""
        self._context.spend(tokens)


async def answer_task(provider: Provider, question: BaseModel, context: Context) -> dict[str, Any]:
    """Return what is stored of a provider's answer to a task; see `ask()`.

    Args:
        provider: Open.
        question: The payload, as the contract's model of its type.
        context: Of the task.
    """
    limit = min(provider.settings.timeout, max(_MARGIN, context.remaining.total_seconds() - _MARGIN))
    return await ask(provider, question, TaskCall(context, time.monotonic() + limit), limit)


async def ask(provider: Provider, question: BaseModel, call: Call, limit: float) -> dict[str, Any]:
    """Return what is stored of a provider's answer.

    Args:
        provider: Open.
        question: The payload, as the contract's model of its type.
        call: What the provider may know and tell.
        limit: Seconds that it may take.

    Raises:
        Unavailable: If it did not answer in time, or with what is no result of this type.
        RateLimited: If it said so; for the provider's `cooldown` if it did not say for how long.
        Exception: Whatever else it raised, without its secrets.
    """
    allowed = asyncio.timeout(limit)
    try:
        async with allowed:
            result = await provider.answer(question, call)
    except Exception as error:
        if allowed.expired() and isinstance(error, TimeoutError):
            raise Unavailable(f"it did not answer within {limit:g} s") from None
        if isinstance(error, RateLimited) and error.after is None:
            error.after = timedelta(seconds=provider.settings.cooldown)
        shown = told(error, provider.secrets)
        if shown is error:
            raise
        raise shown from None
    return checked_result(call.task_type, result, keep_unknown=provider.speaks_contract)
