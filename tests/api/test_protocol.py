"""What one connection does when bytes and time come as no client can arrange it for sure."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from taskqueue.api.protocol import LONGEST_HEAD, HttpProtocol

TIMEOUT = 0.01


class Transport:
    """Keeps what is written; is closing from the moment it is told so."""

    def __init__(self) -> None:
        self.written = b""
        self.closes = 0
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closing = True
        self.closes += 1

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str) -> None:
        return None


@dataclass
class Application:
    """Answers what it is asked once it may.

    Attributes:
        asked: The paths.
    """

    asked: list[str] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def app() -> Application:
    """The application behind the connection."""
    return Application()


@pytest.fixture
async def transport() -> Transport:
    """The transport of the connection."""
    return Transport()


@pytest.fixture
async def protocol(transport: Transport, app: Application, monkeypatch: pytest.MonkeyPatch) -> HttpProtocol:
    """A connection that was just made."""
    monkeypatch.setattr(HttpProtocol, "head_timeout", TIMEOUT)
    config = uvicorn.Config(app, http=HttpProtocol, ws="none", lifespan="off", log_config=None)
    config.load()
    made = HttpProtocol(config, ServerState(), {})
    made.connection_made(cast("asyncio.Transport", transport))
    return made


async def test_a_long_head_that_comes_in_one_piece_is_refused(
    protocol: HttpProtocol, transport: Transport, app: Application
) -> None:
    """It is whole, and the parser has nothing against it; the application never hears of it."""
    protocol.data_received(b"GET /x HTTP/1.1\r\nA: %b\r\n\r\n" % (b"b" * LONGEST_HEAD))
    await asyncio.sleep(0)

    assert transport.written.startswith(b"HTTP/1.1 431 ")
    assert transport.closing
    assert app.asked == []


async def test_time_does_not_run_out_for_a_connection_that_closes(
    protocol: HttpProtocol, transport: Transport
) -> None:
    """It has said all that it will; what is still on its way out is not cut off."""
    protocol.data_received(b"GET /x")
    transport.closing = True

    await asyncio.sleep(2 * TIMEOUT)

    assert (transport.written, transport.closes) == (b"", 0)


async def test_half_a_head_waits_for_an_answer_that_takes_its_time(
    protocol: HttpProtocol, transport: Transport, app: Application
) -> None:
    """It came behind a request that is still answered: only after that its own time runs out."""
    protocol.data_received(b"GET /slow HTTP/1.1\r\n\r\n")
    protocol.data_received(b"GET /ha")
    await asyncio.sleep(5 * TIMEOUT)
    assert (app.asked, transport.written, transport.closing) == (["/slow"], b"", False)

    app.may_answer.set()
    async with asyncio.timeout(5):
        while not transport.closing:
            await asyncio.sleep(TIMEOUT)

    assert re.findall(rb"HTTP/1\.1 (\d+)", transport.written) == [b"200", b"408"]
