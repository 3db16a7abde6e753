"""streaq: anyio, streams and functions of the server, coredis, pickle.

10 slots in drains, the fastest of 10, 100 and 500. No results (`ttl=0`); `results` keeps them for the default
of five minutes. uvloop, by its option for anyio. Bulk is `enqueue_many` of 1,000.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from streaq import Worker

from benchmarks.compare.noting import NOOP, SECONDS, SLOW, ended, started
from benchmarks.compare.producing import Payload, Producer, Setup

_SECONDS_KEPT = {"plain": 0, "results": 300}


async def noop(payload: Payload) -> None:
    started(payload["i"])


async def slow(payload: Payload) -> None:
    started(payload["i"])
    await asyncio.sleep(SECONDS)
    ended(payload["i"])


def _worker(setup: Setup) -> tuple[Any, dict[str, Any]]:
    worker: Any = Worker(redis_url=setup.url, concurrency=setup.most, anyio_kwargs={"use_uvloop": True})
    kept = _SECONDS_KEPT[setup.variant]
    return worker, {NOOP: worker.task(ttl=kept)(noop), SLOW: worker.task(ttl=kept)(slow)}


class _StreaqProducer(Producer):
    def __init__(self, setup: Setup) -> None:
        self._worker, self._tasks = _worker(setup)

    async def open(self) -> None:
        await self._worker.__aenter__()

    async def close(self) -> None:
        await self._worker.__aexit__(None, None, None)

    async def enqueue(self, task: str, payload: Payload) -> None:
        await self._tasks[task].enqueue(payload)

    async def enqueue_many(self, task: str, payloads: Sequence[Payload]) -> None:
        enqueue = self._tasks[task].enqueue
        await self._worker.enqueue_many([enqueue(payload) for payload in payloads])


def producer(setup: Setup) -> Producer:
    return _StreaqProducer(setup)


def work(setup: Setup) -> None:
    worker, _ = _worker(setup)
    worker.run_sync()
