"""Lookups by the system: on threads of their own, bounded in number, nobody's wait to stop."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskqueue.webhooks import DeliveryRefused, EgressPolicy, resolving
from taskqueue.webhooks.resolving import resolve

Lookup = Callable[..., Any]


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Lookup], None]:
    """Puts a function in the place of the system's lookup."""

    def put(lookup: Lookup) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lookup)

    return put


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a slow name server waits for; open after the test."""
    event = threading.Event()
    yield event
    event.set()


def info(*addresses: str) -> list[Any]:
    """What the system answers."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]


async def test_all_addresses_come_in_order_and_once(answered: Callable[[Lookup], None]) -> None:
    """The host is asked for once, in bytes: no older encoding of names is in between."""
    asked = []

    def lookup(host: object, port: object, **options: object) -> list[Any]:
        asked.append((host, port, options))
        return info("1.1.1.1", "8.8.8.8", "1.1.1.1")

    answered(lookup)

    assert await resolve("hooks.example") == ["1.1.1.1", "8.8.8.8"]
    assert asked == [(b"hooks.example", None, {"type": socket.SOCK_STREAM})]


async def test_what_the_system_cannot_find_is_an_oserror(answered: Callable[[Lookup], None]) -> None:
    """As the policy expects it of any resolver."""

    def lookup(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    answered(lookup)

    with pytest.raises(socket.gaierror):
        await resolve("hooks.example")


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "017700000001", "0", "localhost"]
)
async def test_what_the_system_takes_for_the_loopback_is_judged_by_the_address(host: str) -> None:
    """Were such a form ever to pass for a name, the real resolver's answer would still be refused."""
    policy = EgressPolicy()
    endpoint = policy.parse("https://hooks.example/")
    found = await resolve(host)

    assert found
    assert not any(policy.allows(address) for address in found)
    with pytest.raises(DeliveryRefused):
        await EgressPolicy(resolver=lambda _: resolve(host)).approve(endpoint)


async def test_lookups_under_way_are_bounded(
    answered: Callable[[Lookup], None], gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that gave up waiting still counts, until its thread is free again; then there is room.

    Its late answer is dropped.
    """
    monkeypatch.setattr(resolving, "_free_lookups", threading.BoundedSemaphore(1))
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    finished = threading.Event()

    def lookup(*_: object, **__: object) -> list[Any]:
        gate.wait(10)
        finished.set()
        return info("1.1.1.1")

    answered(lookup)
    slow = asyncio.create_task(resolve("slow.example"))
    await asyncio.sleep(0)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow

    with pytest.raises(OSError, match="under way"):
        await resolve("other.example")

    gate.set()
    await asyncio.to_thread(finished.wait, 10)
    for thread in threading.enumerate():
        if thread.name == "webhook-lookup":
            await asyncio.to_thread(thread.join, 10)
    assert await resolve("other.example") == ["1.1.1.1"]
    assert unheard == []


def test_a_slow_lookup_holds_up_neither_the_loop_nor_the_end_of_the_program(
    answered: Callable[[Lookup], None], gate: threading.Event
) -> None:
    """The loop can be closed under it, its thread is a daemon, and its late answer harms nobody."""
    threads = []

    def lookup(*_: object, **__: object) -> list[Any]:
        threads.append(threading.current_thread())
        gate.wait(10)
        return info("1.1.1.1")

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(resolve("slow.example"), 0.05)

    answered(lookup)
    asyncio.run(give_up())
    gate.set()
    for thread in threads:
        assert (thread.daemon, thread.name) == (True, "webhook-lookup")
        thread.join(10)
        assert not thread.is_alive()


async def test_no_thread_is_an_error_that_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without threads to spare fails this attempt, and the place is given back."""
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr(resolving, "_free_lookups", places)

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)

    with pytest.raises(OSError, match="no thread"):
        await resolve("hooks.example")

    assert places.acquire(blocking=False)
