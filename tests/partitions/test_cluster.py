"""A partitioned queue on a cluster, each partition on a node of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from scheduler import Scheduler
from taskqueue import TaskSpec
from taskqueue.partitions import PartitionedQueue
from tests.chaos.clusters import Cluster
from tests.partitions.conftest import PARTITIONS, Place, name_on_all_nodes
from tests.partitions.test_order import FREE, LIMIT, LIMITED, TENANTS, homes_of, play

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def place(cluster: Cluster) -> Iterator[Place]:
    """The cluster; three partitions, three nodes."""
    found = Place(cluster, name_on_all_nodes(cluster))
    yield found
    assert found.audit() == []


async def test_order_limits_and_counts_hold_over_nodes(place: Place) -> None:
    """What test_order.py shows on one server, with two workers and more tasks."""
    dice = Random(7)
    rounds = [
        [
            (dice.choice((FREE, FREE, LIMITED)), dice.choice(TENANTS), dice.randint(1, 5))
            for _ in range(dice.randint(50, 200))
        ]
        for _ in range(4)
    ]

    log, crew = await play(place, rounds, [3, 8])

    assert set(crew.ran) == set(log.accepted)
    assert set(crew.ran.values()) == {1}
    assert len({each.partition for each in log.claimed}) == PARTITIONS
    assert log.most_passed_over(FREE) <= 8
    assert log.disorders_inside(FREE) == []
    assert crew.most[LIMITED] <= LIMIT


async def test_work_goes_on_beside_a_node_that_is_away(
    place: Place, cluster: Cluster, queue: PartitionedQueue
) -> None:
    """One partition's primary and replica stand still while its task runs: tasks of the others run on. When
    it is back, what its task returned is stored, and nothing has run twice.
    """
    tenants = homes_of(queue)
    gone = tenants[1]
    release, begun = asyncio.Event(), asyncio.Event()
    ran: list[str] = []
    scheduler = Scheduler(place.url, name=place.name, partitions=PARTITIONS)

    @scheduler.handler("T")
    async def run(payload: dict[str, str], context: Any) -> str:
        if context.task.tenant == gone:
            begun.set()
            await release.wait()
        ran.append(context.task.id)
        return "done"

    primary = cluster.primary_of(queue.partition_of(gone).name)
    nodes = [cluster.replica_of(primary), primary]
    async with scheduler:
        held = await queue.enqueue("T", {}, tenant=gone)
        await begun.wait()
        for node in nodes:
            node.pause()
        try:
            release.set()
            here = [TaskSpec(type="T", payload={}, tenant=tenants[number % 3]) for number in (0, 2) * 20]
            tasks = await queue.enqueue_many(here)
            for task in tasks:
                await queue.wait(task.id, timeout=30)
            assert held.id in ran
        finally:
            for node in nodes:
                node.resume()
        assert (await queue.wait(held.id, timeout=30)).result == "done"
        last = await queue.enqueue("T", {}, tenant=gone)
        await queue.wait(last.id, timeout=30)
        await cluster.settled()

    assert sorted(ran) == sorted([held.id, last.id, *(task.id for task in tasks)])


async def test_work_goes_on_where_a_partition_has_moved_to(
    place: Place, cluster: Cluster, queue: PartitionedQueue
) -> None:
    """Its slot goes to another node, as whoever balances a cluster would have it, and back."""
    ran: list[str] = []
    scheduler = Scheduler(queue=queue)

    @scheduler.handler("T")
    async def run(payload: dict[str, str], context: Any) -> None:
        ran.append(context.task.id)

    moved = queue.partitions[0].name
    home = cluster.primary_of(moved)
    ids: list[str] = []
    async with scheduler:
        for target in (cluster.others(home)[0], home):
            moving = asyncio.create_task(cluster.move(moved, target, Random(0), longest_pause=0.3))
            while len(ids) % 30 or not moving.done():
                task = await queue.enqueue("T", {}, tenant=homes_of(queue)[len(ids) % 3])
                ids.append(task.id)
            await moving
            await cluster.settled()
            for task_id in ids:
                await queue.wait(task_id, timeout=20)

    assert sorted(ran) == sorted(ids)
