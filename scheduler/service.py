"""A worker as an asyncio task of somebody else's program: how it starts, ends, and makes itself heard."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from scheduler.ending import end
from scheduler.loop import Summary
from scheduler.worker import Worker

logger = logging.getLogger("scheduler.service")


async def until_ended(running: asyncio.Task[Summary], worker: Worker) -> Summary:
    """Return what a running worker returns; a cancel of the caller ends it without grace.

    A second cancel does not even wait for the handlers.
    """
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if not running.done():
            worker.stop(grace=0.0)
            await running
        raise


class Service:
    """A worker inside of an `async with`.

    Args:
        worker: Not running yet.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._running: asyncio.Task[Summary] | None = None
        self._host: asyncio.Task[Any] | None = None
        self._cancels_before = 0
        self._is_ending = False
        self._crash: BaseException | None = None

    async def start(self) -> None:
        """Start the worker, and return when everything is open.

        Raises:
            BaseException: Whatever kept it from starting.
        """
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        self._running = running = loop.create_task(self._worker.run(burst=False, ready=ready.set))
        running.add_done_callback(lambda _: ready.set())
        try:
            await ready.wait()
        except asyncio.CancelledError:
            await end([running])
            raise
        if running.done():
            await running
        self._host = host = asyncio.current_task()
        assert host is not None, "a coroutine runs in a task"
        self._cancels_before = host.cancelling()
        running.add_done_callback(partial(self._notice_end, host))

    async def end(self, error: BaseException | None) -> None:
        """Stop the worker with its grace period, and return when it has ended.

        Args:
            error: What is on its way out of the `async with`.

        Raises:
            BaseException: Whatever made the worker crash.
        """
        assert self._running is not None, "started before"
        self._is_ending = True
        if self._crash is not None:
            if isinstance(error, asyncio.CancelledError) and self._is_cancelled_by_others():
                return
            raise self._crash
        self._worker.stop()
        await until_ended(self._running, self._worker)

    def _is_cancelled_by_others(self) -> bool:
        """Take our own cancel back from the host; whether somebody else's is left, which goes first."""
        host = asyncio.current_task()
        return host is not None and host is self._host and host.uncancel() > self._cancels_before

    def _notice_end(self, host: asyncio.Task[Any], running: asyncio.Task[Summary]) -> None:
        if running.cancelled() or self._is_ending or (error := running.exception()) is None:
            return
        self._crash = error
        logger.critical("the scheduler crashed; no task is run here any more", exc_info=error)
        host.cancel("the scheduler crashed")
