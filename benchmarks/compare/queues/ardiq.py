"""ardiq: a core in Rust (tokio), handlers in Python, streams and msgpack.

100 slots and `prefetch=1000`, the fastest pair of a sweep over 10 to 500 slots with and without it. Results
are dropped (`result_ttl_ms=0`); `results` keeps them for the default of five minutes. Bulk is `enqueue_many`
of 1,000 prepared tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ardiq import Ardiq

from benchmarks.compare.agent import run_fast
from benchmarks.compare.noting import NOOP, SECONDS, SLOW, ended, started
from benchmarks.compare.producing import Payload, Producer, Setup


async def noop(payload: Payload) -> None:
    started(payload["i"])


async def slow(payload: Payload) -> None:
    started(payload["i"])
    await asyncio.sleep(SECONDS)
    ended(payload["i"])


def _app(setup: Setup) -> tuple[Any, dict[str, Any]]:
    kept = {} if setup.variant == "results" else {"result_ttl_ms": 0}
    app = Ardiq(setup.url, concurrency=setup.most, prefetch=1_000, **kept)
    return app, {NOOP: app.task(name=NOOP)(noop), SLOW: app.task(name=SLOW)(slow)}


class _ArdiqProducer(Producer):
    def __init__(self, setup: Setup) -> None:
        self._app, self._tasks = _app(setup)

    async def enqueue(self, task: str, payload: Payload) -> None:
        await self._tasks[task].enqueue(payload)

    async def enqueue_many(self, task: str, payloads: Sequence[Payload]) -> None:
        prepare = self._tasks[task].prepare
        await self._app.enqueue_many([prepare(payload) for payload in payloads])


def producer(setup: Setup) -> Producer:
    return _ArdiqProducer(setup)


def work(setup: Setup) -> None:
    async def serve() -> None:
        app, _ = _app(setup)
        await app.run()

    run_fast(serve())
