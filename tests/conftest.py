"""Servers, queues and the check that every test leaves a sound queue behind."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest
import redis
from hypothesis import HealthCheck, settings

from taskqueue import TaskQueue
from taskqueue.connect import Connector
from taskqueue.keys import Keys
from taskqueue.store import Store
from taskqueue.testing import FakeClock
from tests.audit import audit, wipe
from tests.chaos.clusters import Cluster
from tests.servers import RealServer, available_servers

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# In the background of a shell Ctrl-C is ignored, and would be by the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = itertools.count(1)


@pytest.fixture(scope="session", params=available_servers()[:1])
def server(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    """A real server on a unix socket, for the whole session. Folders that matter try every kind."""
    with RealServer(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three primaries, each with a replica."""
    made = Cluster(Random(0))
    try:
        asyncio.run(made.start())
        yield made
    finally:
        asyncio.run(made.close())


@pytest.fixture
def queue_name() -> str:
    """A queue that no other test uses."""
    return f"test-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def keys(queue_name: str) -> Keys:
    """The keys of the test's queue."""
    return Keys(queue_name)


@pytest.fixture
def url(server: RealServer) -> str:
    """Where the test's server answers."""
    return server.url


@pytest.fixture
def client(server: RealServer) -> Iterator[redis.Redis]:
    """A blocking client of the real server, for looking and meddling."""
    with server.client() as made:
        yield made


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until the test moves it."""
    return FakeClock()


@pytest.fixture
async def queue(url: str, queue_name: str) -> AsyncIterator[TaskQueue]:
    """A connected queue."""
    async with TaskQueue.connect(url, name=queue_name) as connected:
        yield connected


@pytest.fixture
async def store(url: str, keys: Keys, clock: FakeClock) -> AsyncIterator[Store]:
    """The store of the test's queue, under the test's clock."""
    connector = Connector.parse(url)
    await connector.open()
    opened = Store(connector.client(), keys, clock=clock)
    await opened.open()
    yield opened
    await opened.close()
    await connector.close()


@pytest.fixture(autouse=True)
def sound_queue(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test on a real server: the whole audit of its queue, then nothing is left of it."""
    if not {"server", "queue_name"} <= set(request.fixturenames):
        yield
        return
    server: RealServer = request.getfixturevalue("server")
    name: str = request.getfixturevalue("queue_name")
    yield
    with server.client() as client:
        problems = audit(client, name)
        wipe(client, name)
        refused = server.refusals()
    assert problems == []
    assert refused == []
