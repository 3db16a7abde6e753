"""What every question has at hand: the server, queues that are empty, and how much to do."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks.marks import Marks
from benchmarks.probe import Probe
from benchmarks.sizes import STANDARD, Sizes
from benchmarks.workers import Worker, workers
from taskqueue import TaskQueue
from taskqueue.keys import Keys

T = TypeVar("T")

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One run of the benchmarks.

    Attributes:
        url: The server.
        probe: Looks at it.
        folder: For files that processes share.
        owns_server: Whether nobody else has data there, so that it may be emptied.
        sizes: How much to do.
        concurrency: Slots of a worker; the drain is measured with each of them, the rest with the first.
    """

    url: str
    probe: Probe
    folder: Path
    owns_server: bool
    sizes: Sizes = STANDARD
    concurrency: Sequence[int] = field(default=(200,))

    @asynccontextmanager
    async def queue(self) -> AsyncIterator[TaskQueue]:
        """Yield a new queue; nothing is left of it afterwards."""
        name = f"bench-{os.getpid()}-{next(_numbers)}"
        try:
            async with TaskQueue.connect(self.url, name=name) as queue:
                yield queue
        finally:
            self.forget(name)

    def forget(self, name: str) -> None:
        """Remove everything of a queue."""
        if self.owns_server:
            self.probe.empty()
        else:
            self.probe.wipe(Keys(name).prefix)

    def marks(self, tasks: int) -> Marks:
        """Return new marks for so many tasks."""
        return Marks(self.folder / f"marks-{next(_numbers)}", tasks)

    def workers(
        self,
        count: int,
        queue: TaskQueue,
        marks: Marks,
        *,
        concurrency: int | None = None,
        seconds: float = 0.0,
    ) -> AbstractAsyncContextManager[list[Worker]]:
        """Run so many worker processes on a queue; see `workers.workers`."""
        slots = self.concurrency[0] if concurrency is None else concurrency
        return workers(count, self.url, queue.name, marks, concurrency=slots, seconds=seconds)

    async def repeat(self, measure: Callable[[], Awaitable[T]]) -> list[T]:
        """Measure as often as was asked for, one run after the other."""
        values = []
        for _ in range(self.sizes.runs):
            # What the run before left behind is not this one's to clean up.
            gc.collect()
            values.append(await measure())
        return values
