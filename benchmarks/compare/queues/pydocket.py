"""pydocket (`docket`): asyncio, streams and scripts, cloudpickle.

100 slots and `minimum_check_interval` of 1 ms: with its default of 250 ms it drains no more than its slots
four times a second. A pool of 2,000 connections: with the default of 100 it loses tasks from about 80 slots
on. Executions are kept for the default of 15 minutes. Bulk is `add_many` of 1,000.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from docket import Docket, Worker

from benchmarks.compare.agent import run_fast
from benchmarks.compare.noting import NOOP, SECONDS, SLOW, ended, started
from benchmarks.compare.producing import Payload, Producer, Setup

_CHECKS = timedelta(milliseconds=1)


async def noop(payload: Payload) -> None:
    started(payload["i"])


async def slow(payload: Payload) -> None:
    started(payload["i"])
    await asyncio.sleep(SECONDS)
    ended(payload["i"])


_TASKS = {NOOP: noop, SLOW: slow}


def _docket(setup: Setup) -> Docket:
    docket = Docket(name="bench", url=f"{setup.url}?max_connections=2000")
    for task in _TASKS.values():
        docket.register(task)
    return docket


class _DocketProducer(Producer):
    def __init__(self, setup: Setup) -> None:
        self._docket = _docket(setup)

    async def open(self) -> None:
        await self._docket.__aenter__()

    async def close(self) -> None:
        await self._docket.__aexit__(None, None, None)

    async def enqueue(self, task: str, payload: Payload) -> None:
        await self._docket.add(_TASKS[task])(payload)

    async def enqueue_many(self, task: str, payloads: Sequence[Payload]) -> None:
        function = _TASKS[task]
        await self._docket.add_many([self._docket.call(function)(payload) for payload in payloads])


def producer(setup: Setup) -> Producer:
    return _DocketProducer(setup)


def work(setup: Setup) -> None:
    async def serve() -> None:
        async with (
            _docket(setup) as docket,
            Worker(docket, concurrency=setup.most, minimum_check_interval=_CHECKS) as worker,
        ):
            await worker.run_forever()

    run_fast(serve())
