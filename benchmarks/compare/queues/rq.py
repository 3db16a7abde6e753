"""rq: one job at a time, pickle, records of jobs and of workers.

`SimpleWorker`, which runs jobs in its own process: the default, a fork for each, drains less than half as
much. Results are kept for the default of 500 s: without them it drains less. Bulk is `enqueue_many` of 1,000.
A worker has no slots, so tasks of 50 ms are not measured: 2,000 of them take 100 s.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from redis import Redis
from rq import Queue, SimpleWorker

from benchmarks.compare.noting import started
from benchmarks.compare.producing import BlockingProducer, Payload, Producer, Setup

_QUEUE = "bench"


def noop(payload: Payload) -> None:
    started(payload["i"])


class _RqProducer(BlockingProducer):
    def __init__(self, setup: Setup) -> None:
        self._queue = Queue(_QUEUE, connection=Redis.from_url(setup.url))

    async def enqueue(self, task: str, payload: Payload) -> None:
        self._queue.enqueue(f"{__name__}.{task}", payload)

    async def enqueue_many(self, task: str, payloads: Sequence[Payload]) -> None:
        name = f"{__name__}.{task}"
        self._queue.enqueue_many([Queue.prepare_data(name, args=(payload,)) for payload in payloads])


def producer(setup: Setup) -> Producer:
    return _RqProducer(setup)


def work(setup: Setup) -> None:
    connection = Redis.from_url(setup.url)
    logging.getLogger("rq.worker").setLevel(logging.ERROR)
    worker = SimpleWorker(
        [Queue(_QUEUE, connection=connection)], connection=connection, log_job_description=False
    )
    worker.work(logging_level="ERROR")
