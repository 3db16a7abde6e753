"""Every lesson is run twice: on a real server, and on `memory://`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from taskqueue import TaskQueue
from taskqueue.testing import FakeClock
from tests.servers import RealServer


@pytest.fixture(params=["real", "memory"])
def url(request: pytest.FixtureRequest, server: RealServer, queue_name: str) -> str:
    """Where the lesson's server answers."""
    return server.url if request.param == "real" else f"memory://{queue_name}"


@pytest.fixture
async def queue(url: str, queue_name: str, clock: FakeClock) -> AsyncIterator[TaskQueue]:
    """A queue that nobody else uses, and that lives by the lesson's clock."""
    async with TaskQueue.connect(url, name=queue_name, clock=clock) as connected:
        yield connected
