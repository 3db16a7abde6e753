"""A receiver of webhooks on the loopback, which notes the very bytes and answers as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from taskqueue.webhooks import EgressPolicy
from tests.integration.wire_scenes import until

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Request:
    """What arrived: the first line, the headers with their names as they were sent, the body."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What a receiver has seen so far, and where it is."""

    port: int = 0
    connections: int = 0
    open: int = 0
    requests: list[Request] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, host: str = "127.0.0.1", target: str = "/hook", scheme: str = "http") -> str:
        """An address that leads here, if *host* does."""
        return f"{scheme}://{host}:{self.port}{target}"


def says(reply: bytes) -> Answer:
    """An answer that is always the same, and then the end of the connection."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await writer.drain()

    return answer


def status(number: int, *headers: str, body: bytes = b"") -> Answer:
    """An answer with this status."""
    lines = [f"HTTP/1.1 {number} Whatever", *headers, f"Content-Length: {len(body)}", "", ""]
    return says("\r\n".join(lines).encode() + body)


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """No answer, until the other side goes."""
    while await reader.read(65536):
        pass


def repeats(start: bytes, part: bytes, every: float = 0) -> Answer:
    """An answer that never ends: *start*, and then *part* again and again, until the other side goes."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while not writer.is_closing():  # uvloop raises where asyncio only closes
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every)

    return answer


@asynccontextmanager
async def receiver(
    answer: Answer, *, tls: ssl.SSLContext | None = None, reads: bool = True
) -> AsyncIterator[Receiver]:
    """A receiver on a free port of 127.0.0.1; on exit, every connection must have been closed.

    Args:
        answer: What it does once it has read the request.
        tls: Its certificate.
        reads: Whether it reads the request at all before it answers.
    """
    seen = Receiver()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        seen.open += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                if reads:
                    seen.requests.append(await read_request(reader))
                seen.arrived.set()
                await answer(reader, writer)
        finally:
            seen.open -= 1
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        seen.port = server.sockets[0].getsockname()[1]
        yield seen
        await until(lambda: seen.open == 0, "the receiver's connections are closed")


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Read one request by its Content-Length, and no byte more."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    headers = dict(header.split(": ", 1) for header in lines)
    assert len(headers) == len(lines)
    return Request(line, headers, await reader.readexactly(int(headers["Content-Length"])))


def names(**addresses: list[str] | str) -> Callable[[str], Awaitable[list[str]]]:
    """A resolver that knows these hosts below `.example`, and fails for any other."""

    async def resolver(host: str) -> list[str]:
        found = addresses.get(host.removesuffix(".example"))
        if found is None:
            raise OSError(f"unknown: {host}")
        return [found] if isinstance(found, str) else list(found)

    return resolver


def local_policy(**options: Any) -> EgressPolicy:
    """A policy that lets tests reach receivers on the loopback."""
    allowed: dict[str, Any] = {"schemes": ["http", "https"], "ports": None, "allow_loopback": True}
    return EgressPolicy(**(allowed | options))
