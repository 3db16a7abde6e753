"""Holds workers back at their first task until all of them have one, so that none has a start.

Standard library only: it is used in the environment of every peer.
"""

from __future__ import annotations

import mmap
import time
from pathlib import Path

MOST_WORKERS = 15
_BYTES = 8
_POLL = 0.0005


class Gate:
    """A file in memory that processes share: whether they may go on, and which of them wait.

    Args:
        path: The shared file.
        create: Make it, shut.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if create:
            with path.open("wb") as file:
                file.truncate((1 + MOST_WORKERS) * _BYTES)
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self.path = path
        self._words = memoryview(self._memory).cast("q")

    @property
    def is_open(self) -> bool:
        """Whether tasks may start."""
        return bool(self._words[0])

    @property
    def count(self) -> int:
        """How many workers wait here, or have."""
        return sum(self._words[1:])

    def open(self) -> None:
        """Let everybody go on, for good."""
        self._words[0] = 1

    def wait(self, worker: int) -> None:
        """Say that this worker, counted from 0, has a task, and hold this thread until the gate opens."""
        self._words[1 + worker] = 1
        while not self.is_open:
            time.sleep(_POLL)

    def close(self) -> None:
        """Let go of the file."""
        self._words.release()
        self._memory.close()
