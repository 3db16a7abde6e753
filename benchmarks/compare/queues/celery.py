"""celery on Redis by kombu: a list for each queue, what is unacknowledged in a hash and a sorted set, JSON.

The thread pool, so that one configuration serves all workloads: it drains faster than the default of
processes, and within a tenth of `solo`. 8 threads, a prefetch multiplier of 64; without gossip, mingle,
heartbeats, events and rate limits. Results are ignored; `results` stores them on the same server for the
default of a day. There is no call for many tasks: a loop with one producer that is held.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from celery import Celery

from benchmarks.compare.noting import NOOP, SECONDS, SLOW, ended, started
from benchmarks.compare.producing import BlockingProducer, Payload, Producer, Setup


def noop(payload: Payload) -> None:
    started(payload["i"])


def slow(payload: Payload) -> None:
    started(payload["i"])
    time.sleep(SECONDS)
    ended(payload["i"])


def _app(setup: Setup) -> tuple[Any, dict[str, Any]]:
    stores = setup.variant == "results"
    app: Any = Celery("bench", broker=setup.url, backend=setup.url if stores else None)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        task_ignore_result=not stores,
        worker_disable_rate_limits=True,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=64,
    )
    return app, {NOOP: app.task(name=NOOP)(noop), SLOW: app.task(name=SLOW)(slow)}


class _CeleryProducer(BlockingProducer):
    def __init__(self, setup: Setup) -> None:
        self._app, self._tasks = _app(setup)

    async def enqueue(self, task: str, payload: Payload) -> None:
        self._tasks[task].delay(payload)

    async def enqueue_many(self, task: str, payloads: Sequence[Payload]) -> None:
        send = self._tasks[task].apply_async
        with self._app.producer_or_acquire() as held:
            for payload in payloads:
                send((payload,), producer=held)


def producer(setup: Setup) -> Producer:
    return _CeleryProducer(setup)


def work(setup: Setup) -> None:
    app, _ = _app(setup)
    words = ["worker", "--pool", "threads", "--concurrency", str(setup.most), "--loglevel", "ERROR"]
    words += [
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        "--hostname",
        f"w{os.getpid()}@x",
    ]
    app.worker_main(words)
