"""fetch and watch: tasks as they are now, and a word when they end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.errors import QueueCorrupt
from taskqueue.task import TaskState
from tests.lua.scene import Scene


async def test_tasks_are_read_in_the_order_asked_for(scene: Scene) -> None:
    """Unknown ones are None, one that is asked for twice comes twice."""
    await scene.enqueue("a", "b")

    tasks = await scene.store.fetch(["b", "ghost", "a", "b"])

    assert [None if task is None else task.id for task in tasks] == ["b", None, "a", "b"]
    assert await scene.store.fetch([]) == []


async def test_what_is_anothers_is_as_good_as_unknown(scene: Scene) -> None:
    """In every state; and the server does the same for both, however long the record is."""
    payload = {"text": "x" * 100_000}
    await scene.enqueue("done", "running", "queued", tenant="acme", payload=payload)
    await scene.complete(await scene.claim_one())
    await scene.claim_one()
    await scene.enqueue("late", tenant="acme", payload=payload, delay=timedelta(seconds=5))

    # The first call of all may have to send the script.
    await scene.store.look([("ghost", "zeta")])
    costs = []
    for task_id in ("ghost", "done", "running", "queued", "late"):
        before = scene.client.info("commandstats")
        assert await scene.store.look([(task_id, "zeta")]) == [None]
        costs.append(scene.calls_since(before))
    assert costs == [costs[0]] * 5
    found = await scene.store.look([("done", "acme"), ("done", "zeta"), ("ghost", "acme"), ("late", "")])
    assert [None if task is None else task.id for task in found] == ["done", None, None, "late"]


async def test_a_delayed_task_says_when_it_is_due(scene: Scene) -> None:
    """Until it is ready."""
    await scene.enqueue("late", delay=timedelta(seconds=5), tenant="acme")
    assert (await scene.task("late")).not_before_ms == scene.clock() + 5000

    scene.advance(5000)
    await scene.store.promote()

    assert (await scene.task("late")).not_before_ms is None


async def test_a_task_is_read_with_everything_that_is_known(scene: Scene) -> None:
    """What its producer said, and what became of it."""
    await scene.enqueue(
        "a",
        tenant="acme",
        priority=3,
        idempotency_key="k",
        max_attempts=4,
        timeout=timedelta(seconds=9),
        cost=7,
        payload={"n": [1, None, {"deep": b"\x00\xff"}]},
    )
    claimed = await scene.claim_one(worker="worker-1")
    await scene.store.progress("a", claimed.token, b"\x05")

    task = await scene.task("a")

    assert (task.type, task.tenant, task.priority, task.sequence) == ("GROK", "acme", 3, 1)
    assert (task.idempotency_key, task.max_attempts, task.timeout, task.cost) == (
        "k",
        4,
        timedelta(seconds=9),
        7,
    )
    assert task.payload == {"n": [1, None, {"deep": b"\x00\xff"}]}
    assert (task.state, task.worker, task.progress) == (TaskState.PROCESSING, "worker-1", 5)


async def test_a_look_changes_nothing(scene: Scene) -> None:
    """The server itself would refuse it: the script is declared to write nothing."""
    await scene.enqueue("a")
    before = scene.snapshot()

    await scene.store.fetch(["a", "ghost"])

    assert scene.snapshot() == before


async def test_a_record_of_a_newer_version_is_not_guessed_at(scene: Scene) -> None:
    """By hand: the version of a record is raised."""
    await scene.enqueue("a")
    record = scene.client.get(scene.keys.task("a"))
    scene.client.set(scene.keys.task("a"), b"2" + record[1:])

    for tenant in ("", "default", "acme"):
        # Whose it is cannot be read, and its owner must not take it for lost.
        with pytest.raises(QueueCorrupt, match="newer version"):
            await scene.store.look([("a", tenant)])
    scene.client.set(scene.keys.task("a"), record)


async def test_a_watch_reads_and_registers_for_what_is_not_finished(scene: Scene) -> None:
    """For a minute, renewed by asking again; finished and unknown tasks need no registration."""
    await scene.enqueue("done", "running", "queued")
    await scene.complete(await scene.claim_one())
    await scene.claim_one()

    tasks = await scene.store.watch(["done", "running", "queued", "ghost"], "inbox-1")

    states = [None if task is None else task.state for task in tasks]
    assert states == [TaskState.COMPLETED, TaskState.PROCESSING, TaskState.QUEUED, None]
    for name in ("running", "queued"):
        assert scene.client.smembers(scene.keys.waiters(name)) == {b"inbox-1"}
        assert 0 < scene.client.pttl(scene.keys.waiters(name)) <= 60_000
    assert not scene.client.exists(scene.keys.waiters("done"), scene.keys.waiters("ghost"))
    assert await scene.store.watch([], "inbox-1") == []


async def test_an_inbox_is_told_of_each_end_once(scene: Scene) -> None:
    """Registered twice, told once; messages are taken all at once, in order."""
    await scene.enqueue("a", "b")
    for _ in range(2):
        await scene.store.watch(["a", "b"], "inbox-1")

    for claimed in (await scene.claim()).tasks:
        await scene.complete(claimed)

    assert await scene.store.listen("inbox-1", 1) == ["finished a", "finished b"]
    assert scene.inbox("inbox-1") == []
