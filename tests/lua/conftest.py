"""Every test of a script runs on every server that this machine has."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis

from taskqueue.connect import Connector
from taskqueue.keys import Keys
from taskqueue.ranking import Order
from taskqueue.store import Store
from taskqueue.testing import FakeClock
from tests.lua.scene import Scene
from tests.servers import RealServer, available_servers

MakeScene = Callable[..., Awaitable[Scene]]

WORD = re.compile(r'^  \{"(\w+)"', re.MULTILINE)


def heed_headers(store: Store) -> None:
    """Fail a call whose reply begins with a word that the header of its script does not have."""
    caller = store._caller
    run = caller.run

    async def checked(name: str, /, **named: Any) -> Any:
        reply = await run(name, **named)
        words = WORD.findall(caller.scripts[name].sections["RETURNS"])
        # Others answer with one word for each task, or with what they read.
        if {"no_queue"} < set(words):
            assert reply[0].decode() in words, f"{name} answers {reply[0]!r}"
        return reply

    caller.run = checked  # type: ignore[method-assign]


@pytest.fixture(scope="session", params=available_servers())
def server(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    """A real server of each kind, on a unix socket."""
    with RealServer(request.param) as running:
        yield running


@pytest.fixture
async def make_scene(url: str, keys: Keys, client: redis.Redis, clock: FakeClock) -> AsyncIterator[MakeScene]:
    """Opens the test's queue as the test wants it: order, policy, retention, clock."""
    async with AsyncExitStack() as stack:

        async def make(
            order: Order | None = None,
            policy: Any = None,
            retention: Any = None,
            *,
            clock: FakeClock = clock,
        ) -> Scene:
            connector = Connector.parse(url)
            await connector.open()
            stack.push_async_callback(connector.close)
            store = Store(connector.client(), keys, clock=clock, patience=2.0)
            stack.push_async_callback(store.close)
            await store.open(order, policy, retention)
            heed_headers(store)
            return Scene(store, clock, client)

        yield make


@pytest.fixture
async def scene(make_scene: MakeScene) -> Scene:
    """The test's queue: strict order, strict policy."""
    return await make_scene()
