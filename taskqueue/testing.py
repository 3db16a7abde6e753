"""For tests of code that uses a queue: a clock to move by hand, a queue in memory, a way to run tasks.

A test of a producer, with nothing to install but `taskqueue-engine[memory]`::

    from taskqueue.testing import drain, memory_queue


    async def test_an_order_sends_a_mail() -> None:
        sent = []
        async with memory_queue() as queue:
            await place_order(queue, "ada@example.org")
            [task] = await drain(queue, {"mail.send": sent.append})
        assert sent == [{"to": "ada@example.org"}]

A test with delays moves the clock and waits for nothing::

    clock = FakeClock()
    async with memory_queue(clock=clock) as queue:
        await queue.enqueue("mail.send", {}, delay=timedelta(days=1))
        assert await drain(queue, handlers) == []
        clock.advance(timedelta(days=1))
        assert len(await drain(queue, handlers)) == 1

With `pytest_plugins = ["taskqueue.testing"]` in the top `conftest.py` there are two fixtures:
`taskqueue_url`, a server in memory that no other test uses, and `taskqueue_clock`, a `FakeClock`.
Code that connects by itself finds such a server if a test sets `TASKQUEUE_URL` to it.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from taskqueue.codec import MAX_PAYLOAD, encode_error, encode_value
from taskqueue.errors import InvalidSetting
from taskqueue.ids import new_id
from taskqueue.names import check_type
from taskqueue.queue import TaskQueue
from taskqueue.store import ClaimedTask, ClaimRequest, Completion, Failure, Store
from taskqueue.task import Task, TaskError

__all__ = ["FakeClock", "drain", "memory_queue"]

_LEASE_MS = 3_600_000
_MILLISECOND = timedelta(milliseconds=1)


class FakeClock:
    """A clock that stands still until it is moved; `connect(clock=FakeClock())` takes it.

    The queue then lives by it in place of the server's clock: delays, backoffs and leases. Only
    the removal of old records stays with the server, so a clock should start near the present.

    Args:
        start: Where it stands at first, with a time zone; None for the present.
    """

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.utcoffset() is None:
            raise InvalidSetting("start", start, "a datetime with a time zone")
        self._ms = int((time.time() if start is None else start.timestamp()) * 1000)

    def __call__(self) -> int:
        """Return the instant in epoch milliseconds."""
        return self._ms

    @property
    def now(self) -> datetime:
        """The instant, in UTC."""
        return datetime.fromtimestamp(self._ms / 1000, UTC)

    def advance(self, by: timedelta) -> None:
        """Move the clock forward."""
        if by < timedelta(0):
            raise InvalidSetting("by", by, "a timedelta of 0 or more: time does not run backwards")
        self._ms += by // _MILLISECOND

    def __repr__(self) -> str:
        return f"FakeClock({self.now.isoformat()})"


@asynccontextmanager
async def memory_queue(**options: Any) -> AsyncIterator[TaskQueue]:
    """Open a queue in this process' memory that nobody else uses.

    Args:
        options: Those of `TaskQueue.connect()`, such as `clock` or `max_queued`.

    Raises:
        ServerUnsuitable: If fakeredis is not installed: the extra `memory` brings it.
    """
    async with TaskQueue.connect(f"memory://{new_id()}", **options) as queue:
        yield queue


async def drain(queue: TaskQueue, handlers: Mapping[str, Callable[[dict[str, Any]], Any]]) -> list[Task]:
    """Run tasks one after the other, in the queue's order, until none is left that could run now.

    Tasks that a handler enqueues are run too. There are no retries: a task whose handler raises is
    FAILED at once, so that a test sees it. Delayed tasks stay where they are until the clock has
    moved; tasks of other types are left alone.

    Args:
        queue: Any queue, on a real server too.
        handlers: For each type of task a function, async or not, that takes the payload and
            returns the result.

    Returns:
        The tasks that ended, in the order in which they did.
    """
    store, worker = queue.store, f"drain-{new_id()}"
    slots = {check_type(name): 1 for name in handlers}
    ended: list[Task] = []
    try:
        while True:
            claim = await store.claim(ClaimRequest(worker, new_id(), slots, 1, _LEASE_MS))
            for claimed in claim.tasks:
                await _run(store, claimed, handlers)
                if (task := await queue.get(claimed.id)) is not None:
                    ended.append(task)
            if not claim.tasks and not claim.more:
                return ended
    finally:
        await store.forget_worker(worker)


async def _run(
    store: Store, claimed: ClaimedTask, handlers: Mapping[str, Callable[[dict[str, Any]], Any]]
) -> None:
    try:
        task = claimed.task()
        outcome = handlers[task.type](task.payload)
        if inspect.isawaitable(outcome):
            outcome = await outcome
        result = encode_value(outcome, field="result", max_bytes=MAX_PAYLOAD)
    except Exception as error:  # noqa: BLE001 - what a handler raises is the outcome of its task
        told = TaskError("HANDLER_ERROR", f"{type(error).__name__}: {error}")
        await store.fail([Failure(claimed.id, claimed.token, encode_error(told))])
    else:
        await store.complete([Completion(claimed.id, claimed.token, result)])


with suppress(ImportError):
    import pytest

    @pytest.fixture
    def taskqueue_url() -> str:
        """A server in memory that no other test uses."""
        return f"memory://{new_id()}"

    @pytest.fixture
    def taskqueue_clock() -> FakeClock:
        """A clock that stands still until the test moves it."""
        return FakeClock()
