"""Watches over how long attempts take, with one timer for all of them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping

from scheduler.run import Run

_EARLY = 0.001
"""Event loops round their clocks: a timer may fire this much too early, in seconds."""


class Deadlines:
    """Calls back when a run has reached its deadline.

    The one timer stands at the nearest deadline, so a task that ends in time costs one
    comparison; only when the timer fires are the running tasks looked through.

    Args:
        runs: The runs of this scheduler; this only reads them.
        expired: Called with each run that has reached its deadline and has not ended.
    """

    def __init__(self, runs: Mapping[str, Run], expired: Callable[[Run], None]) -> None:
        self._runs = runs
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self._nearest = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, run: Run) -> None:
        """See to it that *run* is called back at its deadline."""
        if run.deadline < self._nearest:
            self._arm(run.deadline)

    def close(self) -> None:
        """Call nobody back any more."""
        self._nearest = -math.inf
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._nearest = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._look)

    def _look(self) -> None:
        now = time.monotonic() + _EARLY
        running = [run for run in self._runs.values() if not run.has_ended and run.stop is None]
        self._nearest, self._timer = math.inf, None
        nearest = min((run.deadline for run in running if run.deadline > now), default=math.inf)
        for run in running:
            if run.deadline <= now:
                self._expired(run)
        if nearest < self._nearest:
            self._arm(nearest)
