"""Opening a partitioned queue: all of its partitions, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from taskqueue.connect import Connector
from taskqueue.errors import QueueMismatch
from taskqueue.partitions.routing import mark_of, partition_names
from taskqueue.queue import QueueOptions, TaskQueue
from taskqueue.queue.task_queue import Connecting as ConnectingQueue

if TYPE_CHECKING:
    from taskqueue.partitions.queue import PartitionedQueue


class Connecting:
    """A partitioned queue that is about to be opened: `await` it, or enter it with `async with`.

    Args:
        made: Makes the queue of its open partitions.
        url: As for `TaskQueue.connect`.
        name: Of the whole queue.
        partitions: How many there are.
        options: As for `TaskQueue.connect`, the same for each.
    """

    def __init__(
        self,
        made: type[PartitionedQueue],
        url: str | None,
        name: str,
        partitions: int,
        options: dict[str, Any],
    ) -> None:
        self._made = made
        self._name = name
        self._connecting = [
            ConnectingQueue(
                Connector.parse(url),
                QueueOptions(name=each, policy="strict", mark=mark_of(number), **options),
            )
            for number, each in enumerate(partition_names(name, partitions))
        ]
        self._queue: PartitionedQueue | None = None

    def __await__(self) -> Generator[Any, None, PartitionedQueue]:
        return self._open().__await__()

    async def __aenter__(self) -> PartitionedQueue:
        self._queue = await self._open()
        return self._queue

    async def __aexit__(self, *_: object) -> None:
        assert self._queue is not None, "entered before"
        await self._queue.close()

    async def _open(self) -> PartitionedQueue:
        async with AsyncExitStack() as opened:
            # The first alone: an embedded server is started once, and of two programs that disagree
            # about their number, one is refused before it makes any other.
            first = await opened.enter_async_context(self._connecting[0])
            await self._agree(first)
            queues = [first, *await _all_opened(self._connecting[1:], opened)]
            await asyncio.gather(*map(self._agree, queues[1:]))
            queue = self._made(self._name, queues)
            opened.pop_all()
        return queue

    async def _agree(self, queue: TaskQueue) -> None:
        wanted = len(self._connecting)
        stored = await queue.store.agree_on_partitions(wanted)
        if stored != wanted:
            raise QueueMismatch(self._name, "partitions", stored, wanted)


async def _all_opened(connecting: Sequence[ConnectingQueue], opened: AsyncExitStack) -> list[TaskQueue]:
    """Open several queues at once; those that were opened are closed with the stack."""
    results = await asyncio.gather(*(each.__aenter__() for each in connecting), return_exceptions=True)
    queues = []
    for result in results:
        if isinstance(result, TaskQueue):
            opened.push_async_callback(result.close)
            queues.append(result)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return queues
