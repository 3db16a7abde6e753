"""What users test their own code with."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taskqueue import TaskQueue, TaskState
from taskqueue.errors import InvalidSetting, InvalidTask
from taskqueue.testing import FakeClock, drain, memory_queue

USERS_TESTS = """
import pytest
from taskqueue import BlockingTaskQueue

@pytest.mark.parametrize("number", range(2))
def test_alone(number, taskqueue_url, taskqueue_clock):
    with BlockingTaskQueue.connect(taskqueue_url, clock=taskqueue_clock) as queue:
        assert queue.enqueue("MAIL", {}).created_at == taskqueue_clock.now
        assert queue.stats().queued == 1
"""


def test_a_clock_stands_still_until_it_is_moved() -> None:
    """It starts in the present, or where it is told to."""
    clock = FakeClock(datetime(2030, 1, 1, tzinfo=UTC))
    assert clock() == clock() == 1_893_456_000_000

    clock.advance(timedelta(seconds=1.5))

    assert clock.now == datetime(2030, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert "2030-01-01T00:00:01.500000" in repr(clock)
    assert abs(FakeClock().now - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_clock_runs_forward_and_knows_its_zone() -> None:
    """Going back would be no test of anything that can happen."""
    with pytest.raises(InvalidSetting):
        FakeClock().advance(timedelta(seconds=-1))
    with pytest.raises(InvalidSetting):
        FakeClock(datetime(2030, 1, 1))  # noqa: DTZ001


async def test_a_queue_in_memory_is_nobody_elses() -> None:
    """Two of them know nothing of each other; options are those of connect()."""
    clock = FakeClock(datetime.now(UTC) + timedelta(hours=1))
    async with memory_queue(clock=clock, max_queued=5) as first, memory_queue() as second:
        task = await first.enqueue("MAIL", {})

        assert task.created_at == clock.now
        assert (await second.stats()).queued == 0


async def test_drain_takes_sync_and_async_handlers(queue: TaskQueue) -> None:
    """What a handler returns is the result, what it raises the failure."""

    async def asynchronous(payload: dict[str, object]) -> object:
        return payload

    def failing(payload: dict[str, object]) -> object:
        raise ValueError("no")

    for type_ in ("SYNC", "ASYNC", "FAILING"):
        await queue.enqueue(type_, {"x": 1})

    ended = await drain(queue, {"SYNC": len, "ASYNC": asynchronous, "FAILING": failing})

    assert [(task.type, task.state, task.result) for task in ended] == [
        ("SYNC", TaskState.COMPLETED, 1),
        ("ASYNC", TaskState.COMPLETED, {"x": 1}),
        ("FAILING", TaskState.FAILED, None),
    ]
    assert await drain(queue, {"SYNC": len}) == []
    assert await queue.workers() == []


async def test_drain_does_not_return_what_is_gone(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody discards a task as soon as it has ended; the others are returned."""
    tasks = [await queue.enqueue("T", {"n": n}) for n in range(3)]
    fail = queue.store.fail

    async def fail_and_discard(failures: Any) -> Any:
        words = await fail(failures)
        assert await queue.discard([tasks[1].id]) == 1
        return words

    monkeypatch.setattr(queue.store, "fail", fail_and_discard)

    ended = await drain(queue, {"T": lambda payload: 1 // (payload["n"] - 1)})

    assert [task.id for task in ended] == [tasks[0].id, tasks[2].id]


def test_the_fixtures_are_those_of_the_manual(tmp_path: Path) -> None:
    """Tests of a user ask for them by name: a server each, in memory, and a clock."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["taskqueue.testing"]\n')
    (tmp_path / "test_users.py").write_text(USERS_TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=50)

    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


async def test_drain_refuses_a_handler_for_an_impossible_type(queue: TaskQueue) -> None:
    """A misspelt type would never have run."""
    with pytest.raises(InvalidTask, match="two words"):
        await drain(queue, {"two words": len})
