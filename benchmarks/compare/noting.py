"""What the handlers of all queues do: note when they were called. Standard library only.

Of each queue two tasks are known: `noop` calls `started()` and returns, `slow` sleeps for `SECONDS`
between `started()` and `ended()`. Their payload's `i` is the number of the task; that of a task which only
warms up is negative, and is not noted.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from benchmarks.compare.gate import Gate
from benchmarks.marks import Marks, now

NOOP, SLOW = "noop", "slow"
SECONDS = 0.05
URL, MARKS, GATE, WORKER = "BENCH_URL", "BENCH_MARKS", "BENCH_GATE", "BENCH_WORKER"


class Notes:
    """The marks and the gate of this process; forks of it share them."""

    def __init__(self, marks: Marks, gate: Gate, worker: int) -> None:
        self._starts, self._ends = marks.starts, marks.ends
        self._gate, self._worker = gate, worker
        self._may_go_on = gate.is_open

    def started(self, number: int) -> None:
        """Note that a handler was called; the first call waits at the gate."""
        if not self._may_go_on:
            self._gate.wait(self._worker)
            self._may_go_on = True
        if number >= 0:
            self._starts[number] = now()

    def ended(self, number: int) -> None:
        """Note that a handler returns."""
        if number >= 0:
            self._ends[number] = now()


@cache
def notes() -> Notes:
    """Return the notes that the environment of this process names."""
    marks, gate = Marks(Path(os.environ[MARKS])), Gate(Path(os.environ[GATE]))
    return Notes(marks, gate, int(os.environ.get(WORKER, "0")))


def started(number: int) -> None:
    """Note that the handler of a task was called."""
    notes().started(number)


def ended(number: int) -> None:
    """Note that the handler of a task returns."""
    notes().ended(number)
