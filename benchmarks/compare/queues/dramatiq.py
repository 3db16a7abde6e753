"""dramatiq on its Redis broker: threads, and one script that fetches tasks for all of them.

32 threads, for which up to 64 tasks are fetched: with 8 it drains less than half as much, since its fetching
thread sleeps whenever what it has fetched is not taken yet. Default middleware (age and time limits,
callbacks, retries); it stores no results unless told to. There is no call for many tasks, and the library
blocks, so a producer sends one after the other.
"""

from __future__ import annotations

import time
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.compare.noting import NOOP, SECONDS, SLOW, ended, started
from benchmarks.compare.producing import BlockingProducer, Payload, Producer, Setup


def noop(payload: Payload) -> None:
    started(payload["i"])


def slow(payload: Payload) -> None:
    started(payload["i"])
    time.sleep(SECONDS)
    ended(payload["i"])


def _broker(setup: Setup) -> tuple[Any, dict[str, Any]]:
    broker = RedisBroker(url=setup.url)
    dramatiq.set_broker(broker)
    handlers = {NOOP: noop, SLOW: slow}
    return broker, {
        name: dramatiq.actor(handler, actor_name=name, broker=broker) for name, handler in handlers.items()
    }


class _DramatiqProducer(BlockingProducer):
    def __init__(self, setup: Setup) -> None:
        _, self._actors = _broker(setup)

    async def enqueue(self, task: str, payload: Payload) -> None:
        self._actors[task].send(payload)


def producer(setup: Setup) -> Producer:
    return _DramatiqProducer(setup)


def work(setup: Setup) -> None:
    broker, _ = _broker(setup)
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(broker, worker_threads=setup.most)
    worker.start()
    while True:
        time.sleep(3_600)
