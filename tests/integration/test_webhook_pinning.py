"""The connection goes to the address that was approved, and what comes back is never taken in whole."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
import time
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest

from taskqueue.webhooks import Delivered, DeliveryFailed, DeliveryRefused, EgressPolicy, post, posting
from tests.integration.webhook_receiver import (
    Answer,
    Receiver,
    local_policy,
    names,
    receiver,
    repeats,
    says,
    status,
)
from tests.integration.wire_scenes import on_both_loops

BODY = b"{}"


class Rebinding:
    """A name server that answers differently each time it is asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = answers
        self.asked = 0

    async def __call__(self, host: str) -> list[str]:
        self.asked += 1
        return list(self.answers[(self.asked - 1) % len(self.answers)])


@pytest.fixture
def connected_to(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were connected to; all lead to the loopback, but one hangs."""
    addresses: list[str] = []
    connect = asyncio.open_connection

    async def open_connection(address: str, port: int, **options: Any) -> Any:
        addresses.append(address)
        if address == "93.184.215.99":
            await asyncio.Event().wait()
        return await connect("127.0.0.1", port, **options)

    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    return addresses


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what was read from connections; those of the receiver's are not among them."""
    sizes: list[int] = []
    read = asyncio.StreamReader.read

    async def counting(reader: asyncio.StreamReader, n: int = -1) -> bytes:
        data = await read(reader, n)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(asyncio.StreamReader, "read", counting)
    return sizes


async def sent(there: Receiver, host: str, policy: EgressPolicy, **options: Any) -> Delivered:
    """Send to *host*, on the receiver's port."""
    return await post(there.url(host), BODY, {}, policy=policy, **options)


async def test_a_name_that_is_rebound_after_the_check_changes_nothing(connected_to: list[str]) -> None:
    """One lookup a delivery, and the connection goes to its answer, though the next would differ."""
    rebinding = Rebinding(["93.184.215.14"], ["127.0.0.1"])
    policy = local_policy(allow_loopback=False, resolver=rebinding)
    async with receiver(status(200)) as there:
        assert await sent(there, "hooks.example", policy) == Delivered(200)
        assert rebinding.asked == 1
        assert connected_to == ["93.184.215.14"]

        with pytest.raises(DeliveryRefused):
            await sent(there, "hooks.example", policy)
        assert rebinding.asked == 2
        assert connected_to == ["93.184.215.14"]

    assert [request.headers["Host"] for request in there.requests] == [f"hooks.example:{there.port}"]


@on_both_loops
async def test_after_the_check_no_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the loop nor by the system, on a connection that is really made."""

    def lookup(host: Any, *_: Any, **__: Any) -> Any:
        raise AssertionError(f"looked up: {host}")

    async with receiver(status(200)) as there:
        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        policy = local_policy(resolver=names(hooks="127.0.0.1"))

        assert await sent(there, "hooks.example", policy) == Delivered(200)


async def test_one_private_address_among_many_is_enough_to_refuse(connected_to: list[str]) -> None:
    """Not one of the others is tried."""
    found = [f"93.184.215.{number}" for number in range(1, 20)] + ["10.0.0.1"]
    async with receiver(status(200)) as there:
        with pytest.raises(DeliveryRefused):
            await sent(there, "hooks.example", local_policy(resolver=names(hooks=found)))

    assert connected_to == []


@on_both_loops
async def test_the_next_address_is_tried_where_one_takes_no_connection() -> None:
    """Hosts have several for that; the body is sent once."""
    policy = local_policy(resolver=names(hooks=["127.0.0.2", "127.0.0.3", "127.0.0.1"]))
    async with receiver(status(200)) as there:
        assert await sent(there, "hooks.example", policy) == Delivered(200)

    assert len(there.requests) == 1


async def test_where_nobody_listens_has_failed_for_now() -> None:
    """Receivers are restarted; it is tried again."""
    async with receiver(status(200)) as there:
        pass

    with pytest.raises(DeliveryFailed, match=r"webhook to 127\.0\.0\.1: it takes no connections$"):
        await post(there.url(), BODY, {}, policy=local_policy())


async def test_an_unknown_host_has_failed_for_now() -> None:
    """As all that may pass."""
    with pytest.raises(DeliveryFailed, match="no address"):
        await post("http://gone.example/", BODY, {}, policy=local_policy(resolver=names()))


async def test_addresses_that_hang_share_the_time_to_connect(connected_to: list[str]) -> None:
    """The first cannot use up what the others need."""
    policy = local_policy(resolver=names(hooks=["93.184.215.99", "93.184.215.14"]))
    async with receiver(status(200)) as there:
        started = time.monotonic()
        assert await sent(there, "hooks.example", policy, connect_timeout=0.4) == Delivered(200)
        assert time.monotonic() - started >= 0.2

    assert connected_to == ["93.184.215.99", "93.184.215.14"]


async def test_connecting_has_a_bound_over_all_addresses(connected_to: list[str]) -> None:
    """And no more than four are tried, which share all of it."""
    policy = local_policy(resolver=names(hooks=["93.184.215.99"] * 9))
    started = time.monotonic()
    async with receiver(status(200)) as there:
        with pytest.raises(DeliveryFailed, match=r"no connection within 0\.2 s"):
            await sent(there, "hooks.example", policy, connect_timeout=0.2)

    assert len(connected_to) == 4
    assert time.monotonic() - started >= 0.19


@on_both_loops
async def test_a_slow_body_after_the_status_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status has acknowledged: neither the slow rest nor the end of the time takes that back."""
    monkeypatch.setattr(posting, "_LAST_READ", 0.3)
    drip = repeats(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x", 0.01)
    async with receiver(drip) as there:
        started = time.monotonic()
        assert await sent(there, "127.0.0.1", local_policy(), total_timeout=0.2) == Delivered(200)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3b9aca00\r\n",
    ],
    ids=["to the end", "by length", "chunked"],
)
async def test_of_an_endless_body_at_most_64_kib_are_read(start: bytes, bytes_read: list[int]) -> None:
    """Then the connection is closed under it."""
    async with receiver(repeats(start, b"x" * 5000)) as there:
        assert await sent(there, "127.0.0.1", local_policy()) == Delivered(200)

    assert sum(bytes_read) == 65_536


@pytest.mark.parametrize(
    "answer",
    [
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"),
    ],
    ids=["cut short", "broken chunks"],
)
async def test_a_broken_body_does_not_take_the_status_back(answer: Answer) -> None:
    """Sending again what was acknowledged would help nobody."""
    async with receiver(answer) as there:
        assert await sent(there, "127.0.0.1", local_policy()) == Delivered(200)


async def test_a_gzip_bomb_is_not_unpacked() -> None:
    """50 MB in 50 KB, sent though nothing but `identity` was accepted."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        for _ in range(50):
            file.write(bytes(10**6))
    async with receiver(status(200, "Content-Encoding: gzip", body=packed.getvalue())) as there:
        tracemalloc.start()
        try:
            assert await sent(there, "127.0.0.1", local_policy()) == Delivered(200)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert there.requests[0].headers["Accept-Encoding"] == "identity"
    assert peak < 2_000_000
