"""Writes down which handler was called when, in the handlers' own process and order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scheduler.context import Context
    from scheduler.executor import CallNext


class Recorder:
    """A middleware that notes every call before the handler runs.

    Attributes:
        starts: (task id, attempt), in the order in which handlers were called.
    """

    def __init__(self) -> None:
        self.starts: list[tuple[str, int]] = []

    async def __call__(self, context: Context, call_next: CallNext) -> Any:
        """Note the call and make it."""
        self.starts.append((context.task.id, context.attempt))
        return await call_next()
