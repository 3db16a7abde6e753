"""Starts what was claimed, so that this process and the server are busy at the same time.

Quick handlers end before the next call to the server has left. So of a large claim one half is held
back, counted as running, until the report of the other half is on its way: while tasks of one half
of the slots run, the call about the other half is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from scheduler.bell import Bell
from scheduler.executor import Executor
from scheduler.outcomes import Outcomes
from scheduler.slots import ActiveHandler, Slots
from taskqueue.store import ClaimedTask

T = TypeVar("T")

_WORTH_HOLDING = 16
"""Tasks of one claim from which on it pays to run them while the next call is under way."""


class Starter:
    """Hands claimed tasks to the executor, at once or beside the next call.

    Args:
        slots: Counts what runs here.
        executor: Runs what is started.
        outcomes: Takes back what is not started any more.
        bell: Rung when held tasks wait for the next call.

    Attributes:
        is_stopping: Nothing is started any more: what was claimed goes back.
    """

    def __init__(self, slots: Slots, executor: Executor, outcomes: Outcomes, bell: Bell) -> None:
        self._slots = slots
        self._executor = executor
        self._outcomes = outcomes
        self._bell = bell
        self._held: tuple[list[tuple[ClaimedTask, ActiveHandler]], float] = ([], 0.0)
        self.is_stopping = False

    async def start(self, tasks: Sequence[ClaimedTask], claimed_at: float, *, may_hold: bool) -> None:
        """Start the tasks of one claim, or hold some of them for `beside`.

        Args:
            tasks: In the order in which they must start.
            claimed_at: When the claim was sent, on the monotonic clock.
            may_hold: False while another call is under way: then all of them run beside that one.
        """
        first, is_large = tasks, len(tasks) >= _WORTH_HOLDING
        if is_large and may_hold:
            first = [] if self._outcomes else tasks[: len(tasks) // 2]
        self._start_all(first, claimed_at)
        if is_large:
            # One pass of the event loop, in which the first quick ones end.
            await asyncio.sleep(0)
        if rest := tasks[len(first) :]:
            if self._outcomes and not self.is_stopping:
                self._hold(rest, claimed_at)
            else:
                self._start_all(rest, claimed_at)

    async def beside(self, call: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
        """Await *call*, and start what is held as soon as it is on its way."""
        if not self._held[0]:
            return await call
        calling = asyncio.ensure_future(call)
        try:
            # Two passes: one to begin the call, one for its bytes to leave.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.start_held()
            return await calling
        finally:
            calling.cancel()

    def start_held(self) -> None:
        """Start what is held, because no call comes that it could wait for."""
        (held, claimed_at), self._held = self._held, ([], 0.0)
        for _, handler in held:
            self._slots.give(handler)
        self._start_all([claimed for claimed, _ in held], claimed_at)

    def _hold(self, tasks: Sequence[ClaimedTask], claimed_at: float) -> None:
        held, damaged = [], []
        for claimed in tasks:
            handler = self._slots.handlers.get(claimed.type)
            if handler is None:
                damaged.append(claimed)
            else:
                self._slots.take(handler)
                held.append((claimed, handler))
        # A damaged record names no type that we handle: the executor reports it at once.
        self._start_all(damaged, claimed_at)
        self._held = (held, claimed_at)
        self._bell.ring()

    def _start_all(self, tasks: Sequence[ClaimedTask], claimed_at: float) -> None:
        for claimed in tasks:
            if self.is_stopping:
                self._outcomes.release(claimed)
            else:
                self._executor.start(claimed, claimed_at)
