"""A network between a process and a server that can be made as bad as networks are.

One proxy stands before one server, for one process or for one side of the system. What is in the way
of bytes is set while it runs, and `heal` takes all of it away.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

_CHUNK = 65_536
_LOOK = 0.02  # seconds between two looks at whether bytes may go on
_REPLICATION = (b"PSYNC", b"REPLCONF")


class Way(StrEnum):
    """What happens to bytes on their way."""

    OPEN = "open"
    REFUSE = "refuse"
    """New connections are reset; those that exist go on."""
    RESET = "reset"
    """Whatever moves on a connection resets it."""
    HOLD = "hold"
    """Nothing arrives, in either direction, until the proxy is healed: no byte is lost, as with TCP."""
    HOLD_REQUESTS = "hold requests"
    HOLD_REPLIES = "hold replies"
    DROP_REPLIES = "drop replies"
    """The server runs what it is asked, and instead of its answer the connection is reset."""


@dataclass(slots=True, eq=False)
class _Link:
    """One connection through the proxy."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    is_stranded: bool = False
    is_replication: bool = False

    def reset(self) -> None:
        """End both sides without a word of goodbye."""
        for writer in (self.near, self.far):
            _reset(writer)


@dataclass(slots=True)
class ChaosProxy:
    """A TCP proxy on a free port of 127.0.0.1.

    Attributes:
        target: Port of the server on this machine.
        dice: Source of chance for delays.
        way: What happens to bytes.
        delay: Seconds by which each piece of data is late, half as much more or less.
        rate: Bytes a second that pass on each connection; None for any number.
        cut_after: Bytes of an answer after which the connection is reset, in the middle of it.
        parts_replicas: Whether only what replicas ask and get is held, whatever the way.
        dropped: How many answers were dropped or cut.
        login: User and password that the process shows, with the @ behind; "" for none.
    """

    target: int
    dice: Random
    way: Way = Way.OPEN
    delay: float = 0.0
    rate: float | None = None
    cut_after: int | None = None
    parts_replicas: bool = False
    dropped: int = 0
    login: str = ""
    port: int = 0
    _links: set[_Link] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where the process that is behind the proxy finds its server."""
        return f"redis://{self.login}127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        """Listen, on a free port unless one is named."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End all connections and listen no more."""
        if self._server is not None:
            self._server.close()
            self.reset_all()
            await self._server.wait_closed()

    def heal(self) -> None:
        """Let everything pass again. Connections that were reset or stranded stay so."""
        self.way, self.delay, self.rate, self.cut_after = Way.OPEN, 0.0, None, None
        self.parts_replicas = False

    def reset_all(self) -> None:
        """Reset every connection."""
        for link in list(self._links):
            link.reset()

    def strand(self) -> int:
        """Make every connection half-open: its process hears nothing any more, not even an end."""
        for link in self._links:
            link.is_stranded = True
        return len(self._links)

    async def _serve(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        if self.way is Way.REFUSE:
            _reset(near)
            return
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(near)
            return
        link = _Link(near, far)
        self._links.add(link)
        try:
            requests = self._pump(link, reader, far, is_reply=False)
            await asyncio.gather(requests, self._pump(link, far_reader, near, is_reply=True))
        finally:
            self._links.discard(link)
            link.reset()

    async def _pump(
        self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK):
                if not is_reply and any(word in data for word in _REPLICATION):
                    link.is_replication = True
                await self._hold_up(link, len(data), is_reply=is_reply)
                if link.is_stranded:
                    continue
                if self.way is Way.RESET or (is_reply and self.way is Way.DROP_REPLIES):
                    self.dropped += is_reply
                    link.reset()
                    return
                if is_reply and self.cut_after is not None and passed + len(data) > self.cut_after:
                    self.dropped += 1
                    sink.write(data[: max(0, self.cut_after - passed)])
                    await sink.drain()
                    link.reset()
                    return
                passed += len(data)
                sink.write(data)
                await sink.drain()
        if not link.is_stranded:
            with contextlib.suppress(OSError):
                sink.close()

    async def _hold_up(self, link: _Link, size: int, *, is_reply: bool) -> None:
        if self.delay:
            await asyncio.sleep(self.delay * (0.5 + self.dice.random()))
        if self.rate is not None:
            await asyncio.sleep(size / self.rate)
        held = {Way.HOLD, Way.HOLD_REPLIES if is_reply else Way.HOLD_REQUESTS}
        while (self.way in held or (self.parts_replicas and link.is_replication)) and not link.is_stranded:
            await asyncio.sleep(_LOOK)


def _reset(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    if found is not None:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
