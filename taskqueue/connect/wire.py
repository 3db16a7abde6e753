"""A wire: one connection on which calls go out at once and are answered in their order.

redis-py takes about 100 µs of Python for a call: it borrows a connection from a pool, waits for the
write to drain, reads through a stream (docs/performance.md). So it only makes our connections, with
all it knows of addresses, TLS, logins and Sentinels; then a protocol of asyncio over hiredis takes
the socket over. A call costs a future and a write; concurrent calls share the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Iterator
from typing import Any, Final

import hiredis
from redis import exceptions as redis_errors
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection, DefaultParser

from taskqueue.connect.nodes import connection_to

logger = logging.getLogger("taskqueue.connect")

REPLY_TIMEOUT: Final = 4.0
"""Seconds within which the server answers, or the connection is given up."""

_INCOMPLETE: Final = object()
_LAST_LOOK: Final = 0.02  # seconds


class Wire:
    """One connection of a client, made when it is first needed and again when it was lost.

    Belongs to one event loop. Calls of several tasks follow each other on it without waiting for
    their answers, and the server runs them in the order in which they were made; so none may be a
    command that blocks (see `BlockingWires`).

    Args:
        client: A client of redis-py whose connections can be taken over; with any other, such as one
            of fakeredis, calls go through the client itself.
        key: Decides on the node, if the client is one of a cluster: only its slot is asked for.
        reply_timeout: Seconds for a connection to be made, and for each answer.
    """

    def __init__(self, client: Any, *, key: str = "", reply_timeout: float = REPLY_TIMEOUT) -> None:
        self._client = client
        self._key = key
        is_fake = type(client).__module__.startswith("fakeredis")
        self._can_take_over = isinstance(client, Redis | RedisCluster) and not is_fake
        self._reply_timeout = reply_timeout
        self._socket: _Socket | None = None
        self._connecting: asyncio.Task[Exception | None] | None = None
        self._is_closed = False

    @property
    def is_direct(self) -> bool:
        """Whether calls go to the server over one connection, and not through the client."""
        return self._can_take_over

    def call(self, *command: Any) -> Awaitable[Any]:
        """Send a command; return what to await for its reply.

        Cancelling it only means that nobody waits for the reply: the command may have been run.

        Raises:
            redis.exceptions.RedisError: When awaited: the server's error, a `ConnectionError` if the
                connection is lost before the reply (the command may have been run), a `TimeoutError`.
        """
        socket = self._socket
        if socket is not None and socket.is_open:
            return socket.send(command)
        return self._connect_and_call(command)

    async def call_all(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands one right behind the other on one connection; an error is in the place of its reply.

        Raises:
            redis.exceptions.RedisError: If no connection can be made.
        """
        socket = await self._open_socket() if self._can_take_over else None
        if socket is not None:
            return await asyncio.gather(*map(socket.send, commands), return_exceptions=True)
        if self._is_closed:
            raise _closed()
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies

    async def _connect_and_call(self, command: tuple[Any, ...]) -> Any:
        if self._can_take_over:
            socket = await self._open_socket()
            if socket is not None:
                return await socket.send(command)
        if self._is_closed:
            raise _closed()
        try:
            async with asyncio.timeout(self._reply_timeout):
                return await self._client.execute_command(*command)
        except TimeoutError:
            raise redis_errors.TimeoutError(f"no reply within {self._reply_timeout:g} s") from None

    async def _open_socket(self) -> _Socket | None:
        """Return the socket, connected if it was not; None if there is none to take over."""
        if self._socket is None or not self._socket.is_open:
            # All who wait share one attempt; one of them being cancelled concerns no other.
            connecting = self._connecting
            if connecting is None:
                connecting = self._connecting = asyncio.create_task(self._connect())
            await asyncio.wait([connecting])
            # Only `aclose` cancels it, and those who wait were not cancelled.
            error = _closed() if connecting.cancelled() else connecting.result()
            if error is not None:
                raise _twin(error)
        if self._socket is not None and not self._socket.is_open:
            # Not tried again here: a server that greets and hangs up would keep us busy for ever.
            raise redis_errors.ConnectionError("the connection was lost as soon as it was made")
        return self._socket

    async def _connect(self) -> Exception | None:
        """Connect; return what went wrong, for everyone who waits to raise one of their own."""
        try:
            if self._is_closed:
                return _closed()
            async with asyncio.timeout(self._reply_timeout):
                connection = await connection_to(self._client, self._key)
                try:
                    await connection.connect()  # type: ignore[no-untyped-call]
                    self._socket = _taken_over(connection, self._reply_timeout)
                    self._can_take_over = self._socket is not None
                finally:
                    # Without effect on a connection that was taken over.
                    await connection.disconnect(nowait=True)
        except TimeoutError:
            return redis_errors.TimeoutError(f"no connection within {self._reply_timeout:g} s")
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            return error
        finally:
            self._connecting = None
        return None

    def cut(self) -> None:
        """Drop the connection at once; calls under way fail, and the next one connects again."""
        if self._socket is not None:
            self._socket.cut(redis_errors.ConnectionError("the connection was closed"))

    async def aclose(self) -> None:
        """Drop the connection and make no other. The client is left to its owner."""
        self._is_closed = True
        self.cut()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
            # It does not say so itself if it was cancelled before its first step.
            self._connecting = None
            self.cut()
        if self._socket is not None:
            await self._socket.closed.wait()


class BlockingWires:
    """Wires for commands that wait on the server, such as BLPOP: as many as there are calls at once.

    Args:
        client: As for `Wire`.
        key: As for `Wire`.
        reply_timeout: Seconds for an answer; longer than any command may wait.
    """

    def __init__(self, client: Any, *, key: str = "", reply_timeout: float) -> None:
        self._client = client
        self._key = key
        self._reply_timeout = reply_timeout
        self._wires: set[Wire] = set()
        self._idle: list[Wire] = []
        self._is_closed = False

    async def call(self, *command: Any) -> Any:
        """Run a command on a wire of its own; a cancelled one ends on the server too.

        Raises:
            What `Wire.call` raises.
        """
        with self._borrowed() as wire:
            return await wire.call(*command)

    async def call_all(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Run commands on one wire, one right behind the other; see `Wire.call_all`."""
        with self._borrowed() as wire:
            return await wire.call_all(*commands)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Wire]:
        if self._is_closed:
            raise _closed()
        if self._idle:
            wire = self._idle.pop()
        else:
            wire = Wire(self._client, key=self._key, reply_timeout=self._reply_timeout)
            self._wires.add(wire)
        try:
            yield wire
        except asyncio.CancelledError:
            # Else what the command waits for would be handed to nobody.
            wire.cut()
            raise
        finally:
            self._idle.append(wire)

    async def aclose(self) -> None:
        """Drop all connections and make no other. The client is left to its owner."""
        self._is_closed = True
        for wire in self._wires:
            await wire.aclose()


class _Socket(asyncio.Protocol):
    """A connected socket: bytes of commands go in, replies come out, in the same order."""

    def __init__(self, connection: AbstractConnection, writer: asyncio.StreamWriter, timeout: float) -> None:
        # Both would close the socket, and complain, as soon as nobody holds them.
        self.connection = connection
        self._writer = writer
        self._transport = writer.transport
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._create_future = self._loop.create_future
        self._write = self._transport.write
        self._replies = hiredis.Reader(replyError=DefaultParser.parse_error, notEnoughData=_INCOMPLETE)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._heard_at = self._loop.time()
        self._is_overdue = False
        self.is_open = True
        self.closed = asyncio.Event()

    def send(self, command: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Write a command; return the future of its reply."""
        future: asyncio.Future[Any] = self._create_future()
        # Packed first: arguments that cannot be sent must not leave a future that waits for a reply.
        packed = hiredis.pack_command(command)
        if not self._waiting:
            self._heard_at = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_at(self._heard_at + self._timeout, self._look)
        self._waiting.append(future)
        self._write(packed)
        return future

    def data_received(self, data: bytes) -> None:
        replies, waiting = self._replies, self._waiting
        try:
            replies.feed(data)
            while (reply := replies.gets()) is not _INCOMPLETE:
                future = waiting.popleft()
                if future.done():
                    continue
                if isinstance(reply, Exception):
                    self._answer_error(future, reply)
                else:
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.cut(redis_errors.InvalidResponse(f"the server sent what is no reply: {error!r}"))
            return
        if waiting:
            self._heard_at = self._loop.time()

    def _answer_error(self, future: asyncio.Future[Any], error: Exception) -> None:
        future.set_exception(error)
        # Who connects again asks for the new place. A master without replicas may have been replaced: the
        # Sentinels tell it so some ten seconds later.
        text = str(error)
        if isinstance(error, redis_errors.ReadOnlyError):
            self.cut(redis_errors.ConnectionError("the server has become a replica"))
        elif text.startswith("NOREPLICAS"):
            self.cut(redis_errors.ConnectionError("the server has lost its replicas"))
        elif isinstance(error, redis_errors.MovedError) or text.startswith("MOVED "):
            self.cut(redis_errors.ConnectionError("the queue has moved to another node of the cluster"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        reason = exc or "no reason given"
        self.cut(redis_errors.ConnectionError(f"the server closed the connection: {reason}"))

    def cut(self, error: Exception) -> None:
        """Close the socket at once, and raise *error* for all who wait for replies."""
        if not self.is_open:
            return
        self.is_open = False
        if self._watch is not None:
            self._watch.cancel()
        self._transport.abort()
        for future in self._waiting:
            if not future.done():
                future.set_exception(_twin(error))
        self._waiting.clear()

    def _look(self) -> None:
        """Give the connection up if calls wait on it and nothing was heard for too long."""
        self._watch = None
        if not self._waiting:
            return
        due = self._heard_at + self._timeout
        now = self._loop.time()
        if now >= due and not self._is_overdue:
            # A loop that was held up runs its timers before it reads: what came meanwhile has its turn.
            self._is_overdue = True
            self._watch = self._loop.call_at(now + _LAST_LOOK, self._look)
        elif now >= due:
            self.cut(redis_errors.TimeoutError(f"no reply within {self._timeout:g} s"))
        else:
            self._is_overdue = False
            self._watch = self._loop.call_at(due, self._look)


def _taken_over(connection: AbstractConnection, timeout: float) -> _Socket | None:
    """Put a protocol of ours in the place of redis-py's; None if this redis-py keeps its socket elsewhere."""
    writer = getattr(connection, "_writer", None)
    if not isinstance(writer, asyncio.StreamWriter):
        logger.warning("this version of redis-py is not known: calls are slower than they could be")
        return None
    connection._reader = connection._writer = None  # noqa: SLF001 - else it closes the socket when it is collected
    socket = _Socket(connection, writer, timeout)
    writer.transport.set_protocol(socket)
    return socket


def _closed() -> Exception:
    return redis_errors.ConnectionError("the client is closed")


def _twin(error: Exception) -> Exception:
    """Return an exception like *error*: one object that many raise collects all their tracebacks."""
    twin = type(error)(*error.args)
    twin.__cause__ = error.__cause__ or error
    return twin


async def close_client(client: Any) -> None:
    """Close a client of redis-py, also if the caller is cancelled meanwhile.

    redis-py closes its connections in tasks of their own; cancelled before their first step, they
    leave the sockets open.
    """
    closing = asyncio.ensure_future(client.aclose())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await closing
        raise
