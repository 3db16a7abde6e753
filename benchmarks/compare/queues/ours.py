"""This project, as its users run it: the defaults of `TaskQueue.connect()` and of `taskqueue worker`.

100 slots, which is the default, except where 200 are asked for; tasks that return at once, as everywhere,
return a small result, which is stored for 24 hours. Leases of 15 s, heartbeats every 5 s, reaping, retries,
time-outs, strict priorities, counts and limits are on, since nobody can or would turn them off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from benchmarks.compare.noting import NOOP, SECONDS, SLOW, ended, started
from benchmarks.compare.producing import Payload, Producer, Setup
from scheduler import Scheduler
from taskqueue import TaskQueue, TaskSpec
from taskqueue.cli import main

scheduler = Scheduler()
_RESULT = {"ok": True}


@scheduler.handler(NOOP)
async def noop(payload: Payload) -> dict[str, bool]:
    started(payload["i"])
    return _RESULT


@scheduler.handler(SLOW)
async def slow(payload: Payload) -> dict[str, bool]:
    started(payload["i"])
    await asyncio.sleep(SECONDS)
    ended(payload["i"])
    return _RESULT


class _OurProducer(Producer):
    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        self._queue = await self._stack.enter_async_context(TaskQueue.connect(self._url))

    async def close(self) -> None:
        await self._stack.aclose()

    async def enqueue(self, task: str, payload: Payload) -> None:
        await self._queue.enqueue(task, payload)

    async def enqueue_many(self, task: str, payloads: Sequence[Payload]) -> None:
        await self._queue.enqueue_many([TaskSpec(type=task, payload=payload) for payload in payloads])


def producer(setup: Setup) -> Producer:
    return _OurProducer(setup.url)


def work(setup: Setup) -> None:
    # What the console script `taskqueue` calls. This server has no password that others could read.
    words = ["worker", f"{__name__}:scheduler", "--url", setup.url]
    main(words if setup.slots is None else [*words, "--concurrency", str(setup.slots)])
