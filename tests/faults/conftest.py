"""One server, one queue, and what plays stories on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.audit import wipe
from tests.faults.exploring import Explorer
from tests.faults.injecting import Injector


@pytest.fixture
def explorer(url: str, queue_name: str, client: redis.Redis) -> Iterator[Explorer]:
    """Plays stories with faults."""
    injector = Injector()
    with injector.installed():
        yield Explorer(url, queue_name, client, injector)
    # Every state was audited; what is left may be one that was damaged on purpose.
    wipe(client, queue_name)
