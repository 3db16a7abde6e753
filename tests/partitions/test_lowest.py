"""A claim that names a lowest priority: what it takes, and what it says is left."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest

from taskqueue import TaskQueue
from taskqueue.partitions import PartitionedQueue
from taskqueue.store import ClaimRequest

_numbers = count(1)


@pytest.fixture
def part(queue: PartitionedQueue) -> TaskQueue:
    """One partition, which is a queue like any other."""
    return queue.partitions[0]


def asked(lowest: int | None, limit: int = 10, **slots: int) -> ClaimRequest:
    """Return a new request."""
    return ClaimRequest("w", f"r{next(_numbers)}", slots or {"T": 10}, limit, 15_000, lowest=lowest)


async def test_nothing_worse_is_taken_and_the_best_that_is_left_is_told(part: TaskQueue) -> None:
    """In several lanes; in order; and what is worse is still there for whoever takes it."""
    for priority in (3, 9, 5, 1, 7, 5):
        await part.enqueue("T", {}, priority=priority, tenant=f"t{priority % 2}")

    found = await part.store.claim(asked(5))
    assert [each.task().priority for each in found.tasks] == [9, 7, 5, 5]
    assert (found.best, found.more) == (3, True)
    assert (await part.store.claim(asked(5))).tasks == []

    rest = await part.store.claim(asked(None))
    assert [each.task().priority for each in rest.tasks] == [3, 1]
    assert (rest.best, rest.more) == (None, False)


async def test_a_look_takes_nothing(part: TaskQueue) -> None:
    """It says what a claim would find: for types with slots and room, tasks that are due included."""
    await part.enqueue("T", {}, priority=4)
    await part.enqueue("OTHER", {}, priority=8)
    await part.enqueue("T", {}, priority=9, delay=timedelta(hours=1))

    assert (await part.store.claim(asked(0, 0, T=3))).best == 4
    assert (await part.store.claim(asked(0, 0, T=3, OTHER=1))).best == 8
    assert (await part.store.claim(asked(0, 0, T=3, OTHER=0))).best == 4
    await part.set_limit(type="T", concurrency=0)
    nothing = await part.store.claim(asked(0, 0, T=3))
    assert (nothing.best, nothing.more) == (None, False)
    await part.set_limit(type="T", concurrency=None)
    assert (await part.stats()).processing == 0


async def test_a_repeated_request_says_what_is_left_as_well(part: TaskQueue) -> None:
    """Its answer was lost; the same tasks come again."""
    for priority in (9, 2):
        await part.enqueue("T", {}, priority=priority)
    request = asked(5)

    first, again = [await part.store.claim(request) for _ in range(2)]

    assert [each.id for each in first.tasks] == [each.id for each in again.tasks]
    assert first.best == again.best == 2
