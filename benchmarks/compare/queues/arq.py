"""arq: asyncio, a sorted set that is polled, pickle.

It polls every 10 ms in place of its default of 500 ms, which would be its latency, and reads up to 1,000 job
ids at a time, so that no poll ends the drain early. 100 slots; more bring nothing, because it starts jobs one
after the other. No results (`keep_result=0`); `results` keeps them for the default of an hour. There is no
call for many tasks.
"""

from __future__ import annotations

import asyncio
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

from benchmarks.compare.agent import run_fast
from benchmarks.compare.noting import NOOP, SECONDS, SLOW, ended, started
from benchmarks.compare.producing import Payload, Producer, Setup

_POLL = 0.01
_READ = 1_000
_SECONDS_KEPT = {"plain": 0, "results": 3_600}


async def noop(_context: Any, payload: Payload) -> None:
    started(payload["i"])


async def slow(_context: Any, payload: Payload) -> None:
    started(payload["i"])
    await asyncio.sleep(SECONDS)
    ended(payload["i"])


class _ArqProducer(Producer):
    def __init__(self, setup: Setup) -> None:
        self._settings = RedisSettings.from_dsn(setup.url)

    async def open(self) -> None:
        self._redis = await create_pool(self._settings)

    async def close(self) -> None:
        await self._redis.aclose()

    async def enqueue(self, task: str, payload: Payload) -> None:
        await self._redis.enqueue_job(task, payload)


def producer(setup: Setup) -> Producer:
    return _ArqProducer(setup)


def work(setup: Setup) -> None:
    async def serve() -> None:
        worker = Worker(
            functions=[func(noop, name=NOOP), func(slow, name=SLOW)],
            redis_settings=RedisSettings.from_dsn(setup.url),
            max_jobs=setup.most,
            poll_delay=_POLL,
            queue_read_limit=max(_READ, setup.most),
            keep_result=_SECONDS_KEPT[setup.variant],
            handle_signals=False,
        )
        await worker.main()

    run_fast(serve())
