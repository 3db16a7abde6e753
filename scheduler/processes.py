"""Several worker processes under one supervisor: started, kept alive, and stopped together.

The supervisor runs no tasks. It holds one end of a pipe whose other end each worker has: when the
supervisor dies, however that happens, its workers notice and stop as after a SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from random import Random

from scheduler.backoff import Exponential
from scheduler.options import check_count
from scheduler.signals import SUPERVISOR_VARIABLE, name_pipe, stop_signals

logger = logging.getLogger("scheduler.processes")

MOST_PROCESSES = 256

USAGE_ERROR = 2
"""Exit status of a command line that was wrong: starting it again cannot help."""

_HEALTHY_AFTER = 60.0
"""A worker that lived for so many seconds is started again at once when it dies."""

_RESTART = Exponential(base=timedelta(seconds=1), cap=timedelta(seconds=30))


class Supervisor:
    """Keeps a number of worker processes running until it is told to stop.

    A worker that ends well has nothing more to do and is not started again. One that dies is, after
    a pause that grows with every early death, up to 30 s.

    Args:
        arguments: What each worker is started with, after `python -m taskqueue worker`; or the whole
            command, if *command* is given.
        processes: How many workers, 1 to 256.
        command: What comes before the arguments.
        environment: Variables for the workers, beside those of this process: the place for what others
            may not see, since every user of the machine can read the arguments of a process.
        endless: Whether there always is something to do: a worker that ends well without having been
            asked here is started again too.

    Raises:
        InvalidSetting: If the number is out of its range.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        processes: int,
        *,
        command: Sequence[str] = (sys.executable, "-m", "taskqueue", "worker"),
        environment: Mapping[str, str] | None = None,
        endless: bool = False,
    ) -> None:
        self._command = [*command, *arguments]
        self._processes = check_count("processes", processes, MOST_PROCESSES)
        self._environment = dict(environment or {})
        self._endless = endless
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._random = Random()  # noqa: S311  jitter
        self._stopping = asyncio.Event()
        self._status = 0

    async def run(self, *, handle_signals: bool = True) -> int:
        """Run the workers until they have ended, by themselves or after SIGTERM or SIGINT.

        The first signal is passed on as SIGTERM, once to each worker. The second kills them.

        Args:
            handle_signals: Whether signals are looked after here; else call `stop()` and `kill()`.

        Returns:
            0 if all of them ended well, else the exit status of the first that did not.
        """
        signals = stop_signals(self.stop, at_once=self.kill) if handle_signals else contextlib.nullcontext()
        with signals, _pipe() as theirs:
            async with asyncio.TaskGroup() as group:
                for number in range(1, self._processes + 1):
                    group.create_task(self._keep(number, theirs))
        return self._status

    def hold(self) -> None:
        """Start no worker any more; those that run go on. For one who has to end something else first."""
        self._stopping.set()

    def stop(self) -> None:
        """Ask every worker to finish what it runs and to end; none is started any more."""
        self._stopping.set()
        for child in self._children.values():
            _send(child, signal.SIGTERM)

    async def _keep(self, number: int, theirs: int) -> None:
        """Run one worker again and again until it ends for good, and note how, if it was not well."""
        loop, deaths = asyncio.get_running_loop(), 0
        while True:
            started = loop.time()
            code = await self._run_one(number, theirs)
            if code == 0 and (self._stopping.is_set() or not self._endless):
                return
            if self._stopping.is_set() or code == USAGE_ERROR:
                self._status = self._status or code
                if not self._stopping.is_set():
                    self.stop()
                return
            deaths = 1 if loop.time() - started > _HEALTHY_AFTER else deaths + 1
            pause = _RESTART.delay(deaths, self._random).total_seconds()
            logger.warning("worker %d ended with status %d; starting it again in %.1f s", number, code, pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
                self._status = self._status or code
                return

    async def _run_one(self, number: int, theirs: int) -> int:
        # In a session of its own a worker gets no Ctrl-C from the terminal: it would count as the
        # first signal, and ours as the second.
        try:
            child = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs,),
                start_new_session=True,
                env=os.environ | self._environment | {SUPERVISOR_VARIABLE: name_pipe(theirs)},
            )
        except OSError as error:
            # For want of memory or of processes, which passes: as if it had died at once.
            logger.warning("worker %d cannot be started: %s", number, error)
            return os.EX_OSERR
        self._children[number] = child
        if self._stopping.is_set():
            # The stop came while it was being started. The others have had their signal.
            _send(child, signal.SIGTERM)
        logger.info("worker %d is process %d", number, child.pid)
        code = await child.wait()
        del self._children[number]
        if code == -signal.SIGTERM and self._stopping.is_set():
            # Our own signal, which came before the worker had learned what to do about it.
            return 0
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        """End every worker now, in the middle of whatever it does."""
        for child in list(self._children.values()):
            _send(child, signal.SIGKILL)


def _send(child: asyncio.subprocess.Process, number: int) -> None:
    # Not by asyncio: it looks first whether the child has ended, and whoever waits for the child then
    # gets 255 in place of its exit status (python/cpython#87744).
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, number)


@contextlib.contextmanager
def _pipe() -> Iterator[int]:
    """Yield the reading end of a pipe that nobody writes to: it ends when this process does."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)
