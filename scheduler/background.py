"""A thread with an event loop of its own, for what must go on while a handler blocks the main one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

Serve = Callable[[Callable[[], None], asyncio.Event], Coroutine[Any, Any, None]]
"""What runs in the background: it calls the first argument when it is ready, and returns soon after the
second was set."""


class Background:
    """Runs one coroutine in the background, and says when it is ready and when it crashes.

    Args:
        serve: What to run.
        crashed: Called in the event loop of the caller with an error that *serve* raised later.
        threaded: False runs it in the caller's own event loop, for a server inside the process.
    """

    def __init__(
        self, serve: Serve, crashed: Callable[[BaseException], None], *, threaded: bool = True
    ) -> None:
        self._serve = serve
        self._crashed = crashed
        self._threaded = threaded
        self._caller = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._caller.create_future()
        self._ended = asyncio.Event()
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._has_started = False
        self._is_stopping = False

    async def start(self) -> None:
        """Start, and return when it is ready.

        Raises:
            BaseException: Whatever *serve* raised before it was ready.
        """
        self._has_started = True
        if self._threaded:
            threading.Thread(target=self._run_thread, name="scheduler-background", daemon=True).start()
        else:
            self._task = self._caller.create_task(self._run())
        await self._ready

    async def stop(self) -> None:
        """Ask it to end, and return when it has."""
        if not self._has_started:
            return
        # A thread that has not come far yet finds the first of the two, one that has, the second.
        self._is_stopping = True
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
        await self._ended.wait()

    def _run_thread(self) -> None:
        # Not the loop of the caller: this one has little to do, and must not depend on its kind.
        with asyncio.Runner() as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        try:
            if not self._is_stopping:
                await self._serve(lambda: self._tell(self._become_ready, None), self._stopping)
        except BaseException as error:  # noqa: BLE001  handed on: nobody awaits this thread
            self._tell(self._become_ready, error)
        finally:
            self._tell(self._ended.set)

    def _tell(self, what: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the caller's loop is closed: nobody listens any more
            self._caller.call_soon_threadsafe(what, *arguments)

    def _become_ready(self, error: BaseException | None) -> None:
        if self._ready.done():
            if error is not None:
                self._crashed(error)
        elif error is None:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(error)
