"""The least that a client in Python can do: hiredis reads, futures wait in a row, one write a call."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast
from urllib.parse import urlsplit

import hiredis

Word = str | bytes | int


class BareClient(asyncio.Protocol):
    """One connection over which any number of calls may be under way."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connected(cls, url: str) -> BareClient:
        """Return a client of the server at a `redis:` or `unix:` address that asks for no password."""
        parts, loop = urlsplit(url), asyncio.get_running_loop()
        if parts.scheme == "unix":
            _, client = await loop.create_unix_connection(cls, parts.path)
        else:
            _, client = await loop.create_connection(cls, parts.hostname or "localhost", parts.port or 6379)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        # That of uvloop is no subclass, though it has all that one needs.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Give each reply to the call that waits longest."""
        self._reader.feed(data)
        gets, waiting = self._reader.gets, self._waiting
        while (reply := gets()) is not False:
            future = waiting.popleft()
            if not future.done():
                future.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """Let nobody wait for a reply that cannot come."""
        for future in self._waiting:
            if not future.done():
                future.set_exception(error or ConnectionResetError("the server closed the connection"))

    def call(self, *words: Word) -> asyncio.Future[Any]:
        """Send a command, and return the future of its reply; errors come back as values."""
        assert self._transport is not None, "it is connected"
        future = self._loop.create_future()
        self._waiting.append(future)
        # Its types know only tuples of one word.
        self._transport.write(hiredis.pack_command(words))  # type: ignore[arg-type]
        return future

    async def load(self, script: str) -> bytes:
        """Load a script and return the name to call it by."""
        name: bytes = await self.call("SCRIPT", "LOAD", script)
        return name

    def close(self) -> None:
        """Disconnect."""
        if self._transport is not None:
            self._transport.close()
