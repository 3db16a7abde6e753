"""Calls over a wire: each has its own reply, whatever happens to the others, on both event loops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from redis import exceptions as redis_errors
from redis.asyncio import UnixDomainSocketConnection

from taskqueue.connect import BlockingWires, Connector, Wire, close_client
from tests.integration.wire_scenes import (
    blocked,
    connections,
    on_both_loops,
    opened,
    opened_blocking,
    steps,
    until,
)
from tests.servers import RealServer

LARGE = b"0123456789abcdef" * 327_680  # 5 MB


@pytest.fixture(scope="module")
def running() -> Iterator[RealServer]:
    """A server for all of these tests."""
    with RealServer(acl=False, enable_debug_command="yes") as started:
        yield started


@pytest.fixture
def server(running: RealServer) -> RealServer:
    """The same, empty."""
    with running.client() as admin:
        admin.flushall()
    return running


@on_both_loops
async def test_calls_made_at_once_have_each_its_own_reply(server: RealServer) -> None:
    """All on one connection, in the order in which they were made."""
    async with opened(server) as wire:
        first = await asyncio.gather(*(wire.call("INCR", "first") for _ in range(300)))
        second = await asyncio.gather(*(wire.call("ECHO", f"word {n}") for n in range(300)))

        assert first == list(range(1, 301))
        assert second == [f"word {n}".encode() for n in range(300)]
        assert len(connections(server)) == 1


@on_both_loops
async def test_replies_are_bytes_integers_lists_and_none(server: RealServer) -> None:
    """As the server sent them; arguments may be words, bytes and numbers."""
    async with opened(server) as wire:
        reply = await wire.call("EVAL", "return {KEYS[1], ARGV[1], 5, {'a', false}}", 1, "key", b"\xff\0")

        assert reply == [b"key", b"\xff\0", 5, [b"a", None]]
        assert await wire.call("ECHO", 1.5) == b"1.5"
        assert await wire.call("GET", "nothing") is None
        assert await wire.call("SET", "word", "kept") in (b"OK", "OK")


@on_both_loops
async def test_large_arguments_and_replies_arrive_whole(server: RealServer) -> None:
    """Five megabytes there and back, and small calls among them."""
    async with opened(server) as wire:
        await wire.call("SET", "large", LARGE)
        read, small, again = await asyncio.gather(
            wire.call("GET", "large"), wire.call("ECHO", "small"), wire.call("ECHO", LARGE)
        )

        assert read == LARGE
        assert small == b"small"
        assert again == LARGE


@on_both_loops
async def test_a_cancelled_call_disturbs_no_other(server: RealServer) -> None:
    """The server is slow; one of those who wait goes away."""
    async with opened(server) as wire:
        await wire.call("PING")
        server.pause()
        try:
            tasks = [asyncio.create_task(echo(wire, n)) for n in range(3)]
            await steps(2)
            tasks[1].cancel()
            await steps(2)
            late = asyncio.create_task(echo(wire, 3))
            await steps(2)
        finally:
            server.resume()

        assert tasks[1].cancelled()
        assert [await tasks[0], await tasks[2], await late] == [b"0", b"2", b"3"]
        assert await echo(wire, 4) == b"4"
        assert len(connections(server)) == 1


async def echo(wire: Wire, number: int) -> Any:
    """Let the server repeat *number*."""
    return await wire.call("ECHO", number)


ERRORS = [
    (("EVALSHA", "0" * 40, 0), redis_errors.NoScriptError, "No matching script"),
    (("LPUSH", "word", "x"), redis_errors.ResponseError, "^WRONGTYPE Operation against a key"),
    (("NOSUCH",), redis_errors.ResponseError, "^unknown command 'NOSUCH'"),
    (
        ("EVAL", "return redis.error_reply('READONLY no')", 0),
        redis_errors.ReadOnlyError,
        "^no",
    ),
    (("EVAL", "return redis.error_reply('BUSY wait')", 0), redis_errors.ResponseError, "^BUSY wait"),
    (("EVAL", "return redis.error_reply('NOPERM no')", 0), redis_errors.NoPermissionError, "^no"),
]


@pytest.mark.parametrize(("command", "kind", "text"), ERRORS)
@on_both_loops
async def test_an_error_of_the_server_is_of_redis_pys_class(
    server: RealServer, command: tuple[Any, ...], kind: type[Exception], text: str
) -> None:
    """With the server's words; the next call has a reply of its own."""
    async with opened(server) as wire:
        await wire.call("SET", "word", "kept")
        with pytest.raises(kind, match=text) as caught:
            await wire.call(*command)

        assert type(caught.value) is kind
        assert await wire.call("GET", "word") == b"kept"


@on_both_loops
async def test_a_full_server_says_so() -> None:
    """At its memory limit it takes nothing more, and the connection stays."""
    with RealServer(acl=False, maxmemory="1mb", maxmemory_policy="noeviction") as full:
        async with opened(full) as wire:
            with pytest.raises(redis_errors.OutOfMemoryError):
                await wire.call("SET", "word", "x")

            assert await wire.call("GET", "word") is None


@on_both_loops
async def test_errors_among_good_replies_reach_who_made_the_mistake(server: RealServer) -> None:
    """Ten calls at once, every other one wrong."""
    async with opened(server) as wire:
        await wire.call("SET", "word", 7)
        calls = (wire.call("LPUSH" if n % 2 else "ECHO", "word", *["x"] * (n % 2)) for n in range(10))
        replies = await asyncio.gather(*calls, return_exceptions=True)

        assert replies[::2] == [b"word"] * 5
        assert {type(reply) for reply in replies[1::2]} == {redis_errors.ResponseError}
        assert len({id(reply) for reply in replies[1::2]}) == 5


@pytest.mark.parametrize(
    "wrong", [None, True, object(), "\ud800"], ids=["none", "bool", "object", "surrogate"]
)
@on_both_loops
async def test_what_cannot_be_sent_is_refused_and_mixes_up_nothing(server: RealServer, wrong: Any) -> None:
    """The calls before and after it have their own replies."""
    async with opened(server) as wire:
        await wire.call("PING")
        before = wire.call("ECHO", "before")
        with pytest.raises((TypeError, UnicodeEncodeError)):
            await wire.call("ECHO", wrong)
        after = wire.call("ECHO", "after")

        assert [await before, await after] == [b"before", b"after"]


@on_both_loops
async def test_commands_that_wait_have_each_a_connection_of_its_own(server: RealServer) -> None:
    """And the next ones use the same connections again."""
    async with opened_blocking(server) as wires:
        for _ in range(2):
            waiting = [asyncio.create_task(wires.call("BLPOP", f"list {n}", 0)) for n in range(2)]
            await until(lambda: blocked(server) == 2, "both wait")
            with server.client() as admin:
                admin.rpush("list 1", "one")
                admin.rpush("list 0", "zero")

            replies = [list(await task) for task in waiting]

            assert replies == [[b"list 0", b"zero"], [b"list 1", b"one"]]
            assert len(connections(server)) == 2


@on_both_loops
async def test_a_cancelled_wait_ends_on_the_server_too(server: RealServer) -> None:
    """Else the next element would be handed to nobody."""
    async with opened_blocking(server) as wires:
        waiting = asyncio.create_task(wires.call("BLPOP", "list", 0))
        await until(lambda: blocked(server) == 1, "it waits")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: blocked(server) == 0, "it waits no more")
        with server.client() as admin:
            admin.rpush("list", "kept")

        assert await wires.call("LLEN", "list") == 1
        assert list(await wires.call("BLPOP", "list", 0)) == [b"list", b"kept"]
        assert len(connections(server)) == 1


@on_both_loops
async def test_closing_ends_commands_that_wait_and_admits_no_others(server: RealServer) -> None:
    """Those who wait try again at once: that must not make new connections."""

    async def insist(wires: BlockingWires, key: str) -> list[Exception]:
        errors: list[Exception] = []
        while len(errors) < 3:
            try:
                await wires.call("BLPOP", key, 0)
            except redis_errors.ConnectionError as error:
                errors.append(error)
        return errors

    async with opened_blocking(server) as wires:
        waiting = [asyncio.create_task(insist(wires, f"list {n}")) for n in range(3)]
        await until(lambda: blocked(server) == 3, "all wait")

        await wires.aclose()

        assert [len(errors) for errors in await asyncio.gather(*waiting)] == [3, 3, 3]
        await until(lambda: connections(server) == [], "all connections are closed")


@on_both_loops
async def test_closed_before_its_first_command_it_makes_no_connection(server: RealServer) -> None:
    """A wire, and wires for commands that wait."""
    async with opened(server) as wire, opened_blocking(server) as wires:
        await wire.aclose()
        await wires.aclose()

        for call in (wire.call, wires.call):
            with pytest.raises(redis_errors.ConnectionError, match="closed"):
                await call("PING")
        assert connections(server) == []


@pytest.mark.parametrize("number", range(1, 6))
@on_both_loops
async def test_a_client_is_closed_also_when_its_closer_is_cancelled(server: RealServer, number: int) -> None:
    """However early: redis-py closes its connections in tasks that may not have begun."""
    client: Any = Connector.parse(server.url).client()
    await asyncio.gather(*(client.ping() for _ in range(3)))
    assert connections(server)

    closing = asyncio.create_task(close_client(client))
    await steps(number)
    closing.cancel()
    await asyncio.wait([closing])

    await until(lambda: connections(server) == [], "all connections are closed")


class Elsewhere:
    """Stands for a socket that is not where it was."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._inner = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@on_both_loops
async def test_an_unknown_redis_py_is_used_as_it_is(
    server: RealServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps its socket elsewhere: calls are slower, and a warning says so once."""
    connect = UnixDomainSocketConnection._connect

    async def hide(self: Any) -> None:
        await connect(self)  # type: ignore[no-untyped-call]
        self._writer = Elsewhere(self._writer)

    monkeypatch.setattr(UnixDomainSocketConnection, "_connect", hide)
    with caplog.at_level(logging.WARNING, "taskqueue.connect"):
        async with opened(server, reply_timeout=0.3) as wire:
            replies = await asyncio.gather(*(echo(wire, n) for n in range(10)))
            with pytest.raises(redis_errors.NoScriptError):
                await wire.call("EVALSHA", "0" * 40, 0)
            with pytest.raises(redis_errors.TimeoutError, match=r"no reply within 0\.3 s"):
                await wire.call("BLPOP", "list", 0)

            assert replies == [str(n).encode() for n in range(10)]
            assert await echo(wire, 10) == b"10"
            together = await wire.call_all(("ECHO", "a"), ("EVALSHA", "0" * 40, 0), ("ECHO", "b"))
            assert [each if isinstance(each, bytes) else type(each) for each in together] == [
                b"a",
                redis_errors.NoScriptError,
                b"b",
            ]
            await wire.aclose()
            for call in (echo(wire, 11), wire.call_all(("ECHO", "a"))):
                with pytest.raises(redis_errors.ConnectionError, match="closed"):
                    await call
    assert [record.getMessage() for record in caplog.records] == [
        "this version of redis-py is not known: calls are slower than they could be"
    ]


@on_both_loops
async def test_without_a_server_calls_go_through_the_client(caplog: pytest.LogCaptureFixture) -> None:
    """`memory://` has no socket to take over, and there is nothing to warn of."""
    client = Connector.parse("memory://wire").client()
    wire, wires = Wire(client), BlockingWires(client, reply_timeout=5)
    waiting = asyncio.create_task(wires.call("BLPOP", "list", 0))

    assert await echo(wire, 1) == b"1"
    await wire.call("RPUSH", "list", "one")
    assert list(await waiting) == [b"list", b"one"]
    with pytest.raises(redis_errors.NoScriptError):
        await wire.call("EVALSHA", "0" * 40, 0)
    await wire.aclose()
    await wires.aclose()
    await close_client(client)
    assert caplog.records == []
