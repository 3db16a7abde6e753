"""huey on a list: threads, a blocking pop, pickle. A crash loses what a worker had taken.

4 threads in drains, the fastest of 1, 4 and 16. No periodic tasks. A task that returns nothing stores no
result. A pool of 2,000 connections: with the default of 100, 200 threads lose tasks. There is no call for
many tasks, and the library blocks.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from huey import RedisHuey

from benchmarks.compare.noting import NOOP, SECONDS, SLOW, ended, started
from benchmarks.compare.producing import BlockingProducer, Payload, Producer, Setup


def noop(payload: Payload) -> None:
    started(payload["i"])


def slow(payload: Payload) -> None:
    started(payload["i"])
    time.sleep(SECONDS)
    ended(payload["i"])


def _huey(setup: Setup) -> tuple[Any, dict[str, Any]]:
    huey: Any = RedisHuey("bench", url=f"{setup.url}?max_connections=2000")
    return huey, {NOOP: huey.task(name=NOOP)(noop), SLOW: huey.task(name=SLOW)(slow)}


class _HueyProducer(BlockingProducer):
    def __init__(self, setup: Setup) -> None:
        _, self._tasks = _huey(setup)

    async def enqueue(self, task: str, payload: Payload) -> None:
        self._tasks[task](payload)


def producer(setup: Setup) -> Producer:
    return _HueyProducer(setup)


def work(setup: Setup) -> None:
    logging.getLogger("huey").setLevel(logging.ERROR)
    huey, _ = _huey(setup)
    huey.create_consumer(workers=setup.most, worker_type="thread", periodic=False, backoff=1.0).run()
