"""How fast the machine is at this moment: calls of a script that does nothing, 64 on their way.

Virtual machines change their speed from minute to minute. Numbers of two runs can be compared when
their pulses were alike, or when each is divided by its own.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import hiredis
import redis

PIPELINED = 64
_CALLS = 20_000
_READ = 65_536


def pulse(url: str, calls: int = _CALLS) -> float | None:
    """Return how many calls a second the server answers; None if it is reached in an encrypted way."""
    if urlsplit(url).scheme not in {"redis", "unix"}:
        return None
    with redis.Redis.from_url(url) as client:
        sha = client.script_load("return 1")
    batch = _packed("EVALSHA", sha, 0) * PIPELINED
    reader = hiredis.Reader()
    with _connected(url) as connection:
        started = time.perf_counter()
        for _ in range(0, calls, PIPELINED):
            connection.sendall(batch)
            missing = PIPELINED
            while missing:
                reader.feed(connection.recv(_READ))
                while reader.gets() is not False:
                    missing -= 1
        elapsed = time.perf_counter() - started
    return calls / elapsed


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


def _packed(*words: str | int) -> bytes:
    # Its types know only tuples of one word.
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]
    return packed
