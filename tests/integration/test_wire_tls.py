"""Wires over TLS, on both event loops: a server with a certificate hands on to a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from redis import exceptions as redis_errors

from taskqueue.connect import Wire
from tests.integration.wire_scenes import blocked, connections, on_both_loops, steps, until, wire_to
from tests.servers import RealServer
from tests.tls import relayed

LARGE = b"0123456789abcdef" * 65_536  # 1 MB


@pytest.fixture(scope="module")
def server() -> Iterator[RealServer]:
    """A server for all of these tests."""
    with RealServer() as started:
        yield started


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the certificates."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """What a client needs to trust them."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@asynccontextmanager
async def relay(server: RealServer, authority: trustme.CA) -> AsyncIterator[int]:
    """The port where the server answers over TLS; nobody is connected afterwards."""
    async with relayed(server, authority.issue_cert("localhost"), None) as port:
        yield port
        await until(lambda: connections(server) == [], "all connections are closed")


@asynccontextmanager
async def opened(
    server: RealServer, authority: trustme.CA, ca_file: Path, reply_timeout: float = 5
) -> AsyncIterator[Wire]:
    """A wire to the server over TLS, of which nothing is left afterwards."""
    async with relay(server, authority) as port:
        url = f"rediss://localhost:{port}?ssl_ca_certs={ca_file}"
        async with wire_to(url, reply_timeout=reply_timeout) as wire:
            yield wire


@on_both_loops
async def test_calls_have_each_its_own_reply(
    server: RealServer, authority: trustme.CA, ca_file: Path
) -> None:
    """Many at once, small and large ones, on one connection."""
    async with opened(server, authority, ca_file) as wire:
        await wire.call("SET", "large", LARGE)
        replies = await asyncio.gather(*(wire.call("ECHO", n) for n in range(200)))
        read, small, again = await asyncio.gather(
            wire.call("GET", "large"), wire.call("ECHO", "small"), wire.call("ECHO", LARGE)
        )

        assert replies == [str(n).encode() for n in range(200)]
        assert (read, small, again) == (LARGE, b"small", LARGE)
        assert len(connections(server)) == 1


@on_both_loops
async def test_a_certificate_of_somebody_else_is_refused(server: RealServer, ca_file: Path) -> None:
    """No call goes out."""
    async with opened(server, trustme.CA(), ca_file) as wire:
        with pytest.raises(redis_errors.ConnectionError, match=r"(?i)certificate"):
            await wire.call("PING")


@on_both_loops
async def test_a_lost_connection_fails_all_who_wait(
    server: RealServer, authority: trustme.CA, ca_file: Path
) -> None:
    """And the next call makes another."""
    async with opened(server, authority, ca_file) as wire:
        await wire.call("PING")
        (old,) = connections(server)
        waiting = asyncio.gather(wire.call("BLPOP", "list", 0), wire.call("PING"), return_exceptions=True)
        await until(lambda: blocked(server) == 1, "it waits")
        with server.client() as admin:
            admin.client_kill_filter(_id=old)

        assert [type(error) for error in await waiting] == [redis_errors.ConnectionError] * 2
        assert await wire.call("ECHO", "on") == b"on"
        assert connections(server) != [old]


@on_both_loops
async def test_a_frozen_server_is_given_up_after_the_time_for_a_reply(
    server: RealServer, authority: trustme.CA, ca_file: Path
) -> None:
    """TLS would say goodbye first, and be answered: that is not waited for."""
    async with opened(server, authority, ca_file, reply_timeout=0.3) as wire:
        await wire.call("PING")
        server.pause()
        try:
            for when in ("reply", "connection"):
                with pytest.raises(redis_errors.TimeoutError, match=f"no {when} within"):
                    await wire.call("PING")
            async with asyncio.timeout(2):
                await wire.aclose()
        finally:
            server.resume()


@on_both_loops
async def test_closing_fails_the_calls_under_way(
    server: RealServer, authority: trustme.CA, ca_file: Path
) -> None:
    """At every step of connecting, and when it is connected."""
    for number in (0, 1, 2, 3, 5, 8, 13, 21):
        async with opened(server, authority, ca_file) as wire:
            calls = [asyncio.create_task(call(wire)) for _ in range(2)]
            await steps(number)
            await wire.aclose()

            errors = await asyncio.gather(*calls, return_exceptions=True)

            assert [type(error) for error in errors] == [redis_errors.ConnectionError] * 2, number


async def call(wire: Wire) -> None:
    """Wait for what does not come."""
    await wire.call("BLPOP", "list", 0)
