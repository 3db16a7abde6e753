"""A service on the loopback that answers what a test wrote, byte by byte, and notes what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

RESET = b"<reset>"
"""In the place of an answer, or at its end: the connection is reset there."""

HANG = b"<hang>"
"""Likewise: nothing more comes."""


@dataclass
class Asked:
    """One request."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.body)


@dataclass
class Upstream:
    """A server whose next answers are written by the test; the last one is repeated."""

    address: str = ""
    answers: list[bytes] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    was_left: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode().split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (each.partition(": ") for each in rest if each)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.asked.append(Asked(line, headers, body))
                self.was_asked.set()
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                writer.write(answer.removesuffix(RESET).removesuffix(HANG))
                await writer.drain()
                if answer.endswith(RESET):
                    writer.transport.abort()
                    return
                if answer.endswith(HANG):
                    await reader.read()
                    self.was_left.set()
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # The test is over, or its client hung up. A cancel that ended this would be logged as an error.
            self.was_left.set()
        finally:
            writer.close()


@asynccontextmanager
async def upstream(*answers: bytes) -> AsyncIterator[Upstream]:
    """Serve these answers on a free port as long as the context lasts."""
    made = Upstream(answers=list(answers))
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()


def reply(status: int, body: object, headers: Mapping[str, str] | None = None) -> bytes:
    """Return an answer as it goes over the wire; a body that is no bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + data


def refusal(
    status: int, code: str, message: str, details: object = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """Return an error in the contract's shape."""
    error: dict[str, object] = {"code": code, "message": message, "timestamp": "2026-01-01T00:00:00.000Z"}
    if details is not None:
        error["details"] = details
    return reply(status, {"success": False, "error": error}, headers)


def success(result: object, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a result in the contract's shape."""
    return reply(200, {"success": True, "result": result}, headers)
