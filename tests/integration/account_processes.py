"""Processes of one service in one test: queues of their own with accounts, whose calls are counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from taskqueue import TaskQueue
from taskqueue.accounts import Accounts, Admission, KeyUnknown, Principal, RateExceeded
from taskqueue.store import StoredKey

SECRET = b"only-the-processes-of-the-service-know-this"
ROUTE = "POST /v1/async/task"


class Timer:
    """Seconds that stand still until a test moves them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Process:
    """One process of the service, as far as accounts go: its own queue, caches and batches."""

    def __init__(self, queue: TaskQueue, timer: Timer) -> None:
        self.queue = queue
        self.accounts = Accounts(queue, SECRET, timer=timer)
        self.lookups: list[int] = []
        self.touches: list[int] = []
        self._find, self._touch = queue.store.find_keys, queue.store.touch_keys
        queue.store.find_keys = self._counted_find  # type: ignore[method-assign]
        queue.store.touch_keys = self._counted_touch  # type: ignore[method-assign]

    async def _counted_find(self, ids: Sequence[str]) -> tuple[int, list[StoredKey | None]]:
        self.lookups.append(len(ids))
        return await self._find(ids)

    async def _counted_touch(self, ids: Sequence[str], pause_ms: int) -> None:
        self.touches.append(len(ids))
        await self._touch(ids, pause_ms)

    async def accepts(self, key: str) -> bool:
        """Whether a key is accepted here."""
        try:
            await self.accounts.authenticate(key)
        except KeyUnknown:
            return False
        return True

    async def let_in(self, principal: Principal, count: int, endpoint: str = ROUTE) -> int:
        """Let so many requests ask at once; return how many were let in."""
        asked = (self.accounts.admit(principal, endpoint) for _ in range(count))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(each) for each in answers} <= {Admission, RateExceeded}, answers
        return sum(isinstance(each, Admission) for each in answers)


@asynccontextmanager
async def processes(
    count: int, url: str, queue_name: str, timer: Timer, **options: Any
) -> AsyncIterator[list[Process]]:
    """Open so many processes of one service; *options* are those of their queues."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            queue = await stack.enter_async_context(TaskQueue.connect(url, name=queue_name, **options))
            found.append(Process(queue, timer))
            await stack.enter_async_context(found[-1].accounts)
        yield found
