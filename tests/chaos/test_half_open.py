"""A network that goes silent without a word: whoever waits behind it notices by itself."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from random import Random

from scheduler import Scheduler
from taskqueue import TaskQueue
from tests.chaos.proxy import ChaosProxy
from tests.servers import RealServer, wait_until

NOTICED = 6.0
"""Seconds: a wait of at most 3 s, 2 s by which its answer may be late, and the claim."""


async def test_an_idle_worker_whose_connections_went_silent_starts_a_task_within_six_seconds(
    queue_name: str,
) -> None:
    """All of its connections are half-open; the server has a new task, which no marker can announce."""
    started = asyncio.Event()
    with RealServer(tcp=True) as server:
        assert server.port is not None
        proxy = ChaosProxy(server.port, Random(0))
        await proxy.start()
        scheduler = Scheduler(proxy.url, name=queue_name)

        @scheduler.handler("NOTE")
        async def note(payload: dict[str, object]) -> None:
            started.set()

        async with TaskQueue.connect(server.url, name=queue_name) as queue, scheduler:
            first = await queue.enqueue("NOTE", {})
            await queue.wait(first.id, timeout=10)
            started.clear()
            await asyncio.to_thread(wait_until, partial(_is_idle, server), "the worker waits for work")

            assert proxy.strand() >= 2
            begun = time.monotonic()
            await queue.enqueue("NOTE", {})
            await asyncio.wait_for(started.wait(), 20)

        await proxy.close()
    assert time.monotonic() - begun <= NOTICED


def _is_idle(server: RealServer) -> bool:
    """Whether both waits of the worker are pending: for work, and for messages. It is the one on the port."""
    with server.client() as client:
        listed = client.client_list()
    return bool(sum(each["cmd"] == "blpop" and "U" not in each["flags"] for each in listed) == 2)
