"""Which task runs first."""

from __future__ import annotations

from taskqueue import Task, TaskQueue, TaskSpec
from taskqueue.testing import drain


def echo(payload: dict[str, object]) -> object:
    """Return the task's number."""
    return payload["n"]


def numbers(tasks: list[Task]) -> list[object]:
    """Return the numbers of tasks that `echo` ran."""
    return [task.result for task in tasks]


async def test_the_highest_priority_runs_first(queue: TaskQueue) -> None:
    """Three tasks come in from the least to the most urgent, and run the other way round."""
    for priority in (1, 5, 10):
        await queue.enqueue("PRINT", {"n": priority}, priority=priority)

    assert numbers(await drain(queue, {"PRINT": echo})) == [10, 5, 1]


async def test_inside_a_priority_the_first_in_is_the_first_out(queue: TaskQueue) -> None:
    """Ten tasks of one priority run in the order of their submission."""
    await queue.enqueue_many([TaskSpec(type="PRINT", payload={"n": n}) for n in range(10)])

    assert numbers(await drain(queue, {"PRINT": echo})) == list(range(10))


async def test_the_order_holds_across_types(queue: TaskQueue) -> None:
    """Two types, one worker that has handlers for both: priority, then submission, decide."""
    await queue.enqueue("PRINT", {"n": 3}, priority=2)
    await queue.enqueue("SCAN", {"n": 1}, priority=7)
    await queue.enqueue("PRINT", {"n": 2}, priority=7)
    await queue.enqueue("SCAN", {"n": 4}, priority=1)

    assert numbers(await drain(queue, {"PRINT": echo, "SCAN": echo})) == [1, 2, 3, 4]


async def test_a_task_without_a_handler_blocks_nobody(queue: TaskQueue) -> None:
    """The urgent task is of a type that this worker cannot run; it stays queued, the other runs."""
    urgent = await queue.enqueue("SCAN", {"n": 1}, priority=10)
    await queue.enqueue("PRINT", {"n": 2}, priority=1)

    assert numbers(await drain(queue, {"PRINT": echo})) == [2]
    assert (await queue.stats()).queued == 1
    assert (await queue.get(urgent.id)).state == "QUEUED"  # type: ignore[union-attr]


async def test_a_task_enqueued_by_a_handler_takes_its_place_by_priority(queue: TaskQueue) -> None:
    """The first task brings in a more urgent one, which overtakes what was waiting."""

    async def start(payload: dict[str, object]) -> object:
        await queue.enqueue("PRINT", {"n": "urgent"}, priority=9)
        return payload["n"]

    await queue.enqueue("START", {"n": "first"}, priority=5)
    await queue.enqueue("PRINT", {"n": "waiting"}, priority=5)

    assert numbers(await drain(queue, {"START": start, "PRINT": echo})) == ["first", "urgent", "waiting"]


async def test_with_a_stride_an_old_task_is_overtaken_only_so_often(url: str, queue_name: str) -> None:
    """Stride 2: one step of priority is worth two places, so of the five urgent tasks two pass."""
    async with TaskQueue.connect(url, name=queue_name, stride=2) as queue:
        await queue.enqueue("PRINT", {"n": "old"}, priority=1)
        for n in range(5):
            await queue.enqueue("PRINT", {"n": n}, priority=2)

        assert numbers(await drain(queue, {"PRINT": echo})) == [0, 1, "old", 2, 3, 4]


async def test_fair_tenants_take_turns(url: str, queue_name: str) -> None:
    """A tenant with a long list cannot keep another one waiting until the list is done."""
    async with TaskQueue.connect(url, name=queue_name, policy="fair_tenants") as queue:
        for n in range(4):
            await queue.enqueue("PRINT", {"n": f"big {n}"}, tenant="big", priority=10)
        await queue.enqueue("PRINT", {"n": "small 0"}, tenant="small", priority=1)

        ran = numbers(await drain(queue, {"PRINT": echo}))

    assert ran.index("small 0") <= 1
    assert [name for name in ran if name != "small 0"] == ["big 0", "big 1", "big 2", "big 3"]


async def test_a_tenant_with_more_weight_gets_more_turns(url: str, queue_name: str) -> None:
    """Weight 3 to 1: of the first eight tasks, six are the heavy tenant's."""
    async with TaskQueue.connect(url, name=queue_name, policy="fair_tenants") as queue:
        await queue.set_limit(tenant="heavy", weight=3)
        for tenant in ("heavy", "light"):
            await queue.enqueue_many(
                [TaskSpec(type="PRINT", payload={"n": tenant}, tenant=tenant) for _ in range(8)]
            )

        ran = numbers(await drain(queue, {"PRINT": echo}))

    assert ran[:8].count("heavy") == 6
