"""purge: indexes lose what has expired by itself, tenants and workers that are gone are forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from taskqueue.testing import FakeClock
from tests.lua.conftest import MakeScene
from tests.lua.scene import Scene

DAY_MS = 24 * 3600 * 1000


async def long_ago(make_scene: MakeScene) -> Scene:
    """Return a scene of 25 hours ago: what ends there has expired by the server's clock."""
    return await make_scene(clock=FakeClock(datetime.now(UTC) - timedelta(hours=25)))


async def test_indexes_lose_what_has_expired(make_scene: MakeScene) -> None:
    """A completed task, a dead letter: their records go by themselves, then their entries."""
    scene = await long_ago(make_scene)
    await scene.enqueue("done", "dead", tenant="acme")
    await scene.complete(await scene.claim_one())
    await scene.fail(await scene.claim_one())
    assert not scene.client.exists(scene.keys.task("done"), scene.keys.run("done"), scene.keys.task("dead"))
    assert scene.finished("acme") == {"done", "dead"}
    scene.advance(DAY_MS)

    purged = await scene.store.purge()

    assert (purged.count, purged.cursor) == (3, "0")
    assert (scene.finished("acme"), scene.dead()) == (set(), set())


async def test_what_can_still_be_read_stays(scene: Scene) -> None:
    """Finished tasks within their retention, queued and running ones."""
    await scene.enqueue("running", "dead", "done", "queued")
    await scene.claim_one()
    await scene.fail(await scene.claim_one())
    await scene.complete(await scene.claim_one())
    before = scene.snapshot()

    assert (await scene.store.purge()).count == 0
    assert scene.snapshot() == before


async def test_silent_workers_are_forgotten(scene: Scene) -> None:
    """After a minute without a beat."""
    await scene.store.extend("silent", [], 15_000)
    scene.advance(1)
    await scene.store.extend("alive", [], 15_000)
    scene.advance(59_999)

    assert (await scene.store.purge()).count == 1
    assert [name.decode() for name in scene.client.zrange(scene.keys.workers, 0, -1)] == ["alive"]


async def test_a_tenant_without_anything_is_forgotten(make_scene: MakeScene) -> None:
    """Nothing queued, nothing running, nothing finished: it leaves the list of tenants, and no key."""
    scene = await long_ago(make_scene)
    await scene.enqueue("gone", tenant="acme")
    await scene.complete(await scene.claim_one())
    await scene.enqueue("queued", tenant="zeta")
    await scene.enqueue("running", tenant="mu", priority=9)
    await scene.claim_one()
    scene.advance(DAY_MS)

    await scene.store.purge()

    assert scene.client.smembers(scene.keys.tenants) == {b"zeta", b"mu"}
    assert not [name for name in scene.names() if b"acme" in name]


async def test_a_tenant_whose_reserved_task_waits_is_kept(scene: Scene) -> None:
    """It holds a slot, and is queued."""
    await scene.enqueue("reserved", tenant="acme", reserve=True)

    await scene.store.purge()

    assert scene.client.smembers(scene.keys.tenants) == {b"acme"}


async def test_a_tenant_that_waits_for_nothing_loses_its_virtual_time(make_scene: MakeScene) -> None:
    """It would start at the queue's virtual time anyway; one that is ahead, or waits, keeps its own."""
    scene = await make_scene(policy="fair_tenants")
    await scene.enqueue("a", tenant="idle")
    await scene.complete(await scene.claim_one())
    await scene.enqueue("b1", "b2", "b3", tenant="busy")
    await scene.claim(limit=2)
    times = {name.decode(): score for name, score in scene.client.zscan_iter(scene.keys.virtual)}
    assert times == {"idle": 1000, "busy": 2000}

    purged = await scene.store.purge()

    assert purged.count == 1
    assert [name for name, _ in scene.client.zscan_iter(scene.keys.virtual)] == [b"busy"]


async def test_a_step_has_a_limit(make_scene: MakeScene) -> None:
    """Of each index so many entries at the most, the oldest first."""
    scene = await long_ago(make_scene)
    await scene.enqueue(*(f"t{number}" for number in range(5)))
    await scene.fail(*(await scene.claim()).tasks)
    scene.advance(DAY_MS)

    counts = [(await scene.store.purge(limit=2)).count for _ in range(4)]

    assert counts == [4, 4, 2, 0]


async def test_many_tenants_are_visited_over_several_steps(make_scene: MakeScene) -> None:
    """500 tenants whose tasks have expired: a step looks at some of them, the cursor at all."""
    scene = await long_ago(make_scene)
    await scene.offer(*(scene.entry(f"t{number}", tenant=f"tenant-{number}") for number in range(500)))
    await scene.complete(*(await scene.claim()).tasks)
    scene.advance(DAY_MS)

    cursor, steps = "0", 0
    while not steps or cursor != "0":
        cursor = (await scene.store.purge(cursor)).cursor
        steps += 1

    assert steps > 1
    assert scene.client.scard(scene.keys.tenants) == 0


async def test_a_tenant_that_waits_keeps_its_virtual_time(make_scene: MakeScene) -> None:
    """Even if others are far ahead: what it is owed is not forgotten while it has tasks."""
    scene = await make_scene(policy="fair_tenants")
    await scene.enqueue("w1", "w2", tenant="waits")
    await scene.claim(limit=1)
    await scene.enqueue(*(f"b{number}" for number in range(5)), tenant="busy", type="GEMINI")
    await scene.claim(("GEMINI",))
    before = dict(scene.client.zscan_iter(scene.keys.virtual))

    await scene.store.purge()

    assert dict(scene.client.zscan_iter(scene.keys.virtual)) == before
    assert set(before) == {b"waits", b"busy"}
