"""Priorities hold over partitions but for what a worker has slots for; inside of one they are exact."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import Scheduler
from taskqueue import TaskSpec
from taskqueue.partitions import PartitionedQueue
from taskqueue.store import Claim, ClaimRequest
from tests.partitions.conftest import PARTITIONS, Place
from tests.partitions.observing import Log
from tests.servers import RealServer

FREE, LIMITED = "FREE", "LIMITED"
LIMIT = PARTITIONS
TENANT_LIMIT = 2
TENANTS = ("a", "b", "c", "d", "e", "f", "capped")

Offer = tuple[str, str, int]

offers = st.lists(
    st.tuples(st.sampled_from((FREE, FREE, LIMITED)), st.sampled_from(TENANTS), st.integers(1, 5)),
    min_size=20,
    max_size=150,
)


def homes_of(queue: PartitionedQueue) -> list[str]:
    """Return one tenant of each partition."""
    names = [f"tenant-{number}" for number in range(100)]
    return [next(each for each in names if queue.partition_of(each) is home) for home in queue.partitions]


class Crew:
    """Workers in this process, each with connections of its own; counts what runs."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.ran: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.done = asyncio.Condition()

    def scheduler(self, queue: PartitionedQueue, worker: int, slots: int) -> Scheduler:
        """Return a worker on a queue object that nobody else uses."""
        self.log.watch(queue, worker)
        made = Scheduler(queue=queue, concurrency=slots)
        for type_ in (FREE, LIMITED):
            made.handler(type_)(self._run)
        return made

    async def _run(self, payload: dict[str, Any], context: Any) -> None:
        scopes = (context.task.type, f"tenant {context.task.tenant}")
        for scope in scopes:
            self.running[scope] += 1
            self.most[scope] = max(self.most[scope], self.running[scope])
        await asyncio.sleep(payload["takes"])
        for scope in scopes:
            self.running[scope] -= 1
        self.ran[context.task.id] += 1
        async with self.done:
            self.done.notify_all()

    async def all_ran(self, count: int) -> None:
        """Return when so many tasks have run."""
        async with asyncio.timeout(60), self.done:
            await self.done.wait_for(lambda: len(self.ran) >= count)


async def play(place: Place, rounds: list[list[Offer]], workers: list[int]) -> tuple[Log, Crew]:
    """Enqueue in bursts, while workers with so many slots run what is there."""
    log = Log()
    crew = Crew(log)
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(place.connect())
        await producer.set_limit(type=LIMITED, concurrency=LIMIT)
        await producer.set_limit(tenant="capped", concurrency=TENANT_LIMIT)
        for worker, slots in enumerate(workers):
            queue = await stack.enter_async_context(place.connect())
            await stack.enter_async_context(crew.scheduler(queue, worker, slots))
        count = 0
        for burst in rounds:
            specs = [
                TaskSpec(
                    type=type_, tenant=tenant, priority=priority, payload={"takes": (count + n) % 3 / 1000}
                )
                for n, (type_, tenant, priority) in enumerate(burst)
            ]
            count += len(burst)
            for task in await producer.enqueue_many(specs):
                log.accepted[task.id] = time.monotonic()
            await crew.all_ran(count // 2)
        await crew.all_ran(count)
    return log, crew


@settings(max_examples=15)
@given(
    rounds=st.lists(offers, min_size=1, max_size=3),
    workers=st.lists(st.integers(1, 6), min_size=1, max_size=3),
)
def test_order_limits_and_counts_hold_over_partitions(
    server: RealServer, rounds: list[list[Offer]], workers: list[int]
) -> None:
    """Random tasks of many tenants in bursts, up to three workers: what is promised, whatever comes.

    The bound: before a better task that can run, a worker takes at most as many of lower priority from
    other partitions as it has slots.
    """
    place = Place(server, f"order-{time.monotonic_ns()}")

    log, crew = asyncio.run(play(place, rounds, workers))

    assert place.audit() == []
    assert set(crew.ran) == set(log.accepted)
    assert set(crew.ran.values()) == {1}
    assert log.most_passed_over(FREE) <= max(workers)
    assert log.disorders_inside(FREE) == []
    assert crew.most[LIMITED] <= LIMIT
    assert crew.most["tenant capped"] <= TENANT_LIMIT


class Gate:
    """Holds the claims of one worker between what it saw and what it takes."""

    def __init__(self, queue: PartitionedQueue) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        for part in queue.partitions:
            part.store.claim = self._held(part.store.claim)  # type: ignore[method-assign]

    def _held(self, claim: Any) -> Any:
        async def held(request: ClaimRequest, *, patience: float | None = None) -> Claim:
            if request.limit:
                self.reached.set()
                await self.open.wait()
            found: Claim = await claim(request, patience=patience)
            return found

        return held


@pytest.fixture
async def worker_queue(place: Place) -> AsyncIterator[PartitionedQueue]:
    """A queue object for a worker alone."""
    async with place.connect() as connected:
        yield connected


async def test_the_bound_is_reached_and_not_exceeded(
    queue: PartitionedQueue, worker_queue: PartitionedQueue
) -> None:
    """A better task comes between look and claim: as many worse ones start as there are slots, no more."""
    slots = 4
    low, high, _ = homes_of(queue)
    worse = [TaskSpec(type="T", payload={}, tenant=low, priority=1) for _ in range(20)]
    tasks = await queue.enqueue_many(worse)
    gate = Gate(worker_queue)
    started: list[int] = []
    scheduler = Scheduler(queue=worker_queue, concurrency=slots)

    @scheduler.handler("T")
    async def run(payload: dict[str, int], context: Any) -> None:
        started.append(context.task.priority)

    async with scheduler:
        await gate.reached.wait()
        better = await queue.enqueue("T", {}, tenant=high, priority=9)
        gate.open.set()
        for task in (better, *tasks):
            await queue.wait(task.id, timeout=10)

    assert started[: slots + 1] == [1] * slots + [9]


async def test_what_another_worker_took_is_not_replaced_by_something_worse(
    queue: PartitionedQueue, worker_queue: PartitionedQueue
) -> None:
    """Two workers saw the same best task. The second one finds its partition's next, which is worse than
    what waits elsewhere: it takes nothing, and looks again.
    """
    first, second, _ = homes_of(queue)
    best = await queue.enqueue("T", {}, tenant=first, priority=9)
    worst = await queue.enqueue("T", {}, tenant=first, priority=1)
    middle = await queue.enqueue("T", {}, tenant=second, priority=5)
    gate = Gate(worker_queue)
    started: list[str] = []
    scheduler = Scheduler(queue=worker_queue, concurrency=1)

    @scheduler.handler("T")
    async def run(payload: dict[str, int], context: Any) -> None:
        started.append(context.task.id)

    async with scheduler:
        await gate.reached.wait()
        await queue.cancel(best.id)
        gate.open.set()
        await queue.wait(worst.id, timeout=10)
        await queue.wait(middle.id, timeout=10)

    assert started == [middle.id, worst.id]
