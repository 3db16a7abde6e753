"""What can be seen of a queue."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import TaskQueue, TaskSpec, TaskState
from taskqueue.errors import InvalidSetting
from taskqueue.testing import FakeClock, drain


async def test_a_task_can_be_looked_at(queue: TaskQueue) -> None:
    """What comes back is what was handed in, and where it stands."""
    task = await queue.enqueue(
        "CALL",
        {"prompt": "hello", "tags": ("a", "b")},
        priority=7,
        tenant="ada",
        idempotency_key="k",
        max_attempts=3,
        timeout=timedelta(seconds=20),
        webhook="https://example.org/hook",
        cost=5,
    )

    found = await queue.get(task.id)

    assert found is not None
    assert found.payload == {"prompt": "hello", "tags": ["a", "b"]}
    for name in ("id", "type", "tenant", "priority", "sequence", "created_at", "state", "attempt", "cost"):
        assert getattr(found, name) == getattr(task, name), name
    for name in ("idempotency_key", "max_attempts", "timeout", "webhook", "durability", "not_before"):
        assert getattr(found, name) == getattr(task, name), name
    assert found.state is TaskState.QUEUED
    assert found.webhook == {"url": "https://example.org/hook"}


async def test_stats_count_what_waits_and_what_runs(queue: TaskQueue, clock: FakeClock) -> None:
    """Of the whole queue, a type, or a tenant."""
    for priority, tenant in ((1, "ada"), (1, "bob"), (5, "ada")):
        await queue.enqueue("CALL", {}, priority=priority, tenant=tenant)
    await queue.enqueue("MAIL", {}, tenant="bob", delay=timedelta(hours=1))
    clock.advance(timedelta(minutes=3))

    everything = await queue.stats()
    calls = await queue.stats(type="CALL")
    of_ada = await queue.stats(tenant="ada")

    assert (everything.queued, everything.delayed, everything.processing) == (4, 1, 0)
    assert everything.by_priority == {5: 1, 1: 3}
    assert everything.oldest_age == timedelta(minutes=3)
    assert (calls.queued, calls.delayed) == (3, 0)
    assert (of_ada.queued, of_ada.by_priority) == (2, {5: 1, 1: 1})
    assert (await queue.stats(type="MAIL", tenant="ada")).queued == 0


async def test_stats_count_what_is_processing(queue: TaskQueue) -> None:
    """The handler looks at its own queue."""

    async def look(payload: dict[str, object]) -> list[int]:
        stats = [await queue.stats(), await queue.stats(type="CALL"), await queue.stats(tenant="ada")]
        return [found.processing for found in stats]

    await queue.enqueue("CALL", {}, tenant="ada")

    [task] = await drain(queue, {"CALL": look})
    assert task.result == [1, 1, 1]


async def test_an_empty_queue_has_nothing_to_count(queue: TaskQueue) -> None:
    """All numbers are zero, and nothing is old."""
    stats = await queue.stats()

    assert (stats.queued, stats.processing, stats.delayed, stats.by_priority) == (0, 0, 0, {})
    assert stats.oldest_age is None
    assert await queue.workers() == []


async def test_tasks_can_be_gone_through(queue: TaskQueue) -> None:
    """By state, type and tenant, all pages of them."""
    await queue.enqueue_many(
        [TaskSpec(type="CALL", payload={"n": n}, tenant="ada" if n % 2 else "bob") for n in range(250)]
    )
    await queue.enqueue("MAIL", {}, delay=timedelta(hours=1))
    await queue.enqueue("SCAN", {})
    await drain(queue, {"SCAN": len})

    everything = [task async for task in queue.tasks()]
    assert len(everything) == len({task.id for task in everything}) == 252
    assert len([task async for task in queue.tasks(type="CALL", tenant="ada")]) == 125
    assert [task.type async for task in queue.tasks(state="COMPLETED")] == ["SCAN"]
    assert len([task async for task in queue.tasks(state=TaskState.QUEUED)]) == 251
    assert [task async for task in queue.tasks(tenant="nobody")] == []


async def test_an_unknown_state_is_refused(queue: TaskQueue) -> None:
    """The refusal lists the states that there are."""
    with pytest.raises(InvalidSetting, match="one of QUEUED, PROCESSING, COMPLETED, FAILED, CANCELLED"):
        queue.tasks(state="DONE")
