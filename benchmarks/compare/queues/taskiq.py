"""taskiq with the stream broker of taskiq-redis: asyncio, a read a hundred tasks, an acknowledgement each.

The stream acknowledges, so a crash loses nothing, and drains more than the list. `list` is the list broker,
which loses what a worker had taken, and is ahead where a connection for each acknowledgement hurts, as with
many slots. 100 slots and as many prefetched; orjson in place of json; parameters are not validated; one
process without its supervisor. Acknowledged tasks stay in the stream, as they do by default. `results`: its
Redis result backend with an expiry of an hour. There is no call for many tasks.
"""

from __future__ import annotations

import asyncio
from typing import Any

from taskiq.api import run_receiver_task
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.compare.agent import run_fast
from benchmarks.compare.noting import NOOP, SECONDS, SLOW, ended, started
from benchmarks.compare.producing import Payload, Producer, Setup


async def noop(payload: Payload) -> None:
    started(payload["i"])


async def slow(payload: Payload) -> None:
    started(payload["i"])
    await asyncio.sleep(SECONDS)
    ended(payload["i"])


def _broker(setup: Setup) -> tuple[Any, dict[str, Any]]:
    broker: Any
    if setup.variant == "list":
        broker = ListQueueBroker(setup.url)
    else:
        # By default a group begins with what comes after it was made: what waits already would never run.
        broker = RedisStreamBroker(setup.url, consumer_id="0")
    broker = broker.with_serializer(ORJSONSerializer())
    if setup.variant == "results":
        broker = broker.with_result_backend(RedisAsyncResultBackend(setup.url, result_ex_time=3_600))
    tasks = {NOOP: broker.task(task_name=NOOP)(noop), SLOW: broker.task(task_name=SLOW)(slow)}
    return broker, tasks


class _TaskiqProducer(Producer):
    def __init__(self, setup: Setup) -> None:
        self._broker, self._tasks = _broker(setup)

    async def open(self) -> None:
        await self._broker.startup()

    async def close(self) -> None:
        await self._broker.shutdown()

    async def enqueue(self, task: str, payload: Payload) -> None:
        await self._tasks[task].kiq(payload)


def producer(setup: Setup) -> Producer:
    return _TaskiqProducer(setup)


def work(setup: Setup) -> None:
    async def serve() -> None:
        broker, _ = _broker(setup)
        broker.is_worker_process = True
        await run_receiver_task(
            broker,
            validate_params=False,
            max_async_tasks=setup.most,
            max_prefetch=setup.most,
            run_startup=True,
        )

    run_fast(serve())
