"""Threads for handlers that are not async. They are daemons: one that hangs never keeps a process alive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], None]
"""Something to do in a thread; it handles its own errors."""


class DaemonThreads:
    """A pool that grows with the work, up to a size, and is left behind at exit.

    The standard library's pool joins its threads at exit, so that one hung handler would keep
    the process from ending.

    Args:
        size: How many threads there may be.
        name: What they are called, before their number.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._started = 0
        self._busy = 0
        self._lock = threading.Lock()

    def submit(self, work: Work) -> None:
        """Do *work* in a thread: in an idle one, or else a new one, or else when one is idle."""
        with self._lock:
            self._busy += 1
            if self._busy > self._started and self._started < self._size:
                self._started += 1
                threading.Thread(
                    target=self._serve, name=f"{self._name}-{self._started}", daemon=True
                ).start()
        self._work.put(work)

    def close(self) -> None:
        """Let every thread end after what it is doing; none is waited for."""
        for _ in range(self._started):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            finally:
                with self._lock:
                    self._busy -= 1
