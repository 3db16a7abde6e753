"""Sends HTTP requests over many connections, and measures how long each answer takes.

A client library would cost more than the server that is measured: requests are bytes made before,
and of an answer only the status and the length are read.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.machine import cpu_of

_MAKING = 50e-6
"""Seconds that the load takes at most to make one of its coroutines."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server to measure."""

    port: int
    key: str
    pid: int

    def cpu(self) -> float:
        """Return the seconds of CPU that the server process has used."""
        return cpu_of(self.pid)

    def post(self, path: str, document: Any) -> bytes:
        """Return the bytes of a request."""
        body = json.dumps(document).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@asynccontextmanager
async def target(kind: str, url: str, queue: str) -> AsyncIterator[Target]:
    """Start a server process of that kind; see `benchmarks.http_server`."""
    command = [sys.executable, "-m", "benchmarks.http_server", kind, url, queue]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port, key = (await process.stdout.readline()).decode().split()
        yield Target(int(port), key, process.pid)
    finally:
        process.stdin.close()
        await process.wait()


async def send_all(port: int, requests: Sequence[bytes], connections: int) -> tuple[float, list[float]]:
    """Send all requests, each connection its next one when the last is answered.

    Returns:
        Seconds for all of them, and for each.
    """
    waiting = iter(requests)
    seconds: list[float] = []
    began = time.perf_counter()
    await asyncio.gather(*(_send_each(port, waiting, seconds) for _ in range(connections)))
    return time.perf_counter() - began, seconds


async def _send_each(port: int, waiting: Iterator[bytes], seconds: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in waiting:
        sent = time.perf_counter()
        await _exchange(reader, writer, request)
        seconds.append(time.perf_counter() - sent)
    writer.close()
    await writer.wait_closed()


async def send_at_rate(port: int, requests: Sequence[bytes], rate: float, connections: int) -> list[float]:
    """Send requests at a steady rate, whatever the answers do; return how late each one's answer was.

    The time counts from when a request was to be sent, so that a slow server cannot hide by slowing
    its clients down.
    """
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    for connection in opened:
        free.put_nowait(connection)
    # When all of them are there: to make them takes longer than the first of them may be late.
    began = time.perf_counter() + len(requests) * _MAKING

    async def one(number: int, request: bytes) -> float:
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        reader, writer = await free.get()
        await _exchange(reader, writer, request)
        free.put_nowait((reader, writer))
        return time.perf_counter() - due

    # A pause of the load would count as one of the server.
    gc.disable()
    try:
        late = await asyncio.gather(*(one(number, request) for number, request in enumerate(requests)))
    finally:
        gc.enable()
    for _, writer in opened:
        writer.close()
        await writer.wait_closed()
    return list(late)


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    at = head.lower().index(b"content-length:") + len(b"content-length:")
    await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
