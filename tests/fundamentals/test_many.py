"""Many tasks in one call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskqueue import IdempotencyConflict, InvalidTask, PayloadTooLarge, QueueFull, Task, TaskQueue, TaskSpec
from taskqueue.testing import drain


def spec(n: int, **fields: Any) -> TaskSpec:
    """Return the specification of task number *n*."""
    return TaskSpec(type="PRINT", payload={"n": n}, **fields)


async def test_tasks_come_back_in_the_order_of_their_specifications(queue: TaskQueue) -> None:
    """Each with its place, one after the other; a get shows the same."""
    tasks = await queue.enqueue_many([spec(n, priority=1 + n % 3) for n in range(30)])

    assert [task.payload["n"] for task in tasks] == list(range(30))
    assert [task.sequence - tasks[0].sequence for task in tasks] == list(range(30))
    stored = await queue.get(tasks[7].id)
    assert stored is not None
    assert (stored.sequence, stored.priority, stored.payload) == (tasks[7].sequence, 2, {"n": 7})


async def test_nothing_is_nothing(queue: TaskQueue) -> None:
    """An empty list is no mistake."""
    assert await queue.enqueue_many([]) == []


async def test_more_than_one_call_can_carry_keep_their_order(queue: TaskQueue) -> None:
    """2,300 tasks go in three calls; a generator does as well as a list."""
    tasks = await queue.enqueue_many(spec(n) for n in range(2300))

    assert [task.sequence - tasks[0].sequence for task in tasks] == list(range(2300))
    assert (await queue.stats()).queued == 2300


async def test_all_are_checked_before_anything_is_sent(queue: TaskQueue) -> None:
    """The last of 1,500 is wrong: it is named, and none is stored."""
    specs = [spec(n) for n in range(1499)] + [spec(1499, priority=11)]

    with pytest.raises(InvalidTask) as refusal:
        await queue.enqueue_many(specs)

    assert refusal.value.field == "specs[1499].priority"
    assert refusal.value.value == 11
    assert (await queue.stats()).queued == 0


async def test_one_refusal_refuses_the_call(queue: TaskQueue) -> None:
    """Of three tasks the second has a key that is taken: none of them is stored."""
    first = await queue.enqueue("PRINT", {"n": 0}, idempotency_key="taken")

    with pytest.raises(IdempotencyConflict) as refusal:
        await queue.enqueue_many([spec(1), spec(2, idempotency_key="taken"), spec(3)])

    assert refusal.value.task_id == first.id
    assert any("specs[1]" in note for note in refusal.value.__notes__)
    assert (await queue.stats()).queued == 1


async def test_two_tasks_of_one_call_cannot_share_a_key(queue: TaskQueue) -> None:
    """The first of them would have it."""
    with pytest.raises(IdempotencyConflict):
        await queue.enqueue_many([spec(1, idempotency_key="k"), spec(2, idempotency_key="k")])

    assert (await queue.stats()).queued == 0


async def test_what_can_be_stored_is_stored_on_request(queue: TaskQueue) -> None:
    """Refusals stand in their places, as with asyncio.gather."""
    taken = await queue.enqueue("PRINT", {"n": 0}, idempotency_key="taken")
    specs: list[Any] = [spec(1), spec(2, idempotency_key="taken"), spec(3, priority=0), "no spec", spec(4)]

    results = await queue.enqueue_many(specs, return_exceptions=True)

    assert [type(result) for result in results] == [Task, IdempotencyConflict, InvalidTask, InvalidTask, Task]
    assert isinstance(results[1], IdempotencyConflict)
    assert results[1].task_id == taken.id
    assert [result.field for result in results if isinstance(result, InvalidTask)] == [
        "specs[2].priority",
        "specs[3]",
    ]
    assert (await queue.stats()).queued == 3


async def test_a_full_queue_takes_all_of_a_call_or_none(url: str, queue_name: str) -> None:
    """Room for three: four are refused together, three go in."""
    async with TaskQueue.connect(url, name=queue_name, max_queued=3) as queue:
        with pytest.raises(QueueFull, match="3 queued tasks"):
            await queue.enqueue_many([spec(n) for n in range(4)])
        assert (await queue.stats()).queued == 0

        await queue.enqueue_many([spec(n) for n in range(3)])
        assert (await queue.stats()).queued == 3


async def test_a_large_payload_is_named_with_its_place(url: str, queue_name: str) -> None:
    """Size and limit are numbers that a program can use."""
    async with TaskQueue.connect(url, name=queue_name, max_payload=100) as queue:
        with pytest.raises(PayloadTooLarge) as refusal:
            await queue.enqueue_many([spec(1), TaskSpec(type="PRINT", payload={"text": "x" * 200})])

    assert refusal.value.field == "specs[1].payload"
    assert refusal.value.limit == 100
    assert refusal.value.size > 200


async def test_concurrent_calls_keep_the_order_in_which_they_were_made(queue: TaskQueue) -> None:
    """A hundred calls in one pass of the event loop share a trip to the server, in their order."""
    tasks = await asyncio.gather(*(queue.enqueue("PRINT", {"n": n}) for n in range(100)))

    assert [task.sequence - tasks[0].sequence for task in tasks] == list(range(100))
    ran = await drain(queue, {"PRINT": lambda payload: payload["n"]})
    assert [task.result for task in ran] == list(range(100))
