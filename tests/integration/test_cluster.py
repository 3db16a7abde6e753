"""A queue in a cluster: all of it is in one slot, so on one node, which may change while it works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from scheduler import Scheduler
from taskqueue import DurabilityNotReached, Task, TaskQueue, TaskState
from tests.audit import audit
from tests.chaos.clusters import Cluster

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=[0, 1, 2], ids=["first node", "second node", "third node"])
def name(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    """A queue on a certain node: what goes to any other one must be noticed."""
    names = (f"cluster-{request.param}-{number}" for number in range(1000))
    return next(each for each in names if cluster.primary_of(each) is cluster.nodes[request.param])


@pytest.fixture
async def queue(cluster: Cluster, name: str) -> AsyncIterator[TaskQueue]:
    """The queue, whose keys are sound in the end."""
    async with TaskQueue.connect(cluster.direct_url, name=name) as connected:
        yield connected
    with cluster.holder(name) as client:
        assert audit(client, name) == []


async def test_a_worker_runs_what_is_on_its_queues_node(queue: TaskQueue, cluster: Cluster) -> None:
    """Twenty tasks; what is looked up with plain commands is found as well."""
    async with working(cluster, queue.name):
        tasks = [await queue.enqueue("NOTE", {"number": number}) for number in range(20)]
        ended = [await queue.wait(task.id, timeout=20) for task in tasks]

        assert {task.state for task in ended} == {TaskState.COMPLETED}
        assert {task.id async for task in queue.tasks()} >= {task.id for task in tasks}
        assert len(await queue.workers()) == 1

    assert await queue.workers() == []


async def test_what_no_replica_has_is_not_confirmed(queue: TaskQueue, cluster: Cluster) -> None:
    """The replica of the queue's node stands still; those of the other nodes would confirm anything."""
    replica = cluster.replica_of(cluster.primary_of(queue.name))
    await queue.enqueue("OTHER", {}, durability="replicated")

    replica.pause()
    try:
        with pytest.raises(DurabilityNotReached):
            await queue.enqueue("OTHER", {}, id="unconfirmed", durability="replicated")
    finally:
        replica.resume()

    await queue.enqueue("OTHER", {}, id="unconfirmed", durability="replicated")
    await queue.clear()


async def test_work_goes_on_where_the_queue_has_moved_to(queue: TaskQueue, cluster: Cluster) -> None:
    """Its slot is moved to another node, key by key, while tasks come and go, and back: each runs once."""
    ran: list[int] = []
    home = cluster.primary_of(queue.name)
    away = cluster.others(home)[0]
    count = 0
    async with working(cluster, queue.name, ran):
        for target in (away, home):
            moving = asyncio.create_task(cluster.move(queue.name, target, Random(0), longest_pause=0.3))
            tasks: list[Task] = []
            while len(tasks) < 20 or not moving.done():
                tasks.append(await queue.enqueue("NOTE", {"number": count}))
                count += 1
            await moving
            await cluster.settled()
            assert cluster.primary_of(queue.name) is target
            # Nobody is told where it is now; whoever was connected to the other node finds out.
            for task in [*tasks, await queue.enqueue("NOTE", {"number": count})]:
                await queue.wait(task.id, timeout=10)
            count += 1

    assert sorted(ran) == list(range(count))


async def test_work_goes_on_when_a_replica_takes_over(queue: TaskQueue, cluster: Cluster) -> None:
    """The primary hands over to its replica on request, and takes the queue back later."""
    ran: list[int] = []
    async with working(cluster, queue.name, ran):
        for number in range(2):
            primary = cluster.primary_of(queue.name)
            with cluster.replica_of(primary).client() as client:
                client.execute_command("CLUSTER", "FAILOVER")
            await cluster.replaced(queue.name, primary)
            task = await queue.enqueue("NOTE", {"number": number})
            await queue.wait(task.id, timeout=10)
            await cluster.settled()

    assert ran == [0, 1]


def working(cluster: Cluster, name: str, ran: list[int] | None = None) -> Scheduler:
    """Return a worker that keeps what it ran."""
    scheduler = Scheduler(cluster.direct_url, name=name)

    @scheduler.handler("NOTE")
    async def note(payload: dict[str, int]) -> None:
        if ran is not None:
            ran.append(payload["number"])

    return scheduler
