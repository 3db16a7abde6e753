"""A tenant without credits and with 100,000 queued tasks, beside one that can pay."""

from __future__ import annotations

import pytest

from scheduler import Scheduler
from taskqueue import TaskQueue, TaskSpec, TaskState
from taskqueue.store import ClaimRequest

POOR, RICH = "poor", "rich"
MANY = 100_000
LEASE_MS = 60_000


async def fill(queue: TaskQueue, count: int) -> None:
    """Accept *count* tasks of a tenant of the highest priority, then take its credits back."""
    await queue.grant(POOR, count)
    for _ in range(0, count, 10_000):
        specs = [
            TaskSpec(type="ASK", payload={}, priority=10, tenant=POOR, cost=1)
            for _ in range(min(count, 10_000))
        ]
        await queue.enqueue_many(specs)
    await queue.grant(POOR, -count)
    await queue.grant(RICH, 100)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("policy", ["strict", "fair_tenants"])
async def test_a_tenant_without_credits_delays_nobody(url: str, queue_name: str, policy: str) -> None:
    """One claim ends 50 of them at the most and lends the other's task too, whatever the priorities."""
    async with TaskQueue.connect(url, name=queue_name, policy=policy) as queue:
        await fill(queue, MANY)
        for number in range(5):
            task = await queue.enqueue("ASK", {}, tenant=RICH, cost=1)

            claim = await queue.store.claim(ClaimRequest("w", f"r{number}", {"ASK": 10}, 10, LEASE_MS))

            ended = MANY - (await queue.stats(tenant=POOR)).queued
            assert [claimed.id for claimed in claim.tasks] == [task.id]
            assert claim.more
            assert ended == 50 * (number + 1)
        await queue.clear(tenant=POOR)


async def test_its_tasks_end_for_free_and_the_others_run(url: str, queue_name: str) -> None:
    """The same with fewer tasks, through a scheduler, until nothing is left."""
    async with TaskQueue.connect(url, name=queue_name, policy="fair_tenants") as queue:
        await fill(queue, 500)
        tasks = await queue.enqueue_many(
            [TaskSpec(type="ASK", payload={}, tenant=RICH, cost=1) for _ in range(20)]
        )
        scheduler = Scheduler(queue=queue)

        @scheduler.handler("ASK")
        async def ask(payload: dict[str, str]) -> None: ...

        await scheduler.run(burst=True, handle_signals=False)

        states = {(await queue.wait(task.id)).state for task in tasks}
        poor, rich = await queue.balance(POOR), await queue.balance(RICH)
        assert states == {TaskState.COMPLETED}
        assert poor is not None
        assert rich is not None
        assert (poor.remaining, poor.held, rich.spent, rich.held) == (0, 0, 20, 0)
        assert (await queue.stats(tenant=POOR)).queued == 0
