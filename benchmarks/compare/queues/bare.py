"""The raw limit: the least that a durable queue in Python could do, not a queue to use.

One ZSET for the order, one HASH for the payloads, one ZSET for what is under way with its deadline; a script
a batch to enqueue, to pop and to end, sent by bare asyncio and hiredis. A worker pops as many as it has free
slots, makes an asyncio task of each, and ends what has finished in the write that pops the next. Payloads are
msgpack.

It has no reaper for its deadlines, no heartbeat, retry, time-out, result, limit, validation or reconnection:
what a real queue is slower by, is what these cost and what could be won.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import msgpack

from benchmarks.compare.agent import run_fast
from benchmarks.compare.bare_client import BareClient
from benchmarks.compare.noting import SECONDS, SLOW, ended, started
from benchmarks.compare.producing import Payload, Producer, Setup

_WAITING, _BODIES, _SEQUENCE, _RUNNING, _KNOCK = b"waiting", b"bodies", b"sequence", b"running", b"knock"
_LEASE = 15.0

_ENQUEUE = """
local waiting, bodies, sequence, knock = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local count = #ARGV / 2
local last = redis.call('INCRBY', sequence, count) - count
for i = 1, count do
    local id = ARGV[2 * i - 1]
    redis.call('HSET', bodies, id, ARGV[2 * i])
    redis.call('ZADD', waiting, last + i, id)
end
if redis.call('LLEN', knock) == 0 then redis.call('LPUSH', knock, 1) end
return last
"""

_POP = """
local popped = redis.call('ZPOPMIN', KEYS[1], ARGV[1])
if #popped == 0 then return false end
local ids, leases = {}, {}
for i = 1, #popped / 2 do
    local id = popped[2 * i - 1]
    ids[i], leases[2 * i - 1], leases[2 * i] = id, ARGV[2], id
end
redis.call('ZADD', KEYS[3], unpack(leases))
return { ids, redis.call('HMGET', KEYS[2], unpack(ids)) }
"""

_END = """
redis.call('ZREM', KEYS[2], unpack(ARGV))
return redis.call('HDEL', KEYS[1], unpack(ARGV))
"""


class _BareProducer(Producer):
    def __init__(self, url: str) -> None:
        self._url = url

    async def open(self) -> None:
        self._client = await BareClient.connected(self._url)
        self._script = await self._client.load(_ENQUEUE)

    async def close(self) -> None:
        self._client.close()

    async def enqueue(self, task: str, payload: Payload) -> None:
        await self._call([os.urandom(16), msgpack.packb((task, payload))])

    async def enqueue_many(self, task: str, payloads: Sequence[Payload]) -> None:
        words: list[bytes] = []
        for payload in payloads:
            words += (os.urandom(16), msgpack.packb((task, payload)))
        await self._call(words)

    async def _call(self, words: list[bytes]) -> None:
        await self._client.call(b"EVALSHA", self._script, 4, _WAITING, _BODIES, _SEQUENCE, _KNOCK, *words)


class _Worker:
    """Pops into free slots, until it is killed."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._finished: list[bytes] = []
        self._changed = asyncio.Event()

    async def work(self, url: str) -> None:
        client, listener = await BareClient.connected(url), await BareClient.connected(url)
        pop, end = await client.load(_POP), await client.load(_END)
        loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        knock: asyncio.Future[Any] | None = None
        while True:
            self._changed.clear()
            if finished := self._finished:
                self._finished = []
                client.call(b"EVALSHA", end, 2, _BODIES, _RUNNING, *finished)
            popped = None
            if self._free:
                deadline = int((time.time() + _LEASE) * 1000)
                popped = await client.call(
                    b"EVALSHA", pop, 3, _WAITING, _BODIES, _RUNNING, self._free, deadline
                )
            if popped is not None:
                ids, bodies = popped
                self._free -= len(ids)
                for id_, body in zip(ids, bodies, strict=True):
                    task = loop.create_task(self._run(id_, body))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                # One step of the loop, in which tasks that wait for nothing come to their ends.
                await asyncio.sleep(0)
                continue
            if self._finished:
                continue
            if knock is None or knock.done():
                knock = listener.call(b"BLPOP", _KNOCK, 0)
                knock.add_done_callback(lambda _: self._changed.set())
            await self._changed.wait()

    async def _run(self, id_: bytes, body: bytes) -> None:
        task, payload = msgpack.unpackb(body)
        number = payload["i"]
        started(number)
        if task == SLOW:
            await asyncio.sleep(SECONDS)
            ended(number)
        self._finished.append(id_)
        self._free += 1
        self._changed.set()


def producer(setup: Setup) -> Producer:
    return _BareProducer(setup.url)


def work(setup: Setup) -> None:
    async def serve() -> None:
        await _Worker(setup.most).work(setup.url)

    run_fast(serve())
