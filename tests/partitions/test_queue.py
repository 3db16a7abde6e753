"""A partitioned queue as producers and operators hold it, on one server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scheduler import Scheduler
from taskqueue import (
    IdempotencyConflict,
    InvalidTask,
    PayloadTooLarge,
    Task,
    TaskNotFound,
    TaskQueue,
    TaskQueueError,
    TaskSpec,
    TaskState,
)
from taskqueue.errors import InvalidSetting, QueueMismatch
from taskqueue.partitions import PartitionedQueue
from taskqueue.partitions.routing import Routing, divided
from tests.partitions.conftest import PARTITIONS, Place

TENANTS = [f"tenant-{number}" for number in range(12)]


async def test_another_number_of_partitions_is_refused(place: Place, queue: PartitionedQueue) -> None:
    """Tenants would be looked for in the wrong place; nothing is made by whoever is refused."""
    with pytest.raises(QueueMismatch, match="partitions = 3, this program asks for 4"):
        await PartitionedQueue.connect(place.url, name=place.name, partitions=4)

    with place.holder(0) as client:
        assert client.keys(f"*{{{place.name}.3}}*") == []
    async with place.connect() as again:
        assert len(again.partitions) == PARTITIONS


@pytest.mark.parametrize("partitions", [0, 1001, True, "3"])
def test_a_number_that_is_none_is_refused_before_anything_is_opened(partitions: int) -> None:
    """As every other option is."""
    with pytest.raises(InvalidSetting, match="partitions"):
        PartitionedQueue.connect("redis://127.0.0.1:1", partitions=partitions)


def test_a_name_that_is_too_long_with_its_number_is_refused() -> None:
    """64 characters are all that a queue's name may have."""
    with pytest.raises(InvalidSetting, match="name"):
        PartitionedQueue.connect("redis://127.0.0.1:1", name="n" * 63, partitions=2)


async def test_all_of_a_tenant_is_in_one_partition(queue: PartitionedQueue) -> None:
    """Its tasks, in their order; other tenants are elsewhere."""
    tasks = {tenant: [await queue.enqueue("T", {}, tenant=tenant) for _ in range(3)] for tenant in TENANTS}

    homes = set()
    for tenant, mine in tasks.items():
        home = queue.partition_of(tenant)
        homes.add(home.name)
        assert [task.id async for task in home.tasks(tenant=tenant)] == [task.id for task in mine]
        assert (await queue.stats(tenant=tenant)).queued == 3
    assert len(homes) == PARTITIONS
    assert (await queue.stats()).queued == 3 * len(TENANTS)


def test_a_tenant_stays_where_it_is_for_good() -> None:
    """Other versions of Python and of this package must find it: these numbers never change."""
    routing = Routing(1000)

    assert [routing.of_tenant(name) for name in ("default", "acme", "a@b.c")] == [234, 185, 934]


async def test_a_task_is_found_by_its_id_alone(queue: PartitionedQueue) -> None:
    """By one made here, and by one of the caller's."""
    for tenant in TENANTS:
        made = await queue.enqueue("T", {"of": tenant}, tenant=tenant)
        own = await queue.enqueue("T", {"of": tenant}, tenant=tenant, id=f"own-{tenant}")
        for task in (made, own):
            for found in (await queue.get(task.id), await queue.get(task.id, tenant=tenant)):
                assert found is not None
                assert (found.id, found.tenant, found.payload) == (task.id, tenant, {"of": tenant})
            assert await queue.get(task.id, tenant="somebody-else") is None
            assert (await queue.cancel(task.id)).state is TaskState.CANCELLED
            assert (await queue.wait(task.id, timeout=5)).payload == {"of": tenant}
            assert (await queue.redrive(task.id)).state is TaskState.QUEUED

    assert await queue.get("nobody") is None
    assert await queue.get("no id at all") is None
    with pytest.raises(TaskNotFound):
        await queue.cancel("nobody")
    with pytest.raises(TaskNotFound):
        await queue.wait("no id at all", timeout=0)


async def test_an_id_that_says_another_partition_is_refused(queue: PartitionedQueue) -> None:
    """It would be looked for there. In the right place it is an id like any other, here one in use."""
    first = await queue.enqueue("T", {}, tenant="acme")
    unused = "00000000" + first.id[8:]
    elsewhere = next(each for each in TENANTS if queue.partition_of(each) is not queue.partition_of("acme"))

    with pytest.raises(InvalidTask, match="another partition"):
        await queue.enqueue("T", {}, tenant=elsewhere, id=first.id)

    with pytest.raises(IdempotencyConflict):
        await queue.enqueue("T", {}, tenant="acme", id=first.id)
    assert (await queue.enqueue("T", {}, tenant="acme", id=unused)).id == unused


async def test_an_idempotency_key_names_one_task_of_its_tenant(queue: PartitionedQueue) -> None:
    """However often it comes; of another tenant it is another key."""
    for tenant in TENANTS:
        task = await queue.enqueue("T", {}, tenant=tenant, idempotency_key="k")
        with pytest.raises(IdempotencyConflict):
            await queue.enqueue("T", {}, tenant=tenant, idempotency_key="k")
        found = await queue.find(tenant, "k")
        assert found is not None
        assert found.id == task.id


async def test_tasks_are_spread_evenly_where_the_caller_asks(queue: PartitionedQueue) -> None:
    """In turn; with an id of the caller's a repeat comes to the same place, and is no second task."""
    await queue.enqueue_many([TaskSpec(type="T", payload={}) for _ in range(30)], spread=True)
    assert [(await each.stats()).queued for each in queue.partitions] == [10] * PARTITIONS

    for _ in range(2):
        for number in range(30):
            await queue.enqueue("T", {}, id=f"mine-{number}", spread=True)
    assert (await queue.stats()).queued == 60
    for number in range(30):
        assert await queue.get(f"mine-{number}", tenant="default") is not None


@pytest.mark.parametrize(
    "field",
    [{"tenant": "acme"}, {"idempotency_key": "k"}, {"cost": 1}, {"hold": 1}, {"reserve": True}],
    ids=str,
)
async def test_what_one_partition_must_keep_is_not_spread(
    queue: PartitionedQueue, field: dict[str, str]
) -> None:
    """Keys, credits and slots of a tenant are in its partition."""
    with pytest.raises(InvalidTask, match="spread"):
        await queue.enqueue("T", {}, spread=True, **field)  # type: ignore[arg-type]
    specs = [TaskSpec(type="T", payload={}), TaskSpec(type="T", payload={}, **field)]  # type: ignore[arg-type]
    with pytest.raises(InvalidTask, match=r"specs\[1\]\."):
        await queue.enqueue_many(specs, spread=True)
    assert (await queue.stats()).queued == 0


async def test_webhooks_are_refused(queue: PartitionedQueue) -> None:
    """Nobody would deliver them."""
    with pytest.raises(InvalidTask, match="webhook"):
        await queue.enqueue_many([TaskSpec(type="T", payload={}, webhook="https://example.com/")])


async def test_many_tasks_come_back_in_their_order(queue: PartitionedQueue) -> None:
    """Whatever partitions they go to; a bad one is named by its place among all."""
    specs = [TaskSpec(type="T", payload={"n": n}, tenant=TENANTS[n % 12], id=f"n-{n}") for n in range(60)]

    tasks = await queue.enqueue_many(specs)

    assert [task.id for task in tasks] == [f"n-{n}" for n in range(60)]
    assert (await queue.stats()).queued == 60
    specs[41] = TaskSpec(type="T", payload={}, priority=99, tenant=TENANTS[5])
    with pytest.raises(InvalidTask, match=r"^specs\[41\]\.priority"):
        await queue.enqueue_many(specs)
    mixed = await queue.enqueue_many(specs, return_exceptions=True)
    assert [type(each) is Task for each in mixed] == [n != 41 for n in range(60)]
    assert str(mixed[41]).startswith("specs[41].priority")


async def test_what_is_refused_stands_in_its_place(queue: PartitionedQueue) -> None:
    """By the routing, its partition or the server: the place is that among all; the rest is stored."""
    plain = TaskSpec(type="T", payload={}, tenant="acme")
    first = await queue.enqueue("T", {}, tenant="globex", idempotency_key="k")
    no_task: Any = {"type": "T"}
    specs = [
        plain,
        replace(plain, webhook="https://example.com/"),
        replace(plain, payload={"text": "x" * 2**21}),
        replace(plain, tenant="globex", idempotency_key="k"),
        no_task,
        plain,
    ]

    found = await queue.enqueue_many(specs, return_exceptions=True)

    assert [type(each) for each in found] == [
        Task,
        InvalidTask,
        PayloadTooLarge,
        IdempotencyConflict,
        InvalidTask,
        Task,
    ]
    assert [str(found[place]).partition(":")[0] for place in (1, 2, 4)] == [
        "specs[1].webhook",
        "specs[2].payload",
        "specs[4]",
    ]
    assert isinstance(found[3], IdempotencyConflict)
    assert found[3].task_id == first.id
    assert (await queue.stats(tenant="acme")).queued == 2


async def test_a_pause_and_a_clear_are_of_all_partitions(queue: PartitionedQueue) -> None:
    """And so are what `limits()`, `tasks()` and `discard()` say and do."""
    tasks = [await queue.enqueue("T", {}, tenant=tenant) for tenant in TENANTS]
    await queue.pause()
    assert await queue.is_paused()
    await queue.resume()
    assert not await queue.is_paused()
    await queue.pause(type="T")
    assert [(limit.name, limit.paused) for limit in await queue.limits()] == [("T", True)]
    await queue.resume(type="T")

    assert {task.id async for task in queue.tasks()} == {task.id for task in tasks}
    await queue.cancel(tasks[0].id)
    assert await queue.discard([task.id for task in tasks]) == 1
    assert await queue.clear() == len(TENANTS) - 1


async def test_the_limit_of_a_type_is_divided(queue: PartitionedQueue) -> None:
    """Whole again where it is looked at; too small to be divided, it is refused."""
    await queue.set_limit(type="T", concurrency=7)
    await queue.set_limit(tenant="acme", concurrency=1)

    limits = {(limit.scope, limit.name): limit.concurrency for limit in await queue.limits()}
    assert limits == {("type", "T"): 7, ("tenant", "acme"): 1}
    shares = [limit for each in queue.partitions for limit in await each.limits()]
    assert [limit.concurrency for limit in shares if limit.scope == "type"] == [3, 2, 2]
    with pytest.raises(InvalidSetting, match="at least 3"):
        await queue.set_limit(type="T", concurrency=2)
    await queue.set_limit(type="T", concurrency=None)
    await queue.set_limit(tenant="acme", concurrency=None)
    assert await queue.limits() == []


@pytest.mark.parametrize("whole", [0, 3, 4, 5, 100])
def test_shares_come_to_the_whole(whole: int) -> None:
    """And differ by one at the most."""
    shares = divided("concurrency", whole, 3)

    assert sum(shares) == whole
    assert max(shares) - min(shares) <= 1


async def test_credits_are_kept_where_their_tenant_is(queue: PartitionedQueue, place: Place) -> None:
    """Granted, held and spent in one place; a task that runs is charged there."""
    await queue.grant("acme", 10)
    task = await queue.enqueue("PAID", {}, tenant="acme", cost=4)
    scheduler = Scheduler(queue=queue)

    @scheduler.handler("PAID")
    async def paid(payload: dict[str, int]) -> None:
        pass

    async with scheduler:
        await queue.wait(task.id, timeout=10)

    balance = await queue.balance("acme")
    assert balance is not None
    assert (balance.granted, balance.spent, balance.held) == (10, 4, 0)
    assert await queue.balance("nobody") is None


async def test_a_partition_is_a_queue_that_can_be_looked_at(place: Place, queue: PartitionedQueue) -> None:
    """By every tool that knows a queue's name."""
    task = await queue.enqueue("T", {}, tenant="acme", delay=timedelta(hours=1))

    async with TaskQueue.connect(place.url, name=queue.partition_of("acme").name) as alone:
        found = await alone.get(task.id)
        assert found is not None
        assert found.not_before_ms == task.not_before_ms


async def test_a_worker_is_one_in_all_partitions(queue: PartitionedQueue) -> None:
    """It beats in each of them; the latest beat counts."""
    scheduler = Scheduler(queue=queue)
    scheduler.handler("T")(lambda _: None)
    assert await queue.workers() == []

    async with scheduler:
        while not all([await each.workers() for each in queue.partitions]):
            await asyncio.sleep(0.01)
        [(_, age)] = await queue.workers()

    assert 0 <= age < 60


async def test_what_no_partition_takes_is_an_error(queue: PartitionedQueue) -> None:
    """As on a queue that is not partitioned."""
    with pytest.raises(InvalidTask, match="two words"):
        await queue.pause(type="two words")
    with pytest.raises(InvalidSetting, match="credits"):
        await queue.grant("acme", 10**16)


async def test_a_partition_that_cannot_be_opened_leaves_no_connection(place: Place) -> None:
    """The last was made with another policy: nothing is opened, and the others are closed again."""
    async with TaskQueue.connect(place.url, name=f"{place.name}.{PARTITIONS - 1}", policy="fair_tenants"):
        pass
    with place.holder(0) as client:
        before = len(client.client_list())

        with pytest.raises(QueueMismatch, match="policy"):
            await place.connect()

        async with asyncio.timeout(10):
            while len(client.client_list()) > before:
                await asyncio.sleep(0.01)


async def test_an_awaited_queue_is_as_good_as_an_entered_one(place: Place) -> None:
    """It can be entered later; it says what it is, and not where its password would stand."""
    made = await place.connect()
    async with made as queue:
        assert await queue.is_paused() is False
        assert repr(queue) == f"PartitionedQueue('{place.name}' on {queue.url}, {PARTITIONS} partitions)"

    with pytest.raises(TaskQueueError, match="closed"):
        await made.stats()


async def test_a_partition_that_does_not_close_keeps_no_other_open(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are closed; then its error is raised."""
    queue = await place.connect()
    close = queue.partitions[0].close

    async def fail() -> None:
        await close()
        raise OSError("cannot be closed")

    monkeypatch.setattr(queue.partitions[0], "close", fail)

    with pytest.raises(OSError, match="cannot be closed"):
        await queue.close()

    for each in queue.partitions:
        with pytest.raises(TaskQueueError, match="closed"):
            await each.stats()
