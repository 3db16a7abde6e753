"""Tasks that must not start yet."""

from __future__ import annotations

from datetime import timedelta

from taskqueue import TaskQueue, TaskState
from taskqueue.testing import FakeClock, drain

HANDLERS = {"MAIL": lambda payload: payload["to"]}
HOUR = timedelta(hours=1)


async def test_a_delayed_task_waits_for_its_instant(queue: TaskQueue, clock: FakeClock) -> None:
    """It is QUEUED with a not_before; one millisecond before that, nothing runs."""
    task = await queue.enqueue("MAIL", {"to": "ada"}, delay=HOUR)

    assert task.state is TaskState.QUEUED
    assert task.not_before == task.created_at + HOUR
    clock.advance(HOUR - timedelta(milliseconds=1))
    assert await drain(queue, HANDLERS) == []
    clock.advance(timedelta(milliseconds=1))
    assert [done.id for done in await drain(queue, HANDLERS)] == [task.id]


async def test_an_instant_may_be_given_in_place_of_a_delay(queue: TaskQueue, clock: FakeClock) -> None:
    """It carries a time zone, so there is no doubt about what it means."""
    when = clock.now + HOUR

    task = await queue.enqueue("MAIL", {"to": "ada"}, not_before=when)

    assert task.not_before == when
    assert (await queue.stats()).delayed == 1
    clock.advance(HOUR)
    assert len(await drain(queue, HANDLERS)) == 1


async def test_an_instant_that_is_past_means_now(queue: TaskQueue, clock: FakeClock) -> None:
    """A reminder for yesterday is not refused and not lost."""
    task = await queue.enqueue("MAIL", {"to": "ada"}, not_before=clock.now - HOUR)

    assert task.not_before is None
    assert len(await drain(queue, HANDLERS)) == 1


async def test_a_delayed_task_keeps_its_place(queue: TaskQueue, clock: FakeClock) -> None:
    """Submitted first and delayed, it runs first among those of its priority once it is due."""
    await queue.enqueue("MAIL", {"to": "first"}, delay=HOUR)
    await queue.enqueue("MAIL", {"to": "second"})
    await queue.enqueue("MAIL", {"to": "urgent"}, priority=2)
    clock.advance(HOUR)

    assert [task.result for task in await drain(queue, HANDLERS)] == ["urgent", "first", "second"]


async def test_a_delayed_task_holds_up_nobody(queue: TaskQueue) -> None:
    """However urgent it is, those that may run now do."""
    await queue.enqueue("MAIL", {"to": "later"}, priority=10, delay=HOUR)
    await queue.enqueue("MAIL", {"to": "now"}, priority=1)

    assert [task.result for task in await drain(queue, HANDLERS)] == ["now"]
