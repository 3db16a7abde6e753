"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from taskqueue.errors import TaskQueueError
from taskqueue.queue import TaskQueue

T = TypeVar("T")

_LONGEST_GOODBYE = 5.0
"""Seconds that closing an abandoned queue may hold up whoever happens to be running."""


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of uvloop where the platform has it: nobody else sees this one, and a call costs less."""
    try:
        import uvloop  # noqa: PLC0415  only whoever blocks needs it
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class LoopThread:
    """An event loop in a thread of its own, for the process that started it."""

    def __init__(self, name: str) -> None:
        self._pid = os.getpid()
        self._loop = _new_loop()
        self._lock = threading.Lock()
        self._is_stopped = False
        # A daemon, so that a program which never closes its queue can still end.
        self._thread = threading.Thread(target=self._serve, name=f"taskqueue-{name}", daemon=True)
        self._thread.start()

    @property
    def is_foreign(self) -> bool:
        """Whether this process was forked from the one in which the thread runs."""
        return os.getpid() != self._pid

    def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the loop, and wait for what it returns."""
        if self.is_foreign:
            raise TaskQueueError(
                "this queue was connected before the process was forked: connect a new one in the child"
            )
        if threading.current_thread() is self._thread:
            raise TaskQueueError("a blocking call from inside the queue's own event loop would never return")
        running = self._start(call)
        try:
            return running.result()
        except CancelledError:
            raise TaskQueueError("the queue was closed before the answer came") from None
        except BaseException:
            # Ctrl-C, while it was waited for; a coroutine that has ended takes no notice.
            running.cancel()
            raise

    def _start(self, call: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        # Under the lock, so that nothing is handed to a loop that will not run it any more.
        with self._lock:
            if self._is_stopped:
                raise TaskQueueError("the queue is closed")
            return asyncio.run_coroutine_threadsafe(call(), self._loop)

    def stop(self, timeout: float | None = None) -> None:
        """End the loop, and wait for its thread.

        Args:
            timeout: Seconds; None waits for as long as it takes.
        """
        with self._lock:
            if not self._is_stopped:
                self._is_stopped = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def stop_after(self, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a last coroutine in the loop, and end it; wait a little, but for nothing that hangs."""

        async def last() -> None:
            try:
                await call()
            finally:
                self.stop()

        self._start(last)
        if threading.current_thread() is not self._thread:
            self._thread.join(_LONGEST_GOODBYE)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


def abandon(loop: LoopThread, queue: TaskQueue) -> None:
    """Close a queue that nobody holds any more, or that is open when the program ends.

    It may be called in any thread and at any place, by the garbage collector.
    """
    if loop.is_foreign:
        return
    warnings.warn(f"{queue!r} was not closed", ResourceWarning, source=queue, stacklevel=2)
    loop.stop_after(queue.close)
