"""What single commands cost on this machine at this moment: no queue can be faster than what it is made of.

The fourth limit, a queue that does the least, is compared as the queues are: see `queues/bare.py`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks.compare.bare_client import BareClient
from benchmarks.pulse import PIPELINED, pulse
from benchmarks.questions.floor import one_at_a_time

LIMITS: Mapping[str, str] = {
    "zadd_one": "redis-py ZADD, one awaited at a time",
    "evalsha_one": "EVALSHA of an empty script by bare asyncio and hiredis, one awaited at a time",
    "evalsha_many": f"EVALSHA of an empty script, {PIPELINED} on their way",
}
"""Calls a second, by key."""

_WARM_UP = 20


async def measure(url: str, count: int) -> dict[str, float]:
    """Return each limit that can be measured at this address, after so many calls each."""
    many = pulse(url, count)
    found = {"zadd_one": await one_at_a_time(url, count), "evalsha_one": await _awaited(url, count)}
    return found if many is None else found | {"evalsha_many": many}


async def _awaited(url: str, count: int) -> float:
    client = await BareClient.connected(url)
    try:
        script = await client.load("return 1")
        for _ in range(_WARM_UP):
            await client.call(b"EVALSHA", script, 0)
        started = time.perf_counter()
        for _ in range(count):
            await client.call(b"EVALSHA", script, 0)
        return count / (time.perf_counter() - started)
    finally:
        client.close()
