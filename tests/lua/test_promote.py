"""promote: delayed tasks that are due go to their places, in bounded steps."""

from __future__ import annotations

from datetime import timedelta

from tests.lua.scene import Scene


async def test_what_is_due_becomes_ready_at_its_place(scene: Scene) -> None:
    """The place by submission, not by when it was due; counters and wake markers follow."""
    await scene.enqueue("first", delay=timedelta(seconds=9))
    await scene.enqueue("second", delay=timedelta(seconds=5))
    await scene.enqueue("third", delay=timedelta(seconds=60))
    await scene.enqueue("ready")
    await scene.store.wait_wake(["GROK"], 1)
    scene.advance(9000)

    promoted = await scene.store.promote()

    assert (promoted.count, promoted.more, promoted.next_in) == (2, False, 51.0)
    assert scene.ready() == ["first", "second", "ready"]
    assert scene.delayed() == {"third": 51_000}
    assert scene.due() == {"default": 51_000}
    assert scene.is_awake()


async def test_nothing_due_changes_nothing(scene: Scene) -> None:
    """A millisecond early is early."""
    await scene.enqueue("late", delay=timedelta(seconds=9))
    scene.advance(8999)
    before = scene.snapshot()

    promoted = await scene.store.promote()

    assert (promoted.count, promoted.more, promoted.next_in) == (0, False, 0.001)
    assert scene.snapshot() == before


async def test_a_step_has_a_limit(scene: Scene) -> None:
    """Five are due, two are moved at a time, the earliest first."""
    for number in range(5):
        await scene.enqueue(f"t{number}", delay=timedelta(seconds=5 - number))
    scene.advance(5000)

    first = await scene.store.promote(limit=2)
    assert (first.count, first.more) == (2, True)
    assert scene.ready() == ["t3", "t4"]
    second = await scene.store.promote(limit=2)
    third = await scene.store.promote(limit=2)

    assert (second.count, second.more) == (2, True)
    assert (third.count, third.more, third.next_in) == (1, False, None)
    assert scene.due() == {}


async def test_many_tenants_are_served_over_several_steps(scene: Scene) -> None:
    """50 tenants with a due task each: no step looks at all of them, and none is forgotten."""
    await scene.offer(
        *(
            scene.entry(f"t{number}", tenant=f"tenant-{number}", delay=timedelta(seconds=1))
            for number in range(50)
        )
    )
    scene.advance(1000)

    counts = []
    for _ in range(10):
        promoted = await scene.store.promote()
        counts.append(promoted.count)
        if not promoted.more:
            break

    assert sum(counts) == 50
    assert max(counts) < 50
    assert len(scene.lanes()) == 50


async def test_an_id_without_a_record_is_dropped(scene: Scene) -> None:
    """A stray entry in the delayed tasks does not stop the others, nor is it found again."""
    await scene.enqueue("late", delay=timedelta(seconds=1))
    scene.client.zadd(scene.keys.delayed("default"), {"ghost": scene.clock()})
    scene.advance(1000)

    promoted = await scene.store.promote()

    assert promoted.count == 2
    assert scene.ready() == ["late"]
    assert scene.delayed() == {}


async def test_a_parked_tenants_tasks_are_promoted_into_its_parked_lane(scene: Scene) -> None:
    """Due, but its tenant is paused: ready, and not in the index until it is resumed."""
    await scene.enqueue("late", tenant="acme", delay=timedelta(seconds=1))
    await scene.store.pause(tenant="acme")
    scene.advance(1000)

    await scene.store.promote()

    assert scene.ready(group="acme") == ["late"]
    assert scene.lanes() == []


async def test_a_step_has_a_bound_over_all_tenants(scene: Scene) -> None:
    """What one tenant took of it is gone for the next."""
    for tenant in ("acme", "zeta"):
        names = (f"{tenant}-{number}" for number in range(3))
        await scene.enqueue(*names, tenant=tenant, delay=timedelta(seconds=1))
    scene.advance(1000)

    promoted = await scene.store.promote(limit=4)

    assert (promoted.count, promoted.more) == (4, True)
    assert (await scene.store.promote(limit=4)).count == 2
