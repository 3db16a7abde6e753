"""This project for code without an event loop: handlers run in threads, producers call `BlockingTaskQueue`.

Otherwise as `ours`: the defaults of `BlockingTaskQueue.connect()` and of `taskqueue worker`, with 100 slots,
which are up to 100 threads here. The producer blocks, as those of the peers without an event loop do, so
there is one caller.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.compare.noting import NOOP, SECONDS, SLOW, ended, started
from benchmarks.compare.producing import BlockingProducer, Payload, Producer, Setup
from scheduler import Scheduler
from taskqueue import BlockingTaskQueue, TaskSpec
from taskqueue.cli import main

scheduler = Scheduler()
_RESULT = {"ok": True}


@scheduler.handler(NOOP)
def noop(payload: Payload) -> dict[str, bool]:
    started(payload["i"])
    return _RESULT


@scheduler.handler(SLOW)
def slow(payload: Payload) -> dict[str, bool]:
    started(payload["i"])
    time.sleep(SECONDS)
    ended(payload["i"])
    return _RESULT


class _OurBlockingProducer(BlockingProducer):
    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = ExitStack()

    async def open(self) -> None:
        self._queue = self._stack.enter_context(BlockingTaskQueue.connect(self._url))

    async def close(self) -> None:
        self._stack.close()

    async def enqueue(self, task: str, payload: Payload) -> None:
        self._queue.enqueue(task, payload)

    async def enqueue_many(self, task: str, payloads: Sequence[Payload]) -> None:
        self._queue.enqueue_many([TaskSpec(type=task, payload=payload) for payload in payloads])


def producer(setup: Setup) -> Producer:
    return _OurBlockingProducer(setup.url)


def work(setup: Setup) -> None:
    # What the console script `taskqueue` calls. This server has no password that others could read.
    words = ["worker", f"{__name__}:scheduler", "--url", setup.url]
    main(words if setup.slots is None else [*words, "--concurrency", str(setup.slots)])
