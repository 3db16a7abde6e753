"""Stories of producers: tasks are handed in, looked at and waited for."""

from __future__ import annotations

from tests.faults.exploring import Story
from tests.faults.staging import Stage


async def one(stage: Stage) -> None:
    await stage.enqueue(priority=3)
    await stage.enqueue(idempotency_key="k")
    await stage.enqueue(idempotency_key="k")


STORIES = [
    Story("one task, and a key that is taken", one, ("enqueue",)),
]
