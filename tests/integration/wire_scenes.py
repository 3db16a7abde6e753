"""What the tests of wires share: both event loops, a wire that must leave nothing behind, a fake server."""

from __future__ import annotations

import asyncio
import gc
import inspect
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import hiredis
import pytest
import uvloop

from taskqueue.connect import BlockingWires, Connector, Wire, close_client
from tests.servers import RealServer, wait_until

LOOPS = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on asyncio's loop and on uvloop; nothing may be left open, no error unheard."""

    @wraps(test)
    def run(*, loop_factory: Callable[[], asyncio.AbstractEventLoop], **fixtures: Any) -> None:
        unheard: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: unheard.append(context))
            runner.run(test(**fixtures))
            gc.collect()
        gc.collect()
        assert unheard == []

    signature = inspect.signature(test)
    extra = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    run.__dict__["__signature__"] = signature.replace(parameters=[*signature.parameters.values(), extra])
    both: Callable[..., None] = pytest.mark.parametrize("loop_factory", LOOPS)(run)
    return both


@asynccontextmanager
async def wire_to(url: str, **options: Any) -> AsyncIterator[Wire]:
    """A wire to the server at *url*."""
    client = Connector.parse(url).client()
    wire = Wire(client, **options)
    try:
        yield wire
    finally:
        await wire.aclose()
        await close_client(client)


@asynccontextmanager
async def opened(server: RealServer, **options: Any) -> AsyncIterator[Wire]:
    """A wire to a real server, which has no connection of ours afterwards."""
    async with wire_to(server.url, **options) as wire:
        yield wire
    await until(lambda: connections(server) == [], "all connections are closed")


@asynccontextmanager
async def opened_blocking(server: RealServer, reply_timeout: float = 15) -> AsyncIterator[BlockingWires]:
    """Wires for commands that wait, to a real server, which has no connection of ours afterwards."""
    client = Connector.parse(server.url).client()
    wires = BlockingWires(client, reply_timeout=reply_timeout)
    try:
        yield wires
    finally:
        await wires.aclose()
        await close_client(client)
    await until(lambda: connections(server) == [], "all connections are closed")


@asynccontextmanager
async def fake_server(
    answer: Callable[[list[bytes]], bytes | None], *, last: int | None = None
) -> AsyncIterator[str]:
    """The URL of a server that greets as a real one does, and then answers what it is told to.

    Args:
        answer: Called with each command but those of the greeting; None hangs up.
        last: How many commands of a connection are answered before the server hangs up.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands, answered = hiredis.Reader(), 0
        try:
            while data := await reader.read(65536):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    reply = b"+OK\r\n" if command[0] == b"CLIENT" else answer(command)
                    if reply is None:
                        return
                    writer.write(reply)
                    answered += 1
                    if answered == last:
                        return
        except ConnectionError:
            pass
        finally:
            writer.close()

    # The path of a socket must be short, and those of pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="tq-") as folder:
        async with await asyncio.start_unix_server(serve, f"{folder}/fake.sock"):
            yield f"unix://{folder}/fake.sock"


def connections(server: RealServer) -> list[str]:
    """The ids of our connections, as the server sees them."""
    with server.client() as admin:
        return [info["id"] for info in admin.client_list() if info["name"] == "taskqueue"]


def blocked(server: RealServer) -> int:
    """How many clients wait in a command that blocks."""
    with server.client() as admin:
        return int(admin.info("clients")["blocked_clients"])


async def until(predicate: Callable[[], object], description: str) -> None:
    """Return once *predicate* is true."""
    await asyncio.to_thread(wait_until, predicate, description)


async def steps(number: int) -> None:
    """Let the loop go round *number* times."""
    for _ in range(number):
        await asyncio.sleep(0)
