"""discard: records of finished tasks go before their retention is over."""

from __future__ import annotations

from tests.lua.scene import Scene


async def test_finished_tasks_go_with_everything_of_them(scene: Scene) -> None:
    """A dead letter, a completed one, a cancelled one: record, run, key and index entries."""
    await scene.enqueue("dead", "done", "cancelled", idempotency_key=None)
    await scene.fail(await scene.claim_one())
    await scene.complete(await scene.claim_one())
    await scene.store.cancel("cancelled")

    assert await scene.store.discard(["dead", "done", "cancelled"]) == 3

    assert (scene.dead(), scene.finished()) == (set(), set())
    for name in ("dead", "done", "cancelled"):
        assert not scene.client.exists(scene.keys.task(name), scene.keys.run(name))


async def test_its_key_is_free_again(scene: Scene) -> None:
    """A new task may take the idempotency key of a discarded one."""
    await scene.enqueue("a", idempotency_key="k")
    await scene.fail(await scene.claim_one())

    await scene.store.discard(["a"])

    await scene.enqueue("b", idempotency_key="k")


async def test_a_key_that_another_task_has_stays(scene: Scene) -> None:
    """The discarded task had lost its key to another one."""
    await scene.enqueue("a", idempotency_key="k")
    await scene.fail(await scene.claim_one())
    [idem] = scene.client.scan_iter(match="*idem:default:*")
    scene.client.delete(idem)
    await scene.enqueue("b", idempotency_key="k")

    await scene.store.discard(["a"])

    assert scene.client.get(idem) == b"b"


async def test_others_are_left_alone(scene: Scene) -> None:
    """QUEUED, PROCESSING and unknown ones are not counted and not touched."""
    await scene.enqueue("running", "queued")
    await scene.claim_one()
    before = scene.snapshot()

    assert await scene.store.discard(["running", "queued", "ghost"]) == 0
    assert await scene.store.discard([]) == 0

    assert scene.snapshot() == before


async def test_the_same_task_twice_is_counted_once(scene: Scene) -> None:
    """And again not at all."""
    await scene.enqueue("a")
    await scene.fail(await scene.claim_one())

    assert await scene.store.discard(["a", "a"]) == 1
    assert await scene.store.discard(["a"]) == 0
