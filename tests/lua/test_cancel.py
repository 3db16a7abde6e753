"""cancel: a QUEUED task ends at once, a PROCESSING one is asked to stop."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.task import TaskState
from tests.lua.scene import Scene


@pytest.mark.parametrize("delay", [None, timedelta(seconds=60)], ids=["ready", "delayed"])
async def test_a_queued_task_ends_at_once(scene: Scene, delay: timedelta | None) -> None:
    """It leaves its place, its waiters are told, and it never runs."""
    await scene.enqueue("a", "b", delay=delay, tenant="acme")
    await scene.store.watch(["a"], "inbox-1")

    task = await scene.store.cancel("a")

    assert task is not None
    assert (task.state, task.attempt, task.finished_ms) == (TaskState.CANCELLED, 0, scene.clock())
    assert task.error is not None
    assert task.error.code == "TASK_CANCELLED"
    assert scene.inbox("inbox-1") == ["finished a"]
    assert scene.finished("acme") == {"a"}
    assert scene.dead() == set()
    assert scene.hash(scene.keys.count_tenant("acme"))["queued"] == "1"
    scene.advance(60_000)
    assert [claimed.id for claimed in (await scene.claim()).tasks] == ["b"]


async def test_a_task_in_its_backoff_ends_at_once(scene: Scene) -> None:
    """It has run before, and will not run again; its first error is replaced by the cancel."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()
    await scene.fail(claimed, retry_in_ms=5000)

    task = await scene.store.cancel("a")

    assert task is not None
    assert (task.state, task.attempt) == (TaskState.CANCELLED, 1)
    assert scene.delayed() == {}
    assert scene.due() == {}


async def test_the_only_task_of_a_lane_takes_its_group_out_of_the_index(scene: Scene) -> None:
    """No lane without a task is ranked."""
    await scene.enqueue("a")

    await scene.store.cancel("a")

    assert scene.lanes() == []


async def test_everything_of_it_expires(scene: Scene) -> None:
    """Record, run and idempotency key, a day after acceptance."""
    await scene.enqueue("a", idempotency_key="k")
    [idem] = scene.client.scan_iter(match="*idem:default:*")

    await scene.store.cancel("a")

    for key in (scene.keys.task("a"), scene.keys.run("a"), idem):
        assert scene.expires(key) == 24 * 3600 * 1000


async def test_the_worker_of_a_running_task_is_asked(scene: Scene) -> None:
    """The task goes on until its handler has stopped; the worker finds task and token in its inbox."""
    await scene.enqueue("a")
    claimed = await scene.claim_one(worker="worker-1")

    task = await scene.store.cancel("a")

    assert task is not None
    assert task.state is TaskState.PROCESSING
    assert scene.inbox("worker-1") == [f"cancel a {claimed.token}"]
    assert 0 < scene.client.pttl(scene.keys.inbox("worker-1")) <= 60_000
    assert list(scene.leased()) == ["a"]
    assert await scene.store.listen("worker-1", 1) == [f"cancel a {claimed.token}"]


async def test_a_cancel_may_be_repeated(scene: Scene) -> None:
    """Of a running task: asked again. Of one that has ended: nothing."""
    await scene.enqueue("running", "queued")
    claimed = await scene.claim_one()
    await scene.store.cancel("running")
    await scene.store.cancel("queued")
    before = scene.snapshot()

    again = await scene.store.cancel("queued")
    assert again is not None
    assert again.state is TaskState.CANCELLED
    assert scene.snapshot() == before

    await scene.store.cancel("running")
    assert scene.inbox("worker-1") == [f"cancel running {claimed.token}"] * 2


@pytest.mark.parametrize("end", ["complete", "fail"])
async def test_a_task_that_has_ended_stays_as_it_is(scene: Scene, end: str) -> None:
    """Too late."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()
    await (scene.complete(claimed) if end == "complete" else scene.fail(claimed))
    before = scene.snapshot()

    task = await scene.store.cancel("a")

    assert task is not None
    assert task.state is (TaskState.COMPLETED if end == "complete" else TaskState.FAILED)
    assert scene.snapshot() == before


async def test_what_waits_is_ended_and_what_runs_is_left_alone(scene: Scene) -> None:
    """One call, so that no worker can start it between a look and a cancel."""
    await scene.enqueue("running")
    await scene.claim_one()
    await scene.enqueue("ready")
    await scene.enqueue("late", delay=timedelta(seconds=5))
    before = scene.snapshot()

    assert not await scene.store.cancel_queued("running")
    assert not await scene.store.cancel_queued("ghost")
    assert scene.snapshot() == before
    for name in ("ready", "late"):
        assert await scene.store.cancel_queued(name)
        assert (await scene.task(name)).state is TaskState.CANCELLED
        # Perhaps the reply was lost, and this is the same call again.
        assert await scene.store.cancel_queued(name)


async def test_an_unknown_task_is_none(scene: Scene) -> None:
    """And nothing is made of it."""
    before = scene.snapshot()

    assert await scene.store.cancel("ghost") is None
    assert scene.snapshot() == before


async def test_a_reserved_task_gives_its_slot_back(scene: Scene) -> None:
    """The tenant's ordinary task may run then, and somebody is woken for it."""
    await scene.store.set_limit(tenant="default", concurrency=1)
    await scene.enqueue("reserved", reserve=True)
    await scene.enqueue("ordinary", type="GEMINI")
    assert scene.lanes("GEMINI") == []

    await scene.store.cancel("reserved")

    assert scene.lanes("GEMINI") == ["default"]
    assert scene.is_awake("GEMINI")


async def test_a_new_claim_knows_nothing_of_an_old_cancel(scene: Scene) -> None:
    """A task that was cancelled and redriven runs as any other."""
    await scene.enqueue("a")
    await scene.claim_one()
    await scene.store.cancel("a")
    await scene.lose()
    await scene.store.redrive("a")

    claimed = await scene.claim_one()

    extension = await scene.store.extend("worker-1", [(claimed.id, claimed.token)], 15_000)
    assert extension.cancelled == []
    assert await scene.fail(claimed, retry_in_ms=0) == ["retried"]


async def test_only_what_waits_is_cancelled_where_that_is_asked(scene: Scene) -> None:
    """Asked again it says the same; what runs, or has ended otherwise, is left as it is."""
    await scene.enqueue("runs", "done", "waits")
    running, done = (await scene.claim(limit=2)).tasks
    await scene.complete(done)

    assert await scene.store.cancel_queued("waits")
    after = scene.snapshot()

    assert await scene.store.cancel_queued("waits")
    assert not await scene.store.cancel_queued(running.id)
    assert not await scene.store.cancel_queued("done")
    assert not await scene.store.cancel_queued("unknown")
    assert scene.snapshot() == after
