"""Live progress of the demo on stderr: bars where somebody looks, plain lines where not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from taskqueue.cli.output import console
from taskqueue.task import Task

_LINE_EVERY = 1.0


@contextmanager
def watching() -> Iterator[Bars | Lines]:
    """Yield an audience that suits what stderr is."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield Lines(screen)
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        console=screen,
    )
    with progress:
        yield Bars(progress)


class Bars:
    """A bar for each priority, the highest on top: they fill from top to bottom."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[int, TaskID] = {}

    def ready(self, accepted: Sequence[Task]) -> None:
        """Show how much there is of each priority."""
        totals = Counter(task.priority for task in accepted)
        for priority in sorted(totals, reverse=True):
            self._bars[priority] = self._progress.add_task(f"priority {priority:>2}", total=totals[priority])

    def finished(self, task: Task) -> None:
        """Let its priority's bar grow."""
        self._progress.advance(self._bars[task.priority])

    def note(self, text: str) -> None:
        """Write a line above the bars."""
        self._progress.console.print(text)


class Lines:
    """A line a second: for logs and pipes."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._total = 0
        self._done = 0
        self._next = 0.0
        self._began = 0.0

    def ready(self, accepted: Sequence[Task]) -> None:
        """Start to count."""
        self._total = len(accepted)
        self._began = time.monotonic()
        self._next = self._began + _LINE_EVERY
        self.note(f"{self._total} tasks are queued")

    def finished(self, task: Task) -> None:
        """Count it, and tell once a second."""
        self._done += 1
        now = time.monotonic()
        if now >= self._next or self._done == self._total:
            self._next = now + _LINE_EVERY
            elapsed = now - self._began
            self.note(
                f"{elapsed:4.1f} s  {self._done} of {self._total} finished, at priority {task.priority}"
            )

    def note(self, text: str) -> None:
        """Write a line."""
        self._screen.print(text)
