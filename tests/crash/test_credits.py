"""Workers die again and again while tasks cost credits: the account is right all the same."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from taskqueue import Task, TaskQueue, TaskState
from taskqueue.names import WEBHOOK_TYPE
from taskqueue.store import Balance
from tests.crash import harness
from tests.crash.conftest import StartWorker
from tests.crash.harness import drained, known, say, two_workers

TASKS = 400
GRANTS = {"rich": 10_000, "scarce": 300}
"""The credits of one tenant cover everything, those of the other one by far not; a third is not metered."""

SLOW = [pytest.mark.slow, pytest.mark.timeout(240)]


@dataclass
class Killers:
    """Two workers, each killed at random moments and started again, until the kills are used up."""

    start: StartWorker
    kills: int
    dice: random.Random = field(default_factory=lambda: random.Random(7))

    async def run(self) -> None:
        """Return when the last kill has happened; then nobody works."""
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(self._kill_one())

    async def _kill_one(self) -> None:
        while self.kills > 0:
            self.kills -= 1
            worker = self.start()
            await worker.ready()
            await asyncio.sleep(self.dice.uniform(0.0, 1.0))
            worker.kill9()


@pytest.fixture(autouse=True)
def _charging(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of these tests are of another program."""
    monkeypatch.setattr(harness, "PROGRAM", Path(__file__).parent / "programs" / "charging_worker.py")


def tasks_to_do(seconds: float) -> list[dict[str, Any]]:
    """Return tasks of three tenants: some charge less or more than their price, some have webhooks."""
    dice = random.Random(11)
    found = []
    for tenant in itertools.islice(itertools.cycle([*GRANTS, "free"]), TASKS):
        cost, more = dice.randint(1, 9), dice.choice([None, None, 0, 4])
        charge = dice.choice([None, None, 0, cost - 1, cost + 2, cost + 9])
        found.append(
            {
                "payload": {"seconds": dice.uniform(0, 2 * seconds), "charge": charge},
                "tenant": tenant,
                "priority": dice.randint(1, 10),
                "cost": cost,
                "hold": None if more is None else cost + more,
                "webhook": dice.choice([None, "https://a.example/hook", "https://b.example/hook"]),
            }
        )
    return found


async def deliveries(queue: TaskQueue) -> list[Task]:
    """Return all deliveries, when none is left to do."""
    async with asyncio.timeout(30):
        while True:
            stats = await queue.stats(type=WEBHOOK_TYPE)
            if not stats.queued and not stats.processing:
                return [task async for task in queue.tasks(type=WEBHOOK_TYPE)]
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("kills", "seconds"), [(12, 0.2), pytest.param(60, 0.8, marks=SLOW)])
async def test_kills_lose_no_credit_and_no_delivery(
    queue: TaskQueue, start_worker: StartWorker, kills: int, seconds: float
) -> None:
    """Nothing stays held, only COMPLETED tasks were charged, and each end is told exactly once."""
    for tenant, amount in GRANTS.items():
        await queue.grant(tenant, amount)
    # Each by itself: those of one tenant cost more together than it has.
    accepted = await asyncio.gather(*(queue.enqueue("PAID", **task) for task in tasks_to_do(seconds)))
    await Killers(start_worker, kills).run()
    await two_workers(start_worker)
    await drained(queue, timeout=60)
    told = await deliveries(queue)

    tasks = await known(queue, (task.id for task in accepted))
    completed = [task for task in tasks.values() if task.state is TaskState.COMPLETED]
    assert {task.state for task in tasks.values()} <= {TaskState.COMPLETED, TaskState.FAILED}
    assert all(task.charged == 0 for task in tasks.values() if task.state is TaskState.FAILED)
    for tenant, granted in GRANTS.items():
        spent = sum(task.charged or 0 for task in completed if task.tenant == tenant)
        assert await queue.balance(tenant) == Balance(granted, spent, held=0)
        assert 0 < spent <= granted
    assert await queue.balance("free") is None
    assert Counter(each.payload["task"] for each in told) == {
        task.id: 1 for task in tasks.values() if task.webhook
    }
    crashes = Counter(task.crashes for task in tasks.values())
    codes = Counter(task.error.code for task in tasks.values() if task.error and task.state == "FAILED")
    say(f"{kills} kills; tasks by crashes: {dict(crashes)}; failed: {dict(codes)}; {len(told)} deliveries")
    assert crashes.total() - crashes[0] >= kills
    assert codes["INSUFFICIENT_CREDITS"]
