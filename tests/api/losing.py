"""A TCP proxy on the loopback that hands requests on and loses replies to them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

Loss = Literal["close", "reset", "torn", "stall"]
"""How a reply is lost, once its first bytes have come: the connection is closed, or reset, or closed when
half of these bytes were handed on; or nothing comes any more, and the connection stays."""

LOSSES: tuple[Loss, ...] = ("close", "reset", "torn", "stall")
_BLOCK = 64 * 1024


class LosingProxy:
    """Stands between clients and one server.

    Attributes:
        port: Where it listens, on the loopback.
        lost: How many replies it has lost.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.lost = 0
        self._target = port
        self._left = 0
        self._asked = b""
        self._how: Loss = "close"
        self._closing = asyncio.Event()

    def lose(self, count: int, how: Loss, asked: bytes) -> None:
        """Lose the next *count* replies to requests that contain *asked*, and their connections."""
        self._left, self._how, self._asked = count, how, asked

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Stand between one client and the server, as long as both want to."""
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._target)
        doomed = asyncio.Event()
        works = [
            asyncio.create_task(self._requests(reader, ours, doomed)),
            asyncio.create_task(self._replies(theirs, writer, doomed)),
            asyncio.create_task(self._closing.wait()),
        ]
        try:
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            ours.close()
            writer.close()

    def close(self) -> None:
        """Let all connections go."""
        self._closing.set()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        tail = b""
        while data := await reader.read(_BLOCK):
            # What is asked may be divided between two blocks.
            tail += data
            if self._left and self._asked in tail:
                self._left -= 1
                doomed.set()
            tail = tail[-len(self._asked) :] if self._asked else b""
            writer.write(data)
            await writer.drain()

    async def _replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while data := await reader.read(_BLOCK):
            if doomed.is_set():
                self.lost += 1
                await self._lose(data, reader, writer)
                return
            writer.write(data)
            await writer.drain()

    async def _lose(self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match self._how:
            case "torn":
                writer.write(data[: len(data) // 2])
                await writer.drain()
            case "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            case "stall":
                while await reader.read(_BLOCK):
                    pass
                # The client is who gives up.
                await asyncio.Event().wait()


@asynccontextmanager
async def losing(port: int) -> AsyncIterator[LosingProxy]:
    """Let a proxy stand before the server at *port* of the loopback as long as the context lasts."""
    proxy = LosingProxy(port)
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        work = asyncio.current_task()
        assert work is not None
        connections.add(work)
        try:
            await proxy.serve(reader, writer)
        finally:
            connections.discard(work)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()
        await asyncio.gather(*connections)
        await server.wait_closed()
