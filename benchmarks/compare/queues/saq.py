"""saq: asyncio, a list with a blocking move, JSON.

100 slots, the fastest of 10, 100 and 500, and a connection for each. No results: a job is deleted when it has
ended; `results` keeps it for the default of ten minutes. There is no call for many tasks. `typing_extensions`
is installed beside it, because it imports that without asking for it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from saq import Queue, Worker

from benchmarks.compare.agent import run_fast
from benchmarks.compare.noting import NOOP, SECONDS, SLOW, ended, started
from benchmarks.compare.producing import CALLERS, Payload, Producer, Setup

_SECONDS_KEPT = {"plain": -1, "results": 600}


async def noop(_context: Any, *, payload: Payload) -> None:
    started(payload["i"])


async def slow(_context: Any, *, payload: Payload) -> None:
    started(payload["i"])
    await asyncio.sleep(SECONDS)
    ended(payload["i"])


class _SaqProducer(Producer):
    def __init__(self, setup: Setup) -> None:
        self._queue = Queue.from_url(setup.url, max_concurrent_ops=CALLERS)
        self._kept = _SECONDS_KEPT[setup.variant]

    async def open(self) -> None:
        await self._queue.connect()

    async def close(self) -> None:
        await self._queue.disconnect()

    async def enqueue(self, task: str, payload: Payload) -> None:
        await self._queue.enqueue(task, payload=payload, ttl=self._kept)


def producer(setup: Setup) -> Producer:
    return _SaqProducer(setup)


def work(setup: Setup) -> None:
    async def serve() -> None:
        queue = Queue.from_url(setup.url, max_concurrent_ops=setup.most)
        await queue.connect()
        await Worker(queue, [(NOOP, noop), (SLOW, slow)], concurrency=setup.most).start()

    run_fast(serve())
