"""What ends a process that works: the first SIGTERM or SIGINT asks, the second insists.

A worker of a supervisor also stops when the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

logger = logging.getLogger("scheduler.signals")

SUPERVISOR_VARIABLE = "TASKQUEUE_SUPERVISOR"
"""Names the end of a pipe, as number and inode, which reads as ended when the supervisor is gone."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def stop_signals(stop: Callable[[], None], at_once: Callable[[], None] | None = None) -> Iterator[None]:
    """Call *stop* in the running event loop at the first SIGTERM or SIGINT; at the second, exit at once.

    The handlers are Python's own, not the event loop's: so the second signal ends the process even
    if a handler of a task blocks the loop. Those that were there before are put back at the end.
    Outside of the main thread, where Python cannot handle signals, this does nothing.

    Args:
        stop: Asks for an orderly end.
        at_once: Called before the process exits at once; it has no time for more than a few steps.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    is_first = True

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        nonlocal is_first
        if not is_first:
            # Nothing that comes now may interrupt the last steps.
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_IGN)
            _exit_at_once(number, at_once)
        is_first = False
        loop.call_soon_threadsafe(_ask, number, stop)

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: a handler that Python did not set, and cannot set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def stop_with_supervisor(stop: Callable[[], None]) -> Iterator[None]:
    """Call *stop* in the running event loop when the supervisor that started this process is gone.

    Without a supervisor this does nothing.
    """
    loop, pipe = asyncio.get_running_loop(), _pipe_of_supervisor()
    if pipe is None:
        yield
        return

    def gone() -> None:
        loop.remove_reader(pipe)
        logger.warning("the supervisor is gone: no more tasks are claimed")
        stop()

    loop.add_reader(pipe, gone)
    try:
        yield
    finally:
        loop.remove_reader(pipe)


def name_pipe(pipe: int) -> str:
    """Return what a worker finds in its environment about *pipe*."""
    return f"{pipe}:{os.fstat(pipe).st_ino}"


def _pipe_of_supervisor() -> int | None:
    """Return the pipe that this process was started with. A worker's child has the variable, not the pipe."""
    found = os.environ.get(SUPERVISOR_VARIABLE, "")
    number = found.partition(":")[0]
    if not number.isdecimal():
        return None
    try:
        is_ours = name_pipe(int(number)) == found
    except OSError:
        return None
    return int(number) if is_ours else None


def _ask(number: int, stop: Callable[[], None]) -> None:
    logger.info("%s: stopping; a second signal exits at once", signal.Signals(number).name)
    stop()


def _exit_at_once(number: int, at_once: Callable[[], None] | None) -> None:
    if at_once is not None:
        at_once()
    with contextlib.suppress(RuntimeError):  # the signal may have come in the middle of another log line
        logger.warning("%s again: exiting at once", signal.Signals(number).name)
    os._exit(128 + number)
