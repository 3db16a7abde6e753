"""redrive: a person submits a dead letter again: a new place, counts at zero, the same id."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from taskqueue.errors import IdempotencyConflict, ServerUnsuitable, TaskNotFinished, TaskNotFound
from taskqueue.ranking import MAX_SEQUENCE
from taskqueue.task import Task, TaskState
from tests.lua.scene import Scene


async def fail_one(scene: Scene, task_id: str = "a", **fields: object) -> None:
    """Make a dead letter."""
    await scene.enqueue(task_id, **fields)
    await scene.fail(await scene.claim_one())


async def test_a_dead_letter_is_queued_anew(scene: Scene) -> None:
    """Behind everything of its priority; attempts, crashes and the error are forgotten."""
    await fail_one(scene)
    await scene.enqueue("b")
    await scene.store.wait_wake(["GROK"], 1)
    scene.advance(5000)

    task = await scene.store.redrive("a")

    assert (task.state, task.attempt, task.deliveries, task.error) == (TaskState.QUEUED, 0, 0, None)
    assert (task.sequence, task.created_ms) == (3, scene.clock())
    assert task.payload == {"text": "hello"}
    assert scene.ready() == ["b", "a"]
    assert (scene.dead(), scene.finished()) == (set(), set())
    assert scene.expires(scene.keys.task("a")) is None
    assert scene.is_awake()


async def test_a_cancelled_task_can_be_redriven(scene: Scene) -> None:
    """It never ran; now it does."""
    await scene.enqueue("a")
    await scene.store.cancel("a")

    await scene.store.redrive("a")

    assert (await scene.claim_one()).deliveries == 1


async def test_the_old_token_is_worth_nothing(scene: Scene) -> None:
    """The worker that failed it reports again, late: its lease was another one."""
    await scene.enqueue("a")
    old = await scene.claim_one(request="r1")
    await scene.fail(old)
    await scene.store.redrive("a")
    await scene.claim_one(request="r2")
    before = scene.snapshot()

    assert await scene.complete(old) == ["stale"]
    assert scene.snapshot() == before


@pytest.mark.parametrize("state", ["QUEUED", "PROCESSING", "COMPLETED"])
async def test_only_what_failed_can_be_redriven(scene: Scene, state: str) -> None:
    """The refusal names the state."""
    await scene.enqueue("a")
    if state != "QUEUED":
        claimed = await scene.claim_one()
        if state == "COMPLETED":
            await scene.complete(claimed)
    before = scene.snapshot()

    with pytest.raises(TaskNotFinished, match=state):
        await scene.store.redrive("a")
    assert scene.snapshot() == before


async def test_an_unknown_task_is_not_found(scene: Scene) -> None:
    """It never existed, or was purged."""
    with pytest.raises(TaskNotFound):
        await scene.store.redrive("ghost")


async def test_a_redriven_task_holds_its_key_for_good_again(scene: Scene) -> None:
    """The key expires with a finished task, and no more with this one."""
    await fail_one(scene, idempotency_key="k")
    [idem] = scene.client.scan_iter(match="*idem:default:*")
    assert scene.expires(idem) is not None

    await scene.store.redrive("a")

    assert scene.expires(idem) is None
    [refusal] = await scene.offer(scene.entry("b", idempotency_key="k"))
    assert isinstance(refusal, IdempotencyConflict)
    assert refusal.task_id == "a"


async def test_a_key_that_has_gone_is_taken_again(scene: Scene) -> None:
    """The server lost the key alone: the redriven task has it again."""
    await fail_one(scene, idempotency_key="k")
    [idem] = scene.client.scan_iter(match="*idem:default:*")
    scene.client.delete(idem)

    await scene.store.redrive("a")

    assert scene.client.get(idem) == b"a"


async def test_a_key_that_another_task_has_stays_its_own(scene: Scene) -> None:
    """The key went, another task took it, and then the first one is redriven, without its key."""
    await fail_one(scene, idempotency_key="k")
    [idem] = scene.client.scan_iter(match="*idem:default:*")
    scene.client.delete(idem)
    await scene.enqueue("b", idempotency_key="k")

    await scene.store.redrive("a")

    assert scene.client.get(idem) == b"b"


async def test_a_redrive_needs_a_place_too(scene: Scene) -> None:
    """The counter of the queue has reached its end."""
    await fail_one(scene)
    scene.client.set(scene.keys.seq, MAX_SEQUENCE)
    before = scene.snapshot()

    with pytest.raises(ServerUnsuitable, match="has used up its sequence"):
        await scene.store.redrive("a")
    assert scene.snapshot() == before


async def test_a_reserved_task_takes_a_slot_again(scene: Scene) -> None:
    """It is counted as when it was enqueued."""
    await scene.store.set_limit(tenant="default", concurrency=1)
    await fail_one(scene, reserve=True)

    await scene.store.redrive("a")

    assert scene.hash(scene.keys.limit_tenant("default")) == {"max": "1", "used": "1"}
    assert scene.lanes() == ["default!"]


async def test_a_forgotten_tenant_is_known_again(scene: Scene) -> None:
    """Purged from the list of tenants meanwhile, it is walked over again."""
    await fail_one(scene, tenant="acme")
    scene.client.srem(scene.keys.tenants, "acme")

    await scene.store.redrive("a")

    assert scene.client.sismember(scene.keys.tenants, "acme")


async def test_what_is_cleared_before_it_is_shown_is_not_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was queued again, and somebody emptied the queue at once."""
    await fail_one(scene)
    fetch = scene.store.fetch

    async def clear_first(ids: Sequence[str]) -> list[Task | None]:
        assert await scene.store.clear() == 1
        return await fetch(ids)

    monkeypatch.setattr(scene.store, "fetch", clear_first)

    with pytest.raises(TaskNotFound, match="a"):
        await scene.store.redrive("a")
