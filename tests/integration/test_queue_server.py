"""A queue and its server: opening, sharing calls, restarts, damage, durability."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from taskqueue import (
    Durability,
    DurabilityNotReached,
    InvalidTask,
    ServerUnavailable,
    ServerUnsuitable,
    TaskQueue,
    TaskSpec,
    TaskState,
)
from taskqueue.errors import QueueCorrupt
from taskqueue.keys import Keys
from taskqueue.queue.waiting import LOOK_AGAIN_AFTER
from taskqueue.store.calling import Caller
from taskqueue.testing import drain
from tests.servers import RealServer, wait_until


def script_calls(client: redis.Redis) -> int:
    """Return how many scripts the server has run since its statistics were reset."""
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"] for command in ("eval", "evalsha"))


def connections(client: redis.Redis) -> int:
    """Return how many connections the server has."""
    return len(client.client_list())


@pytest.fixture
async def own_server() -> AsyncIterator[RealServer]:
    """A server that the test may stop and damage."""
    with RealServer() as running:
        yield running


async def test_an_awaited_queue_is_as_good_as_an_entered_one(url: str, queue_name: str) -> None:
    """Both forms open it; the first must be closed by its holder, `async with` does it too."""
    queue = await TaskQueue.connect(url, name=queue_name)
    await queue.enqueue("T", {})
    async with queue:
        assert (await queue.stats()).queued == 1
    assert "closed" in repr(queue)


async def test_a_queue_leaves_no_connection_behind(url: str, queue_name: str, client: redis.Redis) -> None:
    """Neither when it is closed after use, nor when it could not be opened."""
    before = connections(client)

    async with TaskQueue.connect(url, name=queue_name, stride=5) as queue:
        task = await queue.enqueue("T", {})
        waiter = asyncio.create_task(queue.wait(task.id, 30))
        await drain(queue, {"T": len})
        await waiter
    with pytest.raises(ServerUnsuitable):
        await TaskQueue.connect(url, name=queue_name, stride=6)

    wait_until(lambda: connections(client) == before, "the connections are closed")


async def test_an_unclosed_queue_is_reported(url: str, queue_name: str) -> None:
    """By a ResourceWarning that names it, as with files."""
    queue = await TaskQueue.connect(url, name=queue_name)

    with pytest.warns(ResourceWarning, match=f"{queue_name}.*was not closed"):
        queue.__del__()
    await queue.close()


async def test_what_makes_promises_worth_less_is_logged(
    url: str, queue_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The test server keeps nothing on disk; whoever connects is told, with what to do about it."""
    with caplog.at_level(logging.WARNING, "taskqueue.queue"):
        async with TaskQueue.connect(url, name=queue_name):
            pass

    assert "appendonly yes" in caplog.text


async def test_a_server_that_deletes_keys_is_refused() -> None:
    """With what is wrong, and what to set."""
    with RealServer(maxmemory_policy="allkeys-lru") as server:
        with pytest.raises(ServerUnsuitable, match="noeviction"):
            await TaskQueue.connect(server.url)
        with server.client() as client:
            wait_until(lambda: connections(client) == 1, "the connections are closed")


async def test_concurrent_enqueues_share_calls(queue: TaskQueue, client: redis.Redis) -> None:
    """Two hundred at once cost a handful of scripts, and one alone costs one."""
    client.config_resetstat()
    await asyncio.gather(*(queue.enqueue("T", {"n": n}) for n in range(200)))
    assert script_calls(client) <= 3

    client.config_resetstat()
    await queue.enqueue("T", {})
    assert script_calls(client) <= 2


async def test_concurrent_gets_share_calls(queue: TaskQueue, client: redis.Redis) -> None:
    """And each gets its own task, also the one that asks for an unknown id."""
    tasks = await queue.enqueue_many([TaskSpec(type="T", payload={"n": n}) for n in range(50)])
    await queue.get(tasks[0].id)
    client.config_resetstat()

    found = await asyncio.gather(*(queue.get(task.id) for task in tasks), queue.get("unknown"))

    assert [task.payload["n"] for task in found if task is not None] == list(range(50))
    assert found[-1] is None
    assert script_calls(client) <= 2


async def test_cancelling_one_enqueue_does_not_cancel_the_others(queue: TaskQueue) -> None:
    """Of twenty concurrent callers every second gives up at once."""
    calls = [asyncio.create_task(queue.enqueue("T", {"n": n})) for n in range(20)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()

    results = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    stored = {task.id async for task in queue.tasks()}
    assert {result.id for result in results[1::2]} <= stored  # type: ignore[union-attr]


async def test_a_bad_task_does_not_disturb_its_neighbours(queue: TaskQueue) -> None:
    """It is refused before it is handed in with them."""
    good = [queue.enqueue("T", {"n": n}) for n in range(5)]

    results = await asyncio.gather(queue.enqueue("T", {}, priority=99), *good, return_exceptions=True)

    assert isinstance(results[0], InvalidTask)
    assert (await queue.stats()).queued == 5


async def test_a_durability_that_the_server_lacks_concerns_its_caller_alone(queue: TaskQueue) -> None:
    """The server writes nothing to disk: `fsync` is refused, the call made with it goes through."""
    asked, plain = await asyncio.gather(
        queue.enqueue("T", {"n": 1}, durability="fsync"), queue.enqueue("T", {"n": 2}), return_exceptions=True
    )

    assert isinstance(asked, ServerUnsuitable)
    assert not isinstance(plain, BaseException)
    assert [task.payload["n"] async for task in queue.tasks()] == [2]


async def test_tasks_are_on_disk_if_that_was_asked_for() -> None:
    """The server is killed right after the answer; the task is there when it is back."""
    with RealServer(appendonly="yes", appendfsync="always") as server:
        async with TaskQueue.connect(server.url, durability=Durability.FSYNC) as queue:
            one = await queue.enqueue("T", {"n": 1})
            many = await queue.enqueue_many([TaskSpec(type="T", payload={"n": n}) for n in range(10)])
            server.kill9()
            server.start()
            for task in (one, *many):
                found = await queue.get(task.id)
                assert found is not None
                assert found.durability is Durability.FSYNC


async def test_a_task_that_was_not_replicated_is_stored_all_the_same(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no replica to confirm it: the error says so, and names the tasks."""
    run_durably = Caller.run_durably

    async def impatient(
        self: Caller, name: str, level: Durability, copies: int, _: int, /, **named: Any
    ) -> Any:
        return await run_durably(self, name, level, copies, 50, **named)

    monkeypatch.setattr(Caller, "run_durably", impatient)

    with pytest.raises(DurabilityNotReached) as single:
        await queue.enqueue("T", {}, id="one", durability="replicated")
    specs = [TaskSpec(type="T", payload={}, id=f"many-{n}", durability="replicated") for n in range(3)]
    with pytest.raises(DurabilityNotReached) as several:
        await queue.enqueue_many(specs)

    assert (single.value.task_ids, single.value.wanted, single.value.reached) == (("one",), 1, 0)
    assert several.value.task_ids == ("many-0", "many-1", "many-2")
    assert (await queue.stats()).queued == 4
    results = await queue.enqueue_many(specs, return_exceptions=True)
    assert [type(result) for result in results] == [DurabilityNotReached] * 3


async def test_calls_go_on_after_a_restart_of_the_server(own_server: RealServer) -> None:
    """Every connection is gone, and the scripts too; nobody notices but by the time that it takes."""
    async with TaskQueue.connect(own_server.url, name="restarted") as queue:
        await queue.enqueue("T", {})
        own_server.stop()
        calls = [asyncio.create_task(queue.enqueue("T", {"n": n})) for n in range(20)]
        await asyncio.to_thread(own_server.start)

        tasks = await asyncio.gather(*calls)

        assert [task.sequence - tasks[0].sequence for task in tasks] == list(range(20))


async def test_a_wait_outlives_a_restart_of_the_server() -> None:
    """The task ends while the waiter's connection is down; the waiter hears of it all the same."""
    with RealServer(appendonly="yes", appendfsync="always") as server:
        async with TaskQueue.connect(server.url) as ours, TaskQueue.connect(server.url) as theirs:
            task = await ours.enqueue("T", {})
            waiter = asyncio.create_task(ours.wait(task.id))
            with server.client() as client:
                await asyncio.to_thread(wait_until_listening, client)
            server.stop()
            await asyncio.to_thread(server.start)
            await drain(theirs, {"T": len})

            # Sooner than the look that would find out without any message.
            async with asyncio.timeout(LOOK_AGAIN_AFTER - 1):
                assert (await waiter).state is TaskState.COMPLETED


async def test_a_wait_outlives_the_loss_of_its_connection(
    url: str, queue_name: str, client: redis.Redis
) -> None:
    """The connection that listens is killed at the very moment; the end is found soon after."""
    async with TaskQueue.connect(url, name=queue_name) as queue:
        task = await queue.enqueue("T", {})
        waiter = asyncio.create_task(queue.wait(task.id))
        await asyncio.to_thread(wait_until_listening, client)
        for found in client.client_list():
            if found["cmd"] == "blpop":
                client.client_kill_filter(_id=found["id"])
        await drain(queue, {"T": len})

        async with asyncio.timeout(LOOK_AGAIN_AFTER - 1):
            assert (await waiter).state is TaskState.COMPLETED


def wait_until_listening(client: redis.Redis) -> None:
    """Return when some connection of the server blocks on an inbox."""
    wait_until(lambda: any(found["cmd"] == "blpop" for found in client.client_list()), "somebody listens")


async def test_an_absent_server_is_an_error_after_the_patience(own_server: RealServer) -> None:
    """Every verb says so, each caller gets an exception of its own."""
    async with TaskQueue.connect(own_server.url, patience=0.2) as queue:
        task = await queue.enqueue("T", {})
        own_server.stop()

        verbs: list[Any] = [
            queue.enqueue("T", {}),
            queue.enqueue("T", {}),
            queue.get(task.id),
            queue.wait(task.id),
            queue.wait(task.id, 0),
            queue.enqueue_many([TaskSpec(type="T", payload={})]),
            queue.cancel(task.id),
            queue.stats(),
            queue.limits(),
        ]
        results = await asyncio.gather(*verbs, return_exceptions=True)
        placed = await queue.enqueue_many(
            [TaskSpec(type="T", payload={}) for _ in range(1500)], return_exceptions=True
        )

    assert [type(result) for result in results] == [ServerUnavailable] * len(verbs)
    assert results[0] is not results[1]
    assert {type(result) for result in placed} == {ServerUnavailable}
    assert len(placed) == 1500


async def test_many_dead_letters_are_discarded_in_steps(queue: TaskQueue) -> None:
    """More than one call of a script should carry."""
    tasks = await queue.enqueue_many([TaskSpec(type="T", payload={}) for _ in range(1200)])
    await asyncio.gather(*(queue.cancel(task.id) for task in tasks))

    assert await queue.discard([task.id for task in tasks]) == 1200
    assert [task async for task in queue.tasks()] == []


async def test_a_damaged_record_concerns_its_own_readers(
    queue: TaskQueue, keys: Keys, client: redis.Redis
) -> None:
    """Somebody overwrote one of three records: its reader is told, the other two are served."""
    tasks = [await queue.enqueue("T", {"n": n}) for n in range(3)]
    record = client.get(keys.task(tasks[1].id))
    assert isinstance(record, bytes)
    client.set(keys.task(tasks[1].id), b"2|what a newer version wrote")

    found = await asyncio.gather(*(queue.get(task.id) for task in tasks), return_exceptions=True)

    assert isinstance(found[1], QueueCorrupt)
    assert "newer version" in str(found[1])
    for place in (0, 2):
        assert not isinstance(found[place], BaseException)
    with pytest.raises(QueueCorrupt):
        await queue.wait(tasks[1].id, 5)
    client.set(keys.task(tasks[1].id), record)
