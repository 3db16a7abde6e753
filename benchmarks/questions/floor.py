"""What can this machine and this server do at all? Everything else is to be seen beside this.

One client that awaits one plain command at a time shows what a round trip costs. Calls of a script
that does nothing, 64 on their way at once, show how many calls the server can take.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import hiredis
import redis
from redis.asyncio import Redis

from benchmarks.bench import Bench
from benchmarks.results import Result

_KEY = "bench-floor"
_PIPELINED = 64
_READ = 65_536


async def measure(bench: Bench) -> list[Result]:
    count = bench.sizes.floor
    rates = await bench.repeat(lambda: _one_at_a_time(bench.url, count))
    results = [
        Result(case="redis-py ZADD, one awaited at a time", unit="/s", values=tuple(rates), tasks=count)
    ]
    if urlsplit(bench.url).scheme in {"redis", "unix"}:
        case = f"EVALSHA of an empty script, {_PIPELINED} on their way"
        rates = [_pipelined(bench.url, count) for _ in range(bench.sizes.runs)]
        results.append(Result(case=case, unit="/s", values=tuple(rates), tasks=count))
    return results


async def _one_at_a_time(url: str, count: int) -> float:
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


def _pipelined(url: str, count: int) -> float:
    with redis.Redis.from_url(url) as client:
        sha = client.script_load("return 1")
    batch = _packed("EVALSHA", sha, 0) * _PIPELINED
    reader = hiredis.Reader()
    with _connected(url) as connection:
        started = time.perf_counter()
        for _ in range(0, count, _PIPELINED):
            connection.sendall(batch)
            missing = _PIPELINED
            while missing:
                reader.feed(connection.recv(_READ))
                while reader.gets() is not False:
                    missing -= 1
        elapsed = time.perf_counter() - started
    return count / elapsed


@contextmanager
def _connected(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(parts.path)
    else:
        connection = socket.create_connection((parts.hostname or "localhost", parts.port or 6379))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        if parts.password:
            connection.sendall(_packed("AUTH", parts.username or "default", parts.password))
            connection.recv(_READ)
        yield connection


def _packed(*words: str | int | bytes) -> bytes:
    # Its types know only tuples of one word.
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]
    return packed
