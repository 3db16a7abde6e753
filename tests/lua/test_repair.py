"""repair: lanes and due times are held against what they should be, and mended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.lua.conftest import MakeScene
from tests.lua.scene import Scene


async def busy(scene: Scene) -> None:
    """Fill a queue with something of everything."""
    await scene.store.set_limit(tenant="full", concurrency=1)
    await scene.store.pause(tenant="paused")
    for tenant in ("acme", "full", "paused"):
        await scene.enqueue(f"{tenant}-1", f"{tenant}-2", tenant=tenant, priority=3)
        await scene.enqueue(f"{tenant}-3", tenant=tenant, type="GEMINI", priority=5)
        await scene.enqueue(f"{tenant}-4", tenant=tenant, delay=timedelta(seconds=60))
    await scene.enqueue("reserved", tenant="acme", reserve=True)
    await scene.claim(limit=1)
    await scene.fail(await scene.claim_one(), retry_in_ms=5000)
    await scene.claim(("GEMINI",), limit=2)


@pytest.mark.parametrize("policy", ["strict", "fair_within_priority", "fair_tenants"])
async def test_a_sound_queue_needs_no_repair(make_scene: MakeScene, policy: str) -> None:
    """Every lane is looked at, none is changed, nor anything else."""
    scene = await make_scene(policy=policy)
    await busy(scene)
    for type_ in ("GROK", "GEMINI"):
        await scene.claim({type_: 0})
    before = scene.snapshot()

    repaired = await scene.store.repair()

    assert (repaired.checked, repaired.changed, repaired.cursor) == (3 * 2 * 2, 0, "0")
    assert scene.snapshot() == before


@pytest.mark.parametrize("policy", ["strict", "fair_tenants"])
@pytest.mark.parametrize(
    "damage", ["missing", "wrong rank", "parked", "ghost", "due missing", "due wrong", "due ghost"]
)
async def test_what_is_broken_is_mended_and_counted(make_scene: MakeScene, policy: str, damage: str) -> None:
    """One entry is broken by hand: one change, and the queue is what it was."""
    scene = await make_scene(policy=policy)
    await busy(scene)
    await scene.store.repair()
    before = scene.snapshot()
    lanes, due = scene.keys.lanes("GROK"), scene.keys.due
    match damage:
        case "missing":
            scene.client.zrem(lanes, "acme")
        case "wrong rank":
            scene.client.zincrby(lanes, 12345, "acme")
        case "parked":
            scene.client.zadd(lanes, {"paused": 99})
        case "ghost":
            scene.client.zadd(lanes, {"full!": 99})
        case "due missing":
            scene.client.zrem(due, "acme")
        case "due wrong":
            scene.client.zincrby(due, 500, "acme")
        case "due ghost":
            await scene.enqueue("z", tenant="zeta")
            before = scene.snapshot()
            scene.client.zadd(due, {"zeta": 1})
    assert scene.snapshot() != before

    repaired = await scene.store.repair()

    assert repaired.changed == 1
    assert scene.snapshot() == before


async def test_a_lane_that_was_lost_runs_again(scene: Scene) -> None:
    """Its type is woken, because nobody would come for it otherwise."""
    await scene.enqueue("a")
    scene.client.delete(scene.keys.lanes("GROK"))
    assert (await scene.claim()).tasks == []
    assert not scene.is_awake()

    await scene.store.repair()

    assert scene.is_awake()
    assert (await scene.claim_one()).id == "a"


async def test_many_tenants_are_visited_over_several_steps(scene: Scene) -> None:
    """600 tenants, the whole index is gone: every step mends a part, the cursor comes to all."""
    await scene.offer(*(scene.entry(f"t{number}", tenant=f"tenant-{number}") for number in range(600)))
    before = scene.client.zrange(scene.keys.lanes("GROK"), 0, -1, withscores=True)
    scene.client.delete(scene.keys.lanes("GROK"))

    cursor = "0"
    changed: list[int] = []
    while not changed or cursor != "0":
        repaired = await scene.store.repair(cursor, limit=100)
        cursor = repaired.cursor
        changed.append(repaired.changed)

    assert len(changed) > 2
    assert sum(changed) == 600
    assert scene.client.zrange(scene.keys.lanes("GROK"), 0, -1, withscores=True) == before
