"""claim under limits and pauses: what has no room waits, and holds nobody else up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.lua.scene import Scene

TYPES = ("GROK", "GEMINI", "CHATGPT")


async def test_a_type_has_room_for_so_many(scene: Scene) -> None:
    """Limit 2 of a type, over all workers and tenants; another type is not held up."""
    await scene.store.set_limit(type="GROK", concurrency=2)
    await scene.enqueue("a", "b", tenant="acme", priority=9)
    await scene.enqueue("c", tenant="zeta", priority=9)
    await scene.enqueue("d", type="GEMINI")

    claim = await scene.claim(TYPES, limit=1)
    assert claim.more
    claim = await scene.claim(TYPES, worker="worker-2")
    assert [task.id for task in claim.tasks] == ["b", "d"]
    assert not claim.more
    await scene.complete(claim.tasks[0])
    assert await scene.claimed_ids(TYPES) == ["c"]


async def test_a_tenant_has_room_for_so_many(scene: Scene) -> None:
    """Limit 2 of a tenant, over all types: its lanes are parked, others go on."""
    await scene.store.set_limit(tenant="acme", concurrency=2)
    await scene.enqueue("a1", "a2", tenant="acme", priority=9)
    await scene.enqueue("a3", tenant="acme", type="GEMINI", priority=8)
    await scene.enqueue("z", tenant="zeta")

    claim = await scene.claim(TYPES)

    assert [task.id for task in claim.tasks] == ["a1", "a2", "z"]
    assert (scene.lanes("GROK"), scene.lanes("GEMINI")) == ([], [])
    assert not claim.more
    await scene.complete(claim.tasks[1])
    assert scene.lanes("GEMINI") == ["acme"]
    assert scene.is_awake("GEMINI")
    assert await scene.claimed_ids(TYPES) == ["a3"]


async def test_one_claim_does_not_pass_a_tenants_limit(scene: Scene) -> None:
    """Limit 3, and a worker with room for everything, lanes of two types."""
    await scene.store.set_limit(tenant="acme", concurrency=3)
    await scene.enqueue("a1", "a2", tenant="acme")
    await scene.enqueue("b1", "b2", tenant="acme", type="GEMINI")

    assert await scene.claimed_ids(TYPES) == ["a1", "a2", "b1"]


async def test_a_limit_of_zero_lets_nothing_run(scene: Scene) -> None:
    """Neither of a type nor of a tenant."""
    await scene.store.set_limit(type="GEMINI", concurrency=0)
    await scene.store.set_limit(tenant="acme", concurrency=0)
    await scene.enqueue("a", tenant="acme")
    await scene.enqueue("b", type="GEMINI")

    claim = await scene.claim(TYPES)

    assert (claim.tasks, claim.more) == ([], False)


async def test_a_reserved_task_runs_in_the_slot_that_it_has(scene: Scene) -> None:
    """Limit 1, taken by the reserved task at enqueue: it runs, the ordinary one waits for its end."""
    await scene.store.set_limit(tenant="acme", concurrency=1)
    await scene.enqueue("reserved", tenant="acme", reserve=True)
    await scene.enqueue("ordinary", tenant="acme", priority=10)

    first = await scene.claim()

    assert [task.id for task in first.tasks] == ["reserved"]
    assert scene.hash(scene.keys.limit_tenant("acme")) == {"max": "1", "used": "1"}
    await scene.complete(*first.tasks)
    assert await scene.claimed_ids() == ["ordinary"]


@pytest.mark.parametrize("paused", [{"type": "GROK"}, {"tenant": "acme"}])
async def test_a_claim_passes_over_what_is_paused(scene: Scene, paused: dict[str, str]) -> None:
    """A better task of a paused type or tenant waits, the next one runs."""
    await scene.enqueue("paused", tenant="acme", priority=9)
    await scene.enqueue("other", type="GEMINI")
    await scene.store.pause(**paused)

    claim = await scene.claim(TYPES)

    assert [task.id for task in claim.tasks] == ["other"]
    assert not claim.more


async def test_a_paused_queue_gives_nothing(scene: Scene) -> None:
    """Not even what is due; that is made ready all the same."""
    await scene.enqueue("a")
    await scene.enqueue("late", delay=timedelta(seconds=1))
    await scene.store.pause()
    scene.advance(1000)

    claim = await scene.claim()

    assert (claim.tasks, claim.more) == ([], False)
    assert scene.ready() == ["a", "late"]
