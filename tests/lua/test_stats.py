"""stats: what is queued and what runs, of the queue, a type, a tenant, a type of a tenant."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.ranking import Order
from taskqueue.store import Limit, Stats
from tests.lua.conftest import MakeScene
from tests.lua.scene import Scene


async def filled(scene: Scene) -> Scene:
    """Fill a queue: acme and zeta, GROK and GEMINI, ready, delayed, running."""
    await scene.enqueue("a-running", tenant="acme", priority=9)
    await scene.claim_one()
    scene.advance(1000)
    await scene.enqueue("a1", tenant="acme", priority=1)
    scene.advance(1000)
    await scene.enqueue("a2", "a3", tenant="acme", priority=5)
    await scene.enqueue("z1", tenant="zeta", priority=5)
    scene.advance(1000)
    await scene.enqueue("a4", tenant="acme", priority=5, type="GEMINI")
    await scene.enqueue("a5", tenant="acme", priority=2, delay=timedelta(seconds=60))
    scene.advance(1000)
    return scene


async def test_the_whole_queue(scene: Scene) -> None:
    """Every type with its limit; delayed tasks are among the queued."""
    await filled(scene)

    stats = await scene.store.stats()

    assert (stats.queued, stats.processing, stats.delayed) == (6, 1, 1)
    assert stats.by_priority == {5: 4, 2: 1, 1: 1}
    assert set(stats.limits) == {
        Limit("type", "GROK", None, 1, False),
        Limit("type", "GEMINI", None, 0, False),
    }
    assert stats.oldest_age == timedelta(seconds=3)


async def test_a_type(scene: Scene) -> None:
    """Only its own tasks, of all tenants."""
    await filled(scene)
    await scene.store.set_limit(type="GEMINI", concurrency=7)
    await scene.store.pause(type="GEMINI")

    assert await scene.store.stats(type="GEMINI") == Stats(
        queued=1,
        processing=0,
        delayed=0,
        by_priority={5: 1},
        oldest_age=timedelta(seconds=1),
        limits=(Limit("type", "GEMINI", 7, 0, True),),
    )


async def test_a_tenant(scene: Scene) -> None:
    """All of its types, and its own limit."""
    await filled(scene)
    await scene.store.set_limit(tenant="acme", concurrency=4)

    stats = await scene.store.stats(tenant="acme")

    assert (stats.queued, stats.processing, stats.delayed) == (5, 1, 1)
    assert stats.by_priority == {5: 3, 2: 1, 1: 1}
    assert Limit("tenant", "acme", 4, 1, False) in stats.limits
    assert stats.oldest_age == timedelta(seconds=3)


async def test_a_type_of_a_tenant(scene: Scene) -> None:
    """Neither the tenant's other types nor the type's other tenants."""
    await filled(scene)

    stats = await scene.store.stats(type="GROK", tenant="acme")

    assert (stats.queued, stats.processing, stats.delayed) == (4, 1, 1)
    assert stats.by_priority == {5: 2, 2: 1, 1: 1}


async def test_an_empty_queue(scene: Scene) -> None:
    """Nothing at all, also of names that nobody has used."""
    nothing = Stats(queued=0, processing=0, delayed=0, by_priority={}, oldest_age=None, limits=())

    assert await scene.store.stats() == nothing
    assert (await scene.store.stats(type="GHOST")).queued == 0
    assert (await scene.store.stats(tenant="ghost")).oldest_age is None


async def test_the_oldest_task_is_found_behind_better_ones(scene: Scene) -> None:
    """The head of the lane is young; the oldest of the lowest priority is what counts."""
    await scene.enqueue("old", priority=1)
    scene.advance(5000)
    await scene.enqueue("middle", priority=4)
    scene.advance(5000)
    await scene.enqueue("young", priority=9)

    for stats in (await scene.store.stats(), await scene.store.stats(tenant="default")):
        assert stats.oldest_age == timedelta(seconds=10)


async def test_reserved_tasks_count(scene: Scene) -> None:
    """They are queued in their own lane and band, and the slot that they hold is used."""
    await scene.store.set_limit(tenant="default", concurrency=3)
    await scene.enqueue("reserved", reserve=True)
    scene.advance(2000)

    stats = await scene.store.stats(tenant="default")

    assert (stats.queued, stats.by_priority) == (1, {11: 1})
    assert Limit("tenant", "default", 3, 1, False) in stats.limits
    assert stats.oldest_age == timedelta(seconds=2)


async def test_a_bounded_queue_has_an_oldest_task_too(make_scene: MakeScene) -> None:
    """The head of each lane stands for it."""
    scene = await make_scene(Order(10))
    await scene.enqueue("a", tenant="acme")
    scene.advance(2000)
    await scene.enqueue("z", tenant="zeta", priority=9)
    scene.advance(1000)

    assert (await scene.store.stats()).oldest_age == timedelta(seconds=3)


async def test_a_look_changes_nothing(scene: Scene) -> None:
    """The server itself would refuse it: the script is declared to write nothing."""
    await filled(scene)
    before = scene.snapshot()

    await scene.store.stats()
    await scene.store.stats(type="GROK", tenant="acme")

    assert scene.snapshot() == before


async def test_the_last_place_of_a_priority_does_not_hide_the_others(scene: Scene) -> None:
    """Its score is the bound to the priority below: the walk goes on from there."""
    await scene.enqueue("old", priority=2)
    scene.advance(1000)
    await scene.enqueue("new", priority=7)
    ready = scene.keys.ready("GROK", "default")
    score = int(scene.client.zscore(ready, "new"))
    scene.client.zadd(ready, {"new": score - score % int(scene.hash(scene.keys.meta)["stride"])})

    assert (await scene.store.stats()).oldest_age == timedelta(seconds=1)
    scene.client.zadd(ready, {"new": score})


@pytest.mark.parametrize("score", ["-inf", "-1e300", "inf", "1e300"])
async def test_a_score_that_nobody_gives_does_not_keep_the_server_busy(scene: Scene, score: str) -> None:
    """Put there by hand: the walk over priorities ends all the same, with what it has seen."""
    await scene.enqueue("a")
    scene.advance(1000)
    ready = scene.keys.ready("GROK", "default")
    before = scene.client.zscore(ready, "a")
    scene.client.zadd(ready, {"a": score})

    assert (await scene.store.stats()).oldest_age == timedelta(seconds=1)
    scene.client.zadd(ready, {"a": before})


@pytest.mark.parametrize(("above", "below", "age"), [(49, 50, 2), (50, 49, 2), (50, 50, 1)])
async def test_of_a_type_so_many_lanes_are_looked_at(scene: Scene, above: int, below: int, age: int) -> None:
    """The first 50 and the last 50; what is between them may be older."""
    await scene.enqueue("middle", tenant="middle", priority=5)
    scene.advance(1000)
    for priority, count in ((9, above), (1, below)):
        names = [f"p{priority}-{number}" for number in range(count)]
        await scene.offer(*(scene.entry(name, tenant=name, priority=priority) for name in names))
    scene.advance(1000)

    assert (await scene.store.stats(type="GROK")).oldest_age == timedelta(seconds=age)


async def test_the_limit_of_a_tenant_is_among_its_numbers(scene: Scene) -> None:
    """Beside those of its types."""
    await scene.store.set_limit(tenant="acme", concurrency=3)
    await scene.enqueue("a", tenant="acme")

    limits = (await scene.store.stats(tenant="acme")).limits

    assert Limit("tenant", "acme", 3, 0, False) in limits
