"""Services on the loopback that answer as a test wants, byte by byte, and note what they were asked."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from scheduler.errors import Misconfigured, RateLimited, Rejected, Unavailable


@dataclass
class Asked:
    """One request: names of headers in small letters, the body as JSON by `json()`."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def params(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Asked, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Service:
    """A service, and what it has seen so far.

    Attributes:
        url: Where it is.
        answers: The next answers, one a request; the last one is given again and again.
        asked: What it was asked.
        arrived: Set by every request.
        left: Set when a caller goes before it has its answer.
    """

    url: str
    answers: list[Answer]
    asked: list[Asked] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)


def says(body: bytes | str = b"", status: int = 200, *headers: str, kind: str = "application/json") -> Answer:
    """An answer with this body, then the end of the connection."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", *headers]
    lines += [f"Content-Length: {len(data)}", "Connection: close", "", ""]
    return writes("\r\n".join(lines).encode() + data)


def says_json(document: Any, status: int = 200, *headers: str) -> Answer:
    """An answer that is JSON."""
    return says(json.dumps(document), status, *headers)


def says_packed(body: bytes, coding: str = "gzip", packed: bytes | None = None) -> Answer:
    """An answer that is packed."""
    return says(gzip.compress(body) if packed is None else packed, 200, f"Content-Encoding: {coding}")


def writes(data: bytes) -> Answer:
    """An answer of these bytes, then the end of the connection."""

    async def answer(_: Asked, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


def chunks(parts: Iterable[bytes], kind: str = "text/event-stream", *, ends: bool = True) -> Answer:
    """An answer in parts; without its end if it *ends* not."""

    async def answer(_: Asked, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(chunked_head(kind))
        for part in parts:
            writer.write(chunk(part))
            await writer.drain()
        if ends:
            writer.write(b"0\r\n\r\n")

    return answer


def chunked_head(kind: str = "text/event-stream") -> bytes:
    """The head of an answer in parts."""
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    ).encode()


def chunk(part: bytes) -> bytes:
    """One part of an answer in parts."""
    return b"%x\r\n%s\r\n" % (len(part), part)


def resets(data: bytes = b"") -> Answer:
    """A connection that breaks after *data*, as when the service is killed."""

    async def answer(_: Asked, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return answer


def holds(data: bytes = b"") -> Answer:
    """An answer that stops after *data*, and waits until the caller goes."""

    async def answer(_: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass

    return answer


@asynccontextmanager
async def service(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Service]:
    """Serve these answers on a free port of 127.0.0.1."""
    made = Service("", list(answers))
    open_now: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            asked = await _request(reader)
            made.asked.append(asked)
            made.arrived.set()
            answer = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
            await _until_done_or_left(answer(asked, reader, writer), reader, made)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            made.left.set()
        finally:
            open_now.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    made.url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}"
    try:
        yield made
    finally:
        server.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _until_done_or_left(answer: Awaitable[None], reader: asyncio.StreamReader, made: Service) -> None:
    await answer
    if reader.at_eof():
        made.left.set()


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)


REFUSALS = [
    pytest.param(400, (), Rejected, None, id="400"),
    pytest.param(401, (), Misconfigured, None, id="401"),
    pytest.param(403, (), Misconfigured, None, id="403"),
    pytest.param(404, (), Misconfigured, None, id="404"),
    pytest.param(429, (), RateLimited, None, id="429"),
    pytest.param(429, ("Retry-After: 7",), RateLimited, 7, id="429-seconds"),
    pytest.param(429, ("Retry-After: Fri, 31 Dec 2100 23:59:59 GMT",), RateLimited, 3_600, id="429-date"),
    pytest.param(500, (), Unavailable, None, id="500"),
    pytest.param(503, (), Unavailable, None, id="503"),
    pytest.param(503, ("Retry-After: 7",), Unavailable, 7, id="503-seconds"),
    pytest.param(302, ("Location: https://example.org/",), Misconfigured, None, id="302"),
]
"""Status, headers, the error, and the seconds that it asks for."""


def seconds_of(error: BaseException) -> float | None:
    """For how long an error asks to leave the provider alone."""
    after = getattr(error, "after", None)
    return None if after is None else after.total_seconds()
