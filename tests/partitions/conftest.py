"""Partitioned queues on one server and on a cluster; in the end each partition is sound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from taskqueue.partitions import PartitionedQueue
from tests.audit import audit, wipe
from tests.chaos.clusters import Cluster
from tests.servers import RealServer

PARTITIONS = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where a test's queue is: one server, or a cluster in which each partition has a node of its own."""

    server: RealServer | Cluster
    name: str
    partitions: int = PARTITIONS

    @property
    def url(self) -> str:
        """Where producers and workers connect to."""
        return self.server.url if isinstance(self.server, RealServer) else self.server.direct_url

    def connect(self, **options: Any) -> Any:
        """Return the queue, about to be opened."""
        return PartitionedQueue.connect(self.url, name=self.name, partitions=self.partitions, **options)

    def holder(self, number: int) -> redis.Redis:
        """Return a client of the server that has a partition."""
        if isinstance(self.server, RealServer):
            return self.server.client()
        return self.server.holder(f"{self.name}.{number}")

    def audit(self) -> list[str]:
        """Return what is wrong with the partitions, and take all of them away."""
        problems = []
        for number in range(self.partitions):
            with self.holder(number) as client:
                problems += audit(client, f"{self.name}.{number}")
                wipe(client, f"{self.name}.{number}")
        return problems


def name_on_all_nodes(cluster: Cluster) -> str:
    """Return a name whose partitions are on three different nodes: nothing is left to luck."""
    for number in range(10_000):
        name = f"spread-{number}"
        if len({cluster.primary_of(f"{name}.{each}").port for each in range(PARTITIONS)}) == PARTITIONS:
            return name
    raise LookupError("no name has its partitions on three nodes")


@pytest.fixture
def place(server: RealServer, queue_name: str) -> Iterator[Place]:
    """One server for all partitions; a file of tests says so if it wants the cluster."""
    found = Place(server, queue_name)
    yield found
    assert found.audit() == []


@pytest.fixture
async def queue(place: Place) -> AsyncIterator[PartitionedQueue]:
    """A connected queue of three partitions."""
    async with place.connect() as connected:
        yield connected
