"""What crash tests share: workers as processes, their journal, and waiting with a deadline."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = Path(__file__).parent / "programs" / "counting_worker.py"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Line:
    """One line of the journal."""

    what: str
    task_id: str
    attempt: int
    pid: int
    at: float


class Journal:
    """What handlers did, as they wrote it down themselves."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, what: str | None = None, task_id: str | None = None) -> list[Line]:
        """Return the lines of one kind, of one task."""
        if not self.path.exists():
            return []
        found = []
        for text in self.path.read_text().splitlines():
            word, name, attempt, pid, at = text.split()
            line = Line(word, name, int(attempt), int(pid), float(at))
            if what in {None, line.what} and task_id in {None, line.task_id}:
                found.append(line)
        return found


class WorkerProcess:
    """A worker of our own, ended by its own pid."""

    def __init__(self, url: str, queue: str, journal: Journal, lease: float) -> None:
        self._log = journal.path.with_suffix(f".{os.urandom(4).hex()}.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), url, queue, str(journal.path), str(lease)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def log(self) -> str:
        """What it has logged so far."""
        return Path(self._log.name).read_text()

    def kill9(self) -> None:
        """End it as the kernel does when memory is short."""
        self._process.kill()
        self._process.wait()

    def terminate(self, patience: float = 15.0) -> int:
        """Ask it to end, and return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(patience)

    def wait(self, patience: float) -> int:
        """Wait for its own end."""
        return self._process.wait(patience)

    def close(self) -> None:
        """End it if it still runs."""
        if self.is_alive:
            self.kill9()
        self._log.close()


class Fleet:
    """Workers of one queue."""

    def __init__(self, url: str, queue: str, journal: Journal, lease: float) -> None:
        self._url, self._queue, self.journal, self._lease = url, queue, journal, lease
        self.workers: list[WorkerProcess] = []

    def start(self) -> WorkerProcess:
        """Start one more."""
        worker = WorkerProcess(self._url, self._queue, self.journal, self._lease)
        self.workers.append(worker)
        return worker


@contextmanager
def fleet(url: str, queue: str, folder: Path, lease: float) -> Iterator[Fleet]:
    """Workers that are gone at the end, whatever happened."""
    made = Fleet(url, queue, Journal(folder / "journal"), lease)
    try:
        yield made
    finally:
        for worker in made.workers:
            worker.close()


async def until(predicate: Callable[[], object], what: str, timeout: float) -> float:
    """Return the seconds until *predicate* is true; fail, naming *what*, if that takes too long."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not predicate():
        assert loop.time() - began < timeout, f"not within {timeout:g} s: {what}"
        await asyncio.sleep(0.02)
    return loop.time() - began
