"""The proxy does to bytes what it is told to, and lets them pass otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from tests.chaos.proxy import ChaosProxy, Way

HELD = 0.2
"""Seconds in which an answer would have come many times over."""


class Server:
    """Answers each line with itself, and remembers it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.heard.append(line)
                writer.write(line)
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, int]]:
    """A server that echoes, and its port."""
    echo = Server()
    listening = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    yield echo, listening.sockets[0].getsockname()[1]
    listening.close()
    await listening.wait_closed()


@pytest.fixture
async def proxy(server: tuple[Server, int]) -> AsyncIterator[ChaosProxy]:
    """A proxy before the server."""
    made = ChaosProxy(server[1], Random(0))
    await made.start()
    yield made
    await made.close()


async def ask(proxy: ChaosProxy, line: bytes = b"hello\n") -> bytes:
    """Send a line on a new connection; return what comes, "" at its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(line)
        return await asyncio.wait_for(reader.readline(), HELD)
    finally:
        writer.close()


async def test_an_open_way_changes_nothing(proxy: ChaosProxy) -> None:
    """What is sent arrives, and so does the answer."""
    assert await ask(proxy) == b"hello\n"


@pytest.mark.parametrize("way", [Way.REFUSE, Way.RESET])
async def test_a_way_that_breaks_connections_ends_them_unheard(
    proxy: ChaosProxy, server: tuple[Server, int], way: Way
) -> None:
    """The server hears nothing."""
    proxy.way = way

    with pytest.raises(ConnectionResetError):
        await ask(proxy)

    assert server[0].heard == []


async def test_a_dropped_answer_was_given(proxy: ChaosProxy, server: tuple[Server, int]) -> None:
    """The server did what it was asked; whoever asked cannot know."""
    proxy.way = Way.DROP_REPLIES

    with pytest.raises(ConnectionResetError):
        await ask(proxy)

    assert (server[0].heard, proxy.dropped) == ([b"hello\n"], 1)


@pytest.mark.parametrize(
    ("way", "heard"), [(Way.HOLD, []), (Way.HOLD_REQUESTS, []), (Way.HOLD_REPLIES, [b"hello\n"])]
)
async def test_what_is_held_arrives_when_the_proxy_is_healed(
    proxy: ChaosProxy, server: tuple[Server, int], way: Way, heard: list[bytes]
) -> None:
    """In one direction or in both; no byte is lost."""
    proxy.way = way
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello\n")
    answer = asyncio.ensure_future(reader.readline())

    done, _ = await asyncio.wait([answer], timeout=HELD)
    assert (done, server[0].heard) == (set(), heard)

    proxy.heal()
    assert await asyncio.wait_for(answer, 5) == b"hello\n"
    writer.close()


async def test_a_torn_answer_ends_in_the_middle(proxy: ChaosProxy) -> None:
    """Two bytes pass."""
    proxy.cut_after = 2
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello\n")

    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(6)
    writer.close()


async def test_a_stranded_connection_says_nothing_any_more(proxy: ChaosProxy) -> None:
    """Not even that it has ended; a new one works."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"

    assert proxy.strand() == 1
    writer.write(b"hello\n")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readline(), HELD)
    assert await ask(proxy) == b"hello\n"
    writer.close()


async def test_only_replicas_are_parted_where_that_is_asked_for(proxy: ChaosProxy) -> None:
    """A connection on which a replica has spoken is held; others are not."""
    proxy.parts_replicas = True

    assert await ask(proxy) == b"hello\n"
    with pytest.raises(TimeoutError):
        await ask(proxy, b"REPLCONF listening-port 1\n")
