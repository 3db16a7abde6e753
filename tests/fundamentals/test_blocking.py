"""The same queue from code without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskqueue import (
    BlockingTaskQueue,
    IdempotencyConflict,
    InvalidTask,
    Task,
    TaskQueue,
    TaskQueueError,
    TaskSpec,
    TaskState,
    WaitTimeout,
)
from taskqueue.testing import drain


@pytest.fixture
def blocking(url: str, queue_name: str) -> Iterator[BlockingTaskQueue]:
    """A connected queue for sync code."""
    with BlockingTaskQueue.connect(url, name=queue_name) as connected:
        yield connected


def work(url: str, name: str) -> list[Task]:
    """Run everything that is queued, as a worker elsewhere would."""

    async def once() -> list[Task]:
        async with TaskQueue.connect(url, name=name) as queue:
            return await drain(
                queue, {"ADD": lambda payload: payload["a"] + 1, "BREAK": lambda payload: 1 / 0}
            )

    return asyncio.run(once())


def test_a_script_enqueues_waits_and_reads(blocking: BlockingTaskQueue, url: str, queue_name: str) -> None:
    """No `await` anywhere; a worker elsewhere does the work."""
    task = blocking.enqueue("ADD", {"a": 1}, priority=5)
    worker = threading.Thread(target=work, args=(url, queue_name))
    worker.start()

    finished = blocking.wait(task.id, timeout=30)

    worker.join()
    assert (finished.state, finished.result) == (TaskState.COMPLETED, 2)
    assert blocking.get(task.id) is not None
    assert blocking.get("unknown") is None


def test_many_tasks_go_in_one_call(blocking: BlockingTaskQueue) -> None:
    """Also from a generator, and with refusals in their places."""
    tasks = blocking.enqueue_many(TaskSpec(type="ADD", payload={"a": n}) for n in range(20))
    mixed = blocking.enqueue_many(
        [TaskSpec(type="ADD", payload={}), TaskSpec(type="", payload={})], return_exceptions=True
    )

    assert [task.payload["a"] for task in tasks] == list(range(20))
    assert [type(result) for result in mixed] == [Task, InvalidTask]


def test_errors_are_the_same(blocking: BlockingTaskQueue) -> None:
    """Raised in the thread that called."""
    first = blocking.enqueue("ADD", {}, idempotency_key="k")

    with pytest.raises(IdempotencyConflict) as refusal:
        blocking.enqueue("ADD", {}, idempotency_key="k")
    with pytest.raises(WaitTimeout):
        blocking.wait(first.id, timeout=0.01)

    assert refusal.value.task_id == first.id


def test_an_operators_script(blocking: BlockingTaskQueue, url: str, queue_name: str) -> None:
    """Limits, pauses, lists, redrive, discard, clear, numbers."""
    blocking.set_limit(type="ADD", concurrency=2)
    blocking.pause(tenant="bob")
    assert {(limit.scope, limit.name) for limit in blocking.limits()} == {("type", "ADD"), ("tenant", "bob")}
    blocking.resume(tenant="bob")
    assert blocking.is_paused() is False
    blocking.set_limit(provider="openai", concurrency=2, rate=60, lowest=1)
    blocking.pause(provider="openai")
    assert [(state.name, state.condition) for state in blocking.providers()] == [("openai", "paused")]
    blocking.resume(provider="openai")
    assert [(state.condition, state.rate) for state in blocking.providers()] == [("ready", 60)]

    broken = blocking.enqueue("BREAK", {})
    work(url, queue_name)
    assert [task.id for task in blocking.tasks(state=TaskState.FAILED)] == [broken.id]
    assert blocking.redrive(broken.id).state is TaskState.QUEUED
    assert blocking.cancel(broken.id).state is TaskState.CANCELLED
    assert blocking.discard([broken.id]) == 1

    blocking.enqueue("ADD", {"a": 1})
    assert blocking.stats().queued == 1
    assert blocking.clear() == 1
    assert blocking.workers() == []


def test_credits_keys_and_webhooks_are_looked_after(
    blocking: BlockingTaskQueue, url: str, queue_name: str
) -> None:
    """What a tenant has, which task holds a key, and that a receiver took a webhook."""
    assert blocking.balance("bob") is None
    assert blocking.grant("bob", 10).granted == 10
    task = blocking.enqueue(
        "ADD", {"a": 1}, tenant="bob", cost=4, idempotency_key="k", webhook="https://example.com/"
    )
    found = blocking.find("bob", "k")
    assert found is not None
    assert found.id == task.id
    assert blocking.find("bob", "another") is None

    work(url, queue_name)

    balance = blocking.balance("bob")
    assert balance is not None
    assert (balance.spent, balance.remaining) == (4, 6)
    assert blocking.delivered(task.id) is True
    assert blocking.delivered("unknown") is False


def test_tasks_are_fetched_as_they_are_asked_for(blocking: BlockingTaskQueue) -> None:
    """Somebody who wants three of 250 does not wait for all; the rest may be left alone."""
    blocking.enqueue_many([TaskSpec(type="ADD", payload={"a": n}) for n in range(250)])

    some = blocking.tasks()
    first = [next(some) for _ in range(3)]
    del some

    assert len(first) == 3
    assert len({task.id for task in blocking.tasks()}) == 250


def test_threads_share_a_queue(blocking: BlockingTaskQueue) -> None:
    """Eight threads enqueue a hundred tasks each; none is lost, none is stored twice."""

    def enqueue(thread: int) -> list[Task]:
        return [blocking.enqueue("ADD", {"a": thread * 1000 + n}) for n in range(100)]

    with ThreadPoolExecutor(8) as pool:
        tasks = [task for found in pool.map(enqueue, range(8)) for task in found]

    assert len({task.sequence for task in tasks}) == 800
    assert blocking.stats().queued == 800


def test_a_closed_queue_says_so(url: str, queue_name: str) -> None:
    """Closing it again does no harm; a thread that was waiting for a task is woken."""
    queue = BlockingTaskQueue.connect(url, name=queue_name)
    task = queue.enqueue("ADD", {})
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(queue.wait, task.id, 30)
        with pytest.raises(WaitTimeout):
            queue.wait(task.id, 0.05)
        queue.close()
        queue.close()

        assert isinstance(waiter.exception(10), TaskQueueError)
    with pytest.raises(TaskQueueError, match="closed"):
        queue.enqueue("ADD", {})
    with pytest.raises(TaskQueueError, match="closed"):
        next(queue.tasks())
    assert "closed" in repr(queue)
