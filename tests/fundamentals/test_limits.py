"""How much may run at once, and how much may wait."""

from __future__ import annotations

import pytest

from taskqueue import LimitReached, QueueFull, TaskQueue
from taskqueue.errors import InvalidSetting
from taskqueue.testing import drain


async def test_a_type_runs_no_more_than_its_limit(queue: TaskQueue) -> None:
    """While one runs, a second worker finds no room for another of that type, but for other types."""
    started: list[str] = []

    async def call(payload: dict[str, str]) -> None:
        started.append(payload["name"])
        if payload["name"] == "first":
            await drain(queue, handlers)
            started.append("end of first")

    handlers = {"CALL": call, "MAIL": call}
    await queue.set_limit(type="CALL", concurrency=1)
    for type_, name in (("CALL", "first"), ("CALL", "second"), ("MAIL", "other type")):
        await queue.enqueue(type_, {"name": name})

    await drain(queue, handlers)

    assert started == ["first", "other type", "end of first", "second"]


async def test_a_tenant_at_its_limit_does_not_block_the_others(queue: TaskQueue) -> None:
    """Big has one slot and three tasks; small's less urgent task runs beside the first of them."""
    started: list[str] = []

    async def call(payload: dict[str, str]) -> None:
        started.append(payload["name"])
        if payload["name"] == "big 0":
            await drain(queue, {"CALL": call})
            started.append("end of big 0")

    await queue.set_limit(tenant="big", concurrency=1)
    for n in range(3):
        await queue.enqueue("CALL", {"name": f"big {n}"}, tenant="big", priority=10)
    await queue.enqueue("CALL", {"name": "small"}, tenant="small", priority=1)

    await drain(queue, {"CALL": call})

    assert started == ["big 0", "small", "end of big 0", "big 1", "big 2"]


async def test_a_limit_can_be_lifted(queue: TaskQueue) -> None:
    """Limits are listed with what they use now; None ends one."""
    await queue.set_limit(type="CALL", concurrency=0)
    await queue.enqueue("CALL", {})
    assert await drain(queue, {"CALL": len}) == []
    [limit] = await queue.limits()
    assert (limit.scope, limit.name, limit.concurrency, limit.used) == ("type", "CALL", 0, 0)

    await queue.set_limit(type="CALL", concurrency=None)

    assert len(await drain(queue, {"CALL": len})) == 1
    assert await queue.limits() == []


async def test_a_paused_type_starts_nothing_until_it_is_resumed(queue: TaskQueue) -> None:
    """Tasks of it are accepted; other types go on."""
    await queue.pause(type="CALL")
    await queue.enqueue("CALL", {}, priority=10)
    await queue.enqueue("MAIL", {}, priority=1)
    handlers = {"CALL": len, "MAIL": len}

    assert [task.type for task in await drain(queue, handlers)] == ["MAIL"]
    assert [(limit.name, limit.paused) for limit in await queue.limits()] == [("CALL", True)]
    await queue.resume(type="CALL")
    assert [task.type for task in await drain(queue, handlers)] == ["CALL"]


async def test_a_paused_tenant_starts_nothing_until_it_is_resumed(queue: TaskQueue) -> None:
    """The other tenant does not notice."""
    await queue.enqueue("CALL", {}, tenant="ada")
    await queue.enqueue("CALL", {}, tenant="bob")
    await queue.pause(tenant="ada")

    assert [task.tenant for task in await drain(queue, {"CALL": len})] == ["bob"]
    await queue.resume(tenant="ada")
    assert [task.tenant for task in await drain(queue, {"CALL": len})] == ["ada"]


async def test_the_whole_queue_can_be_paused(queue: TaskQueue) -> None:
    """For the night, or for a repair."""
    await queue.enqueue("CALL", {})

    await queue.pause()
    assert await queue.is_paused()
    assert await drain(queue, {"CALL": len}) == []
    await queue.resume()
    assert not await queue.is_paused()
    assert len(await drain(queue, {"CALL": len})) == 1


async def test_a_tenant_may_have_only_so_many_tasks_queued(url: str, queue_name: str) -> None:
    """Room for two. Another tenant has room of its own, and finished tasks do not count."""
    async with TaskQueue.connect(url, name=queue_name, max_queued=2) as queue:
        for _ in range(2):
            await queue.enqueue("CALL", {}, tenant="ada")
        with pytest.raises(QueueFull) as refusal:
            await queue.enqueue("CALL", {}, tenant="ada")
        assert (refusal.value.tenant, refusal.value.limit) == ("ada", 2)

        await queue.enqueue("CALL", {}, tenant="bob")
        await drain(queue, {"CALL": len})
        await queue.enqueue("CALL", {}, tenant="ada")


async def test_a_reserved_task_takes_a_slot_now_or_is_refused(queue: TaskQueue) -> None:
    """One slot: the second request that somebody waits for on the line is told at once."""
    await queue.set_limit(tenant="ada", concurrency=1)
    await queue.enqueue("CALL", {"name": "urgent"}, tenant="ada", priority=10)

    reserved = await queue.enqueue("CALL", {"name": "on the line"}, tenant="ada", reserve=True)
    with pytest.raises(LimitReached) as refusal:
        await queue.enqueue("CALL", {}, tenant="ada", reserve=True)

    assert reserved.reserved
    assert reserved.priority == 11
    assert (refusal.value.tenant, refusal.value.limit) == ("ada", 1)
    ran = await drain(queue, {"CALL": lambda payload: payload["name"]})
    assert [task.result for task in ran] == ["on the line", "urgent"]


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        ("type", {"concurrency": 1}),
        ("tenant", {"type": "CALL", "tenant": "ada", "concurrency": 1}),
        ("concurrency", {"type": "CALL"}),
        ("concurrency", {"type": "CALL", "concurrency": -1}),
        ("concurrency", {"type": "CALL", "concurrency": True}),
        ("weight", {"tenant": "ada", "weight": 0}),
        ("weight", {"tenant": "ada", "weight": 1001}),
        ("weight", {"type": "CALL", "weight": 2}),
    ],
)
async def test_a_limit_that_makes_no_sense_is_refused(
    queue: TaskQueue, setting: str, options: dict[str, object]
) -> None:
    """By the option that is wrong; nothing is changed."""
    with pytest.raises(InvalidSetting) as refusal:
        await queue.set_limit(**options)  # type: ignore[arg-type]

    assert refusal.value.setting == setting
    assert await queue.limits() == []
