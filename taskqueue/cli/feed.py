"""Hands what a blocking iterator yields to a coroutine, in batches of what has arrived so far.

Reading from a pipe blocks. Done on the event loop it would hold up everything else; done by the
thousand it would hold back the lines of a slow producer until the thousandth is written. So a
thread reads, and the coroutine takes whatever is there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")

_READ_AHEAD = 4_000


class Feed(Generic[T]):
    """An asynchronous iterator of batches.

    Args:
        items: Read in a thread of its own, at most 4,000 items ahead.
        size: Largest batch.
    """

    def __init__(self, items: Iterator[T], size: int) -> None:
        self._items = items
        self._size = size
        self._waiting: list[T] = []
        self._room = threading.Condition()
        self._ended = False
        self._error: Exception | None = None

    async def batches(self) -> AsyncGenerator[list[T], None]:
        """Yield batches until the items end.

        Raises:
            Exception: Whatever the iterator raised, after everything before it was handed on.
        """
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is gone: nobody waits any more
                loop.call_soon_threadsafe(arrived.set)

        # A daemon: a read that never returns must not keep the program from ending.
        threading.Thread(target=self._read, args=(tell,), name="feed", daemon=True).start()
        try:
            while True:
                await arrived.wait()
                arrived.clear()
                while batch := self._take():
                    yield batch
                if self._ended and not self._waiting:
                    break
        finally:
            with self._room:
                self._ended = True
                self._room.notify()
        if self._error is not None:
            raise self._error

    def _take(self) -> list[T]:
        with self._room:
            batch = self._waiting[: self._size]
            del self._waiting[: self._size]
            self._room.notify()
            return batch

    def _read(self, tell: Callable[[], None]) -> None:
        try:
            for item in self._items:
                with self._room:
                    self._room.wait_for(lambda: self._ended or len(self._waiting) < _READ_AHEAD)
                    if self._ended:
                        return
                    self._waiting.append(item)
                    first = len(self._waiting) == 1
                if first:
                    tell()
        except Exception as error:  # noqa: BLE001  raised again where the items are wanted
            self._error = error
        finally:
            with self._room:
                self._ended = True
            tell()
