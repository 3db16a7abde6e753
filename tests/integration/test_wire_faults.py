"""Wires when the server, the connection or whoever holds them goes away, on both event loops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis import exceptions as redis_errors

from taskqueue.connect import Wire
from tests.integration.wire_scenes import (
    blocked,
    connections,
    fake_server,
    on_both_loops,
    opened,
    steps,
    until,
    wire_to,
)
from tests.servers import RealServer


@pytest.fixture(scope="module")
def running() -> Iterator[RealServer]:
    """A server for those of these tests that let it live."""
    with RealServer(acl=False, enable_debug_command="yes") as started:
        yield started


@pytest.fixture
def server(running: RealServer) -> RealServer:
    """The same, empty."""
    with running.client() as admin:
        admin.flushall()
    return running


async def errors_of(*calls: Any) -> list[BaseException]:
    """What the calls raise, all of them; each has an exception of its own."""
    replies = await asyncio.gather(*calls, return_exceptions=True)
    errors = [reply for reply in replies if isinstance(reply, BaseException)]
    assert len(errors) == len(replies), replies
    assert len({id(error) for error in errors}) == len(errors)
    return errors


def is_all(errors: list[BaseException], kind: type[BaseException]) -> bool:
    """Whether all are of exactly this class of redis-py."""
    return {type(error) for error in errors} == {kind}


def tasks_of(wire: Wire, number: int) -> list[asyncio.Task[Any]]:
    """Calls of that many tasks."""

    async def echo(word: int) -> Any:
        return await wire.call("ECHO", word)

    return [asyncio.create_task(echo(n)) for n in range(number)]


def accepted(server: RealServer) -> int:
    """How many connections the server has had, but those that ask this."""
    with server.client() as admin:
        before = int(admin.info("stats")["total_connections_received"])
        admin.config_resetstat()
    return before - 1


@on_both_loops
async def test_a_connection_cut_by_the_server_fails_all_who_wait(server: RealServer) -> None:
    """Behind a command that blocks, which nobody should send here; the next call connects again."""
    async with opened(server) as wire:
        await wire.call("PING")
        (old,) = connections(server)
        waiting = [wire.call("BLPOP", "list", 0), *(wire.call("ECHO", n) for n in range(5))]
        await until(lambda: blocked(server) == 1, "it waits")
        with server.client() as admin:
            admin.client_kill_filter(_id=old)

        assert is_all(await errors_of(*waiting), redis_errors.ConnectionError)
        assert await wire.call("ECHO", "on") == b"on"
        assert connections(server) != [old]


@on_both_loops
async def test_a_server_that_dies_and_comes_back_is_found_again() -> None:
    """Calls fail while it is away, soon and without a hang."""
    with RealServer(acl=False) as mortal:
        async with opened(mortal, reply_timeout=3) as wire:
            await wire.call("PING")
            waiting = [wire.call("BLPOP", "list", 0), wire.call("PING")]
            await until(lambda: blocked(mortal) == 1, "it waits")
            mortal.kill9()

            assert is_all(await errors_of(*waiting), redis_errors.ConnectionError)
            assert is_all(await errors_of(wire.call("PING")), redis_errors.ConnectionError)
            mortal.start()
            assert await wire.call("ECHO", "on") == b"on"


@on_both_loops
async def test_a_frozen_server_is_given_up_after_the_time_for_a_reply(server: RealServer) -> None:
    """Calls under way, and those that then cannot connect; they work when it goes on."""
    async with opened(server, reply_timeout=0.2) as wire:
        await wire.call("PING")
        server.pause()
        try:
            began = time.monotonic()
            waiting = await errors_of(*(wire.call("ECHO", n) for n in range(3)))
            connecting = await errors_of(*(wire.call("ECHO", n) for n in range(3)))
            elapsed = time.monotonic() - began
        finally:
            server.resume()

        assert is_all(waiting + connecting, redis_errors.TimeoutError)
        assert [str(waiting[0]), str(connecting[0])] == [
            "no reply within 0.2 s",
            "no connection within 0.2 s",
        ]
        assert 0.35 < elapsed < 2
        assert await answer(wire) == b"on"


async def answer(wire: Wire) -> Any:
    """Call until it works: a server that was frozen, or a slow machine, may need a moment."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await wire.call("ECHO", "on")
            except redis_errors.TimeoutError:
                continue


@on_both_loops
async def test_a_long_series_of_answers_is_no_silence(server: RealServer) -> None:
    """Somebody always waits, for longer in all than one reply may take."""

    async def sleep_on_the_server(wire: Wire) -> None:
        for _ in range(6):
            await wire.call("DEBUG", "SLEEP", 0.06)

    async with opened(server, reply_timeout=0.5) as wire:
        began = time.monotonic()
        await asyncio.gather(sleep_on_the_server(wire), sleep_on_the_server(wire))

        assert time.monotonic() - began > 0.6
        assert len(connections(server)) == 1


@on_both_loops
async def test_a_call_after_a_long_rest_has_all_its_time(server: RealServer) -> None:
    """The clock begins with the call, not with the last reply."""
    async with opened(server, reply_timeout=0.4) as wire:
        await wire.call("PING")
        await asyncio.sleep(0.3)

        await wire.call("DEBUG", "SLEEP", 0.25)

        assert len(connections(server)) == 1


@on_both_loops
async def test_callers_share_the_attempt_to_connect() -> None:
    """While the server is away each has an exception of its own; once it is back, they share a connection."""
    with RealServer(acl=False) as mortal:
        async with opened(mortal) as wire:
            pool = wire._client.connection_pool
            attempts: list[Any] = []
            make = pool.make_connection

            def attempt() -> Any:
                attempts.append(make())
                return attempts[-1]

            pool.make_connection = attempt
            mortal.stop()
            errors = await errors_of(*(wire.call("PING") for _ in range(20)))

            assert is_all(errors, redis_errors.ConnectionError)
            assert len({str(error) for error in errors}) == 1
            assert all(error.__cause__ is not None for error in errors)
            assert len(attempts) == 1
            mortal.start()
            replies = await asyncio.gather(*(wire.call("INCR", "count") for _ in range(20)))
            assert replies == list(range(1, 21))
            assert len(attempts) == 2


@pytest.mark.parametrize("gone", [[0], [1], [0, 2], [0, 1, 2]], ids=str)
@on_both_loops
async def test_one_who_waits_for_the_connection_may_go_away(server: RealServer, gone: list[int]) -> None:
    """Also the one who began it: no other is disturbed."""
    async with opened(server) as wire:
        server.pause()
        try:
            tasks = tasks_of(wire, 3)
            await steps(3)
            for number in gone:
                tasks[number].cancel()
            await steps(3)
        finally:
            server.resume()

        replies = await asyncio.gather(*tasks, return_exceptions=True)

        assert [n for n, reply in enumerate(replies) if isinstance(reply, asyncio.CancelledError)] == gone
        assert {reply for n, reply in enumerate(replies) if n not in gone} == {
            str(n).encode() for n in range(3) if n not in gone
        }
        assert await wire.call("ECHO", "on") == b"on"
        assert len(connections(server)) == 1


@on_both_loops
async def test_a_master_that_was_demoted_is_left() -> None:
    """Who connects again may find the new master; those behind the refused call do so too."""
    with RealServer(acl=False) as demoted:
        async with opened(demoted) as wire:
            await wire.call("SET", "word", "first")
            with demoted.client() as admin:
                admin.replicaof("127.0.0.1", "1")
            accepted(demoted)
            refused, behind = await errors_of(wire.call("SET", "word", "second"), wire.call("BLPOP", "l", 0))
            with demoted.client() as admin:
                admin.replicaof("NO", "ONE")

            assert type(refused) is redis_errors.ReadOnlyError
            assert type(behind) is redis_errors.ConnectionError
            assert await wire.call("GET", "word") == b"first"
            assert accepted(demoted) == 2  # that of the command above, and the new one


@on_both_loops
async def test_a_master_that_has_lost_its_replicas_is_left() -> None:
    """It may have been replaced, and not know it yet: who connects again asks the Sentinels."""
    with RealServer(acl=False, min_replicas_to_write="1") as lonely:
        async with opened(lonely) as wire:
            refused, behind = await errors_of(wire.call("SET", "word", "first"), wire.call("GET", "word"))
            assert await wire.call("GET", "word") is None

    assert str(refused).startswith("NOREPLICAS")
    assert type(behind) is redis_errors.ConnectionError


NONSENSE = [b"%$!\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*1\r\n:x\r\n", b"\0\0"]


@pytest.mark.parametrize("nonsense", NONSENSE)
@on_both_loops
async def test_nonsense_ends_the_connection(nonsense: bytes) -> None:
    """All who wait are told, and later calls connect again."""

    def reply(command: list[bytes]) -> bytes:
        return nonsense if command[0] == b"BAD" else b"+good\r\n"

    async with fake_server(reply) as url, wire_to(url) as wire:
        await wire.call("GOOD")
        errors = await errors_of(wire.call("BAD"), wire.call("WORSE"))

        assert is_all(errors, redis_errors.InvalidResponse)
        assert await wire.call("GOOD") in (b"good", "good")


@on_both_loops
async def test_a_reply_that_nobody_asked_for_ends_the_connection() -> None:
    """Else every later call would have the reply of the one before."""

    def reply(command: list[bytes]) -> bytes:
        return b"$3\r\none\r\n$3\r\ntwo\r\n" if command[0] == b"TWICE" else b"$4\r\ngood\r\n"

    async with fake_server(reply) as url, wire_to(url) as wire:
        for _ in range(3):
            assert await wire.call("TWICE") == b"one"
            assert await wire.call("GOOD") == b"good"


@on_both_loops
async def test_a_server_that_hangs_up_is_not_waited_for() -> None:
    """It closes the connection in place of a reply."""
    async with fake_server(lambda _: None) as url, wire_to(url, reply_timeout=5) as wire:
        for _ in range(3):
            errors = await errors_of(wire.call("PING"), wire.call("PING"))
            assert is_all(errors, redis_errors.ConnectionError)


@pytest.mark.parametrize("last", range(1, 8))
@on_both_loops
async def test_a_server_that_greets_and_hangs_up_is_not_tried_for_ever(last: int) -> None:
    """At whatever command of the greeting, which depends on the version of redis-py, or after it."""
    async with fake_server(lambda _: b"+OK\r\n", last=last) as url, wire_to(url, reply_timeout=5) as wire:
        async with asyncio.timeout(2):
            replies = await asyncio.gather(*(wire.call("PING") for _ in range(20)), return_exceptions=True)

        assert {type(reply) for reply in replies[7:]} == {redis_errors.ConnectionError}


@pytest.mark.parametrize("reply", [b"-ERR no\r\n", b"-LOADING not yet\r\n", b"nonsense\r\n", None])
@on_both_loops
async def test_a_greeting_that_fails_is_told_to_all_who_wait(reply: bytes | None) -> None:
    """With an error that the callers know how to treat."""
    async with fake_server(lambda _: reply) as url, wire_to(f"{url}?db=1") as wire:
        errors = await errors_of(*(wire.call("PING") for _ in range(3)))

        assert all(isinstance(error, redis_errors.RedisError) for error in errors)


@on_both_loops
async def test_closing_fails_the_calls_under_way_and_all_later_ones(server: RealServer) -> None:
    """Also when it is closed again."""
    async with opened(server) as wire:
        await wire.call("PING")
        waiting = [wire.call("BLPOP", "list", 0), wire.call("PING")]
        await until(lambda: blocked(server) == 1, "it waits")

        await wire.aclose()
        await wire.aclose()

        assert is_all(await errors_of(*waiting), redis_errors.ConnectionError)
        assert is_all(await errors_of(wire.call("PING"), wire.call("PING")), redis_errors.ConnectionError)
        assert connections(server) == []


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "awake"])
@on_both_loops
async def test_closing_while_it_connects_fails_those_who_wait(server: RealServer, frozen: bool) -> None:
    """At whatever step, it tells them that it was closed, not that they were cancelled."""
    for number in range(8):
        async with opened(server) as wire:
            if frozen:
                server.pause()
            try:
                tasks = tasks_of(wire, 3)
                await steps(number)
                async with asyncio.timeout(2):
                    await wire.aclose()
                    errors = await errors_of(*tasks)
                    later = await errors_of(wire.call("PING"))
            finally:
                server.resume()

            assert is_all(errors + later, redis_errors.ConnectionError), number


@on_both_loops
async def test_closing_may_be_cancelled(server: RealServer) -> None:
    """The connection is gone all the same."""
    for number in range(1, 5):
        async with opened(server) as wire:
            tasks = tasks_of(wire, 2)
            await steps(number * 2)
            closing = asyncio.create_task(wire.aclose())
            await steps(1)
            closing.cancel()
            await asyncio.wait([closing])

            assert is_all(await errors_of(*tasks), redis_errors.ConnectionError)
            await until(lambda: connections(server) == [], "the connection is closed")


@on_both_loops
async def test_a_wire_that_is_cut_connects_again(server: RealServer) -> None:
    """Calls under way fail, and end on the server too; cutting twice, or nothing, does no harm."""
    async with opened(server) as wire:
        wire.cut()
        await wire.call("PING")
        waiting = [wire.call("BLPOP", "list", 0), wire.call("PING")]
        await until(lambda: blocked(server) == 1, "it waits")
        wire.cut()
        wire.cut()

        assert is_all(await errors_of(*waiting), redis_errors.ConnectionError)
        await until(lambda: blocked(server) == 0, "it waits no more")
        assert await wire.call("ECHO", "on") == b"on"
