"""set_limit, pause, resume: lanes are parked and come back, for the whole fleet, from the next claim on."""

from __future__ import annotations

from typing import Any

import pytest

from taskqueue.errors import InvalidSetting
from taskqueue.store import Limit
from tests.lua.conftest import MakeScene
from tests.lua.scene import Scene


async def test_a_tenant_that_is_full_is_parked_at_once(scene: Scene) -> None:
    """Two of its tasks run when the limit is set to two: its lanes of all types leave the index."""
    await scene.enqueue("a1", "a2", "a3", tenant="acme")
    await scene.enqueue("a4", tenant="acme", type="GEMINI")
    await scene.enqueue("z", tenant="zeta")
    await scene.claim(limit=2)

    await scene.store.set_limit(tenant="acme", concurrency=2)

    assert (scene.lanes(), scene.lanes("GEMINI")) == (["zeta"], [])


async def test_a_raised_limit_brings_the_lanes_back_and_wakes_workers(scene: Scene) -> None:
    """Of every type that the tenant waits in."""
    await scene.store.set_limit(tenant="acme", concurrency=0)
    await scene.enqueue("a1", tenant="acme")
    await scene.enqueue("a2", tenant="acme", type="GEMINI")
    assert not scene.is_awake()

    await scene.store.set_limit(tenant="acme", concurrency=1)

    assert (scene.lanes(), scene.lanes("GEMINI")) == (["acme"], ["acme"])
    assert scene.is_awake()
    assert scene.is_awake("GEMINI")


@pytest.mark.parametrize("scope", [{"type": "GROK"}, {"tenant": "acme"}])
async def test_a_limit_can_be_lifted(scene: Scene, scope: dict[str, Any]) -> None:
    """What runs stays counted, and everything else runs again."""
    await scene.enqueue("a", "b", "c", tenant="acme")
    await scene.store.set_limit(**scope, concurrency=1)
    assert len((await scene.claim()).tasks) == 1

    await scene.store.set_limit(**scope, concurrency=None)

    assert scene.is_awake()
    assert len((await scene.claim()).tasks) == 2
    assert await scene.store.limits() == []
    assert scene.hash(scene.keys.limit_type("GROK")) == {"used": "3"}


async def test_what_runs_above_a_lowered_limit_goes_on(scene: Scene) -> None:
    """Three run, the limit becomes one: nothing new starts until two and one more have ended."""
    await scene.enqueue("a", "b", "c", "d")
    running = (await scene.claim(limit=3)).tasks
    await scene.store.set_limit(type="GROK", concurrency=1)

    for task in running:
        assert (await scene.claim()).tasks == []
        await scene.complete(task)
    assert [task.id for task in (await scene.claim()).tasks] == ["d"]


async def test_limit_and_weight_are_set_apart(scene: Scene) -> None:
    """Each is left as it is when only the other is given; weight 1 is what everybody has."""
    await scene.store.set_limit(tenant="acme", concurrency=3)
    await scene.store.set_limit(tenant="acme", weight=5)
    assert await scene.store.limits() == [Limit("tenant", "acme", 3, 0, False, 5)]

    await scene.store.set_limit(tenant="acme", concurrency=None)
    assert await scene.store.limits() == [Limit("tenant", "acme", None, 0, False, 5)]

    await scene.store.set_limit(tenant="acme", weight=1)
    assert await scene.store.limits() == []
    assert not scene.client.exists(scene.keys.limit_tenant("acme"))


async def test_everything_with_a_limit_or_a_pause_is_listed(scene: Scene) -> None:
    """Types and tenants of the same name are told apart."""
    await scene.store.set_limit(type="GROK", concurrency=3)
    await scene.store.set_limit(tenant="GROK", concurrency=4)
    await scene.store.pause(type="GEMINI")

    assert sorted(await scene.store.limits(), key=lambda limit: (limit.scope, limit.name)) == [
        Limit("tenant", "GROK", 4, 0, False),
        Limit("type", "GEMINI", None, 0, True),
        Limit("type", "GROK", 3, 0, False),
    ]


@pytest.mark.parametrize("policy", ["strict", "fair_tenants"])
async def test_a_paused_tenant_is_parked_until_it_is_resumed(make_scene: MakeScene, policy: str) -> None:
    """Its lanes of all types leave the index, the reserved ones too, and come back."""
    scene = await make_scene(policy=policy)
    await scene.enqueue("a1", tenant="acme")
    await scene.enqueue("a2", tenant="acme", reserve=True)
    await scene.enqueue("a3", tenant="acme", type="GEMINI")
    await scene.enqueue("z", tenant="zeta")

    await scene.store.pause(tenant="acme")
    assert (scene.lanes(), scene.lanes("GEMINI")) == (["zeta"], [])
    await scene.enqueue("a4", tenant="acme")
    assert scene.lanes() == ["zeta"]

    await scene.store.resume(tenant="acme")
    assert sorted(scene.lanes()) == ["acme", "acme!", "zeta"]
    assert scene.lanes("GEMINI") == ["acme"]
    assert scene.is_awake("GEMINI")
    assert await scene.store.limits() == []


async def test_a_paused_type_wakes_nobody_until_it_is_resumed(scene: Scene) -> None:
    """A new task of it sets no marker; the resume does."""
    await scene.store.pause(type="GROK")
    await scene.enqueue("a")
    assert not scene.is_awake()

    await scene.store.resume(type="GROK")

    assert scene.is_awake()
    assert (await scene.claim_one()).id == "a"


async def test_a_paused_queue_wakes_nobody_until_it_is_resumed(scene: Scene) -> None:
    """Then every type that has work is woken."""
    await scene.store.pause()
    assert await scene.store.is_paused()
    await scene.enqueue("a")
    await scene.enqueue("b", type="GEMINI")
    assert not scene.is_awake()

    await scene.store.resume()

    assert not await scene.store.is_paused()
    assert scene.is_awake()
    assert scene.is_awake("GEMINI")
    assert len((await scene.claim(("GROK", "GEMINI"))).tasks) == 2


@pytest.mark.parametrize("scope", [{}, {"type": "GROK"}, {"tenant": "default"}])
async def test_what_runs_is_not_touched_by_a_pause(scene: Scene, scope: dict[str, str]) -> None:
    """It may be completed, extended, retried."""
    await scene.enqueue("a", "b", "c")
    a, b, c = (await scene.claim()).tasks

    await scene.store.pause(**scope)

    assert await scene.complete(a) == ["completed"]
    assert (await scene.store.extend("worker-1", [(b.id, b.token)], 1000)).lost == []
    assert await scene.fail(b, retry_in_ms=0) == ["retried"]
    assert await scene.release(c) == ["released"]
    assert (await scene.claim()).tasks == []


@pytest.mark.parametrize("scope", [{}, {"type": "GROK"}, {"tenant": "default"}])
async def test_pausing_twice_is_pausing_once(scene: Scene, scope: dict[str, str]) -> None:
    """And a resume of what is not paused changes nothing."""
    await scene.enqueue("a")
    before = scene.snapshot()
    await scene.store.resume(**scope)
    assert scene.snapshot() == before

    await scene.store.pause(**scope)
    await scene.store.pause(**scope)
    await scene.store.resume(**scope)

    assert (await scene.claim_one()).id == "a"


async def test_a_pause_leaves_limits_as_they_are(scene: Scene) -> None:
    """A resumed type has the limit that it had."""
    await scene.store.set_limit(type="GROK", concurrency=2)

    await scene.store.pause(type="GROK")
    await scene.store.resume(type="GROK")

    assert await scene.store.limits() == [Limit("type", "GROK", 2, 0, False)]


async def test_a_scope_is_a_type_or_a_tenant(scene: Scene) -> None:
    """Not both, and for a limit not neither."""
    before = scene.snapshot()

    with pytest.raises(InvalidSetting):
        await scene.store.pause(type="GROK", tenant="acme")
    with pytest.raises(InvalidSetting):
        await scene.store.set_limit(concurrency=1)

    assert scene.snapshot() == before


async def test_a_limit_that_is_lifted_leaves_a_pause_listed(scene: Scene) -> None:
    """It is what is left to be seen, and to be resumed."""
    await scene.store.set_limit(tenant="acme", concurrency=3)
    await scene.store.pause(tenant="acme")

    await scene.store.set_limit(tenant="acme", concurrency=None)

    assert [(limit.name, limit.paused) for limit in await scene.store.limits()] == [("acme", True)]


async def test_a_pause_that_ends_leaves_a_weight_listed(scene: Scene) -> None:
    """A weight alone is something to be seen."""
    await scene.store.set_limit(tenant="acme", weight=3)
    await scene.store.pause(tenant="acme")

    await scene.store.resume(tenant="acme")

    assert [(limit.name, limit.weight) for limit in await scene.store.limits()] == [("acme", 3)]


async def test_a_paused_queue_is_no_limit(scene: Scene) -> None:
    """What is listed are types and tenants."""
    await scene.store.pause()

    assert await scene.store.limits() == []
