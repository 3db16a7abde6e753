"""What can this machine and this server do at all? Everything else is to be seen beside this.

One client that awaits one plain command at a time shows what a round trip costs. Calls of a script
that does nothing, 64 on their way at once, show how many calls the server can take.
"""

from __future__ import annotations

import time

from redis.asyncio import Redis

from benchmarks.bench import Bench
from benchmarks.pulse import PIPELINED, pulse
from benchmarks.results import Result

_KEY = "bench-floor"


async def measure(bench: Bench) -> list[Result]:
    count = bench.sizes.floor
    rates = await bench.repeat(lambda: one_at_a_time(bench.url, count))
    case = "redis-py ZADD, one awaited at a time"
    results = [Result(case=case, unit="/s", values=tuple(rates), tasks=count)]
    pulses = [pulse(bench.url, count) for _ in range(bench.sizes.runs)]
    if rates := [each for each in pulses if each is not None]:
        case = f"EVALSHA of an empty script, {PIPELINED} on their way"
        results.append(Result(case=case, unit="/s", values=tuple(rates), tasks=count))
    return results


async def one_at_a_time(url: str, count: int) -> float:
    """Return how many ZADD a second redis-py sends when each is awaited."""
    client = Redis.from_url(url)
    try:
        await client.delete(_KEY)
        started = time.perf_counter()
        for number in range(count):
            await client.zadd(_KEY, {f"member-{number}": number})
        elapsed = time.perf_counter() - started
        await client.delete(_KEY)
    finally:
        await client.aclose()
    return count / elapsed
