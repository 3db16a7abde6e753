"""Worker processes: started, watched, and ended with the block that wanted them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.marks import Marks

START_PATIENCE = 30.0
END_PATIENCE = 30.0
_POLL = 0.01
_ROOT = Path(__file__).resolve().parent.parent


class WorkerDied(Exception):
    """A worker process ended by itself."""


class Worker:
    """One worker process.

    Attributes:
        cpu: Seconds of CPU that it spent from ready to the end; known when it has ended.
        peak_memory: Most bytes that were resident at once; likewise.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self.cpu = 0.0
        self.peak_memory = 0

    @classmethod
    @asynccontextmanager
    async def started(
        cls, url: str, name: str, marks: Marks, *, concurrency: int, seconds: float, partitions: int
    ) -> AsyncIterator[Worker]:
        """Yield a worker that is about to claim; it has ended when the block is left."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.worker", "--name", name, "--marks", str(marks.path)),
            *("--concurrency", str(concurrency), "--seconds", str(seconds)),
            *("--partitions", str(partitions)),
            stdin=PIPE,
            stdout=PIPE,
            cwd=_ROOT,
            # An address may have a password, which others could read among the arguments.
            env=os.environ | {"TASKQUEUE_URL": url},
            # Ctrl-C in a terminal is for the benchmarks; the worker ends with its input.
            start_new_session=True,
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(START_PATIENCE):
                await worker._line()
            yield worker
            await worker._end()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def check(self) -> None:
        """Raise `WorkerDied` if it has."""
        if self._process.returncode is not None:
            raise WorkerDied(f"a worker ended by itself with status {self._process.returncode}")

    async def _end(self) -> None:
        assert self._process.stdin is not None, "it has a pipe"
        self._process.stdin.close()
        async with asyncio.timeout(END_PATIENCE):
            used = json.loads(await self._line())
            await self._process.wait()
        self.cpu, self.peak_memory = used["cpu"], used["peak_memory"]

    async def _line(self) -> bytes:
        assert self._process.stdout is not None, "it has a pipe"
        line = await self._process.stdout.readline()
        if not line:
            await self._process.wait()
            self.check()
        return line


@asynccontextmanager
async def workers(
    count: int,
    url: str,
    name: str,
    marks: Marks,
    *,
    concurrency: int,
    seconds: float = 0.0,
    partitions: int = 0,
) -> AsyncIterator[list[Worker]]:
    """Run so many worker processes for the length of a block.

    Args:
        count: How many.
        url: Their server.
        name: Their queue.
        marks: Where their handlers note when they were called.
        concurrency: Tasks at once in each.
        seconds: How long a task takes; 0: it returns at once.
        partitions: How many the queue has; 0: it is an ordinary one.
    """
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                Worker.started(
                    url, name, marks, concurrency=concurrency, seconds=seconds, partitions=partitions
                )
            )
            for _ in range(count)
        ]


async def until(is_so: Callable[[], bool], crew: list[Worker], patience: float) -> None:
    """Return when *is_so* is true.

    Raises:
        WorkerDied: If a worker ended before.
        TimeoutError: If it is not within *patience* seconds.
    """
    async with asyncio.timeout(patience):
        while not is_so():
            for worker in crew:
                worker.check()
            await asyncio.sleep(_POLL)
