"""Processes of the queues that are compared: each runs `agent` in the environment of its library."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from benchmarks.compare.agent import ANSWER
from benchmarks.compare.environments import last_line
from benchmarks.compare.gate import Gate
from benchmarks.compare.noting import GATE, MARKS, URL, WORKER
from benchmarks.compare.roster import Entry
from benchmarks.marks import Marks

T = TypeVar("T", int, float)

PATIENCE = 180.0
_POLL = 0.01
_ROOT = Path(__file__).resolve().parents[2]
_STEERING = ("TASKQUEUE_", "CELERY_", "SAQ_", "DOCKET_", "ARQ_", "RQ_", "DRAMATIQ_", "PYTHON")
"""How variables begin that would change what a queue does."""


class QueueFailed(Exception):
    """A queue did not do what was asked of it; the message says what it wrote last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where one queue is measured.

    Attributes:
        entry: Which.
        python: The interpreter of its environment.
        url: The server, which is empty and belongs to nobody else.
        marks: Where its handlers note when they were called.
        gate: Where its workers wait for each other.
        folder: For what its processes write.
    """

    entry: Entry
    python: str
    url: str
    marks: Marks
    gate: Gate
    folder: Path

    def words(self, role: str, slots: int | None) -> list[str]:
        """Return how to start a process of this queue."""
        agent = [self.python, "-m", "benchmarks.compare.agent", role]
        return [*agent, self.entry.module, self.entry.variant, "default" if slots is None else str(slots)]

    def variables(self, worker: int = 0) -> dict[str, str]:
        """Return the environment variables of its processes."""
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_STEERING)}
        return kept | {
            URL: self.url,
            MARKS: str(self.marks.path),
            GATE: str(self.gate.path),
            WORKER: str(worker),
        }


class Producing:
    """A producer process that is connected and warm."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.callers = 0

    @classmethod
    @asynccontextmanager
    async def started(cls, stage: Stage) -> AsyncIterator[Producing]:
        """Yield a producer; it has disconnected and ended when the block is left."""
        log = stage.folder / f"{stage.entry.module}-producer.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *stage.words("produce", stage.entry.slots),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=_ROOT,
                env=stage.variables(),
                start_new_session=True,
            )
        producing = cls(process, log)
        try:
            producing.callers = (await producing._answer())["callers"]
            yield producing
            assert process.stdin is not None, "it has a pipe"
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await process.wait()
        finally:
            _end_all([process.pid])
            await process.wait()

    async def do(self, what: str, *, task: str = "", count: int, seconds: float = 0.0) -> dict[str, Any]:
        """Let it enqueue, or measure latencies, and return what it answers.

        Raises:
            QueueFailed: If it ends, or does not answer in time.
        """
        assert self._process.stdin is not None, "it has a pipe"
        order = {"do": what, "task": task, "count": count, "seconds": seconds}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None, "it has a pipe"
        try:
            async with asyncio.timeout(PATIENCE):
                while line := await self._process.stdout.readline():
                    text = line.decode(errors="replace")
                    if text.startswith(ANSWER):
                        answer: dict[str, Any] = json.loads(text.removeprefix(ANSWER))
                        return answer
        except TimeoutError:
            raise QueueFailed(f"its producer did not answer within {PATIENCE:g} s") from None
        raise QueueFailed(f"its producer ended: {_said(self._log)}")


class Working:
    """Worker processes, and all that they started."""

    def __init__(self, processes: list[subprocess.Popen[bytes]], logs: list[Path]) -> None:
        self._processes = processes
        self._logs = logs

    @classmethod
    @contextmanager
    def started(cls, stage: Stage, count: int, slots: int | None) -> Iterator[Working]:
        """Yield so many workers that are about to start; they are killed when the block is left."""
        logs = [stage.folder / f"{stage.entry.module}-worker-{number}.log" for number in range(count)]
        working = cls([], logs)
        try:
            for number, log in enumerate(logs):
                with log.open("wb") as output:
                    working._processes.append(
                        subprocess.Popen(
                            stage.words("work", slots),
                            stdin=subprocess.PIPE,
                            stdout=output,
                            stderr=output,
                            cwd=_ROOT,
                            env=stage.variables(number),
                            start_new_session=True,
                        )
                    )
            yield working
        finally:
            _end_all([process.pid for process in working._processes])
            for process in working._processes:
                process.wait()
                assert process.stdin is not None, "it has a pipe"
                process.stdin.close()

    def cpu(self) -> float:
        """Return seconds of CPU that they have spent since they were started."""
        return sum(self._of_all(lambda each: sum(each.cpu_times()[:2])))

    def memory(self) -> int:
        """Return bytes of memory that are resident."""
        return sum(self._of_all(lambda each: each.memory_info().rss))

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Return when something is so.

        Raises:
            QueueFailed: If a worker ends before, or it takes too long.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while not is_so():
                    self._check()
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise QueueFailed(f"{what}: not within {PATIENCE:g} s; {_said(self._logs[0])}") from None

    def _check(self) -> None:
        for process, log in zip(self._processes, self._logs, strict=True):
            if process.poll() is not None:
                raise QueueFailed(f"a worker ended with status {process.returncode}: {_said(log)}")

    def _of_all(self, read: Callable[[psutil.Process], T]) -> Iterator[T]:
        for each in _family([process.pid for process in self._processes]):
            with contextlib.suppress(psutil.NoSuchProcess):
                yield read(each)


def _family(pids: list[int]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(pid)
            found += [parent, *parent.children(recursive=True)]
    return found


def _end_all(pids: list[int]) -> None:
    """Kill processes that were started here, and what they have started."""
    for each in _family(pids):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)


def _said(log: Path) -> str:
    return last_line(log.read_text(encoding="utf-8", errors="replace"))
