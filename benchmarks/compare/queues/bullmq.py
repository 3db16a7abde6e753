"""bullmq, the port to Python: asyncio, one script fetches a job, one ends it and fetches the next.

10 slots in drains, the fastest of 10, 100 and 500. Completed jobs are removed at once; `results` keeps them,
as is its default, without an expiry. Bulk is `addBulk` of 1,000.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from bullmq import Queue, Worker

from benchmarks.compare.agent import run_fast
from benchmarks.compare.noting import SECONDS, SLOW, ended, started
from benchmarks.compare.producing import Payload, Producer, Setup

_QUEUE = "bench"
_OPTIONS: dict[str, dict[str, Any]] = {"plain": {"removeOnComplete": True}, "results": {}}


async def _handle(job: Any, _token: str) -> None:
    number = job.data["i"]
    started(number)
    if job.name == SLOW:
        await asyncio.sleep(SECONDS)
        ended(number)


class _BullmqProducer(Producer):
    def __init__(self, setup: Setup) -> None:
        self._url = setup.url
        self._options = _OPTIONS[setup.variant]

    async def open(self) -> None:
        self._queue = Queue(_QUEUE, {"connection": self._url})

    async def close(self) -> None:
        await self._queue.close()

    async def enqueue(self, task: str, payload: Payload) -> None:
        await self._queue.add(task, payload, dict(self._options))

    async def enqueue_many(self, task: str, payloads: Sequence[Payload]) -> None:
        options = self._options
        await self._queue.addBulk([{"name": task, "data": each, "opts": options} for each in payloads])


def producer(setup: Setup) -> Producer:
    return _BullmqProducer(setup)


def work(setup: Setup) -> None:
    async def serve() -> None:
        options = {"connection": setup.url, "concurrency": setup.most, "autorun": False}
        await Worker(_QUEUE, _handle, options).run()

    run_fast(serve())
