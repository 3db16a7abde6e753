"""claim under the policies: who runs next when several tenants wait."""

from __future__ import annotations

from collections import Counter

import pytest

from taskqueue.errors import QueueMismatch
from taskqueue.ranking import Policy, register_policy
from tests.lua.conftest import MakeScene
from tests.lua.scene import Scene

NEWEST_FIRST = register_policy(
    Policy(
        "test_newest_lane_first",
        uses_virtual_time=False,
        rank=lambda head, priority, virtual: -head,
        source="""
        local policy = {
          virtual = false,
          rank = function(head, priority, virtual)
            return -head
          end,
        }
        """,
    )
)
"""A policy as a user writes it: the lane whose head came last runs first."""


async def one_by_one(scene: Scene, count: int) -> list[str]:
    """Claim tasks one at a time, and return the first letters of their ids."""
    return [(await scene.claim_one()).id[0] for _ in range(count)]


async def test_strict_knows_no_tenants(scene: Scene) -> None:
    """A tenant with a hundred better tasks runs all of them first."""
    await scene.enqueue("z", tenant="zeta", priority=1)
    await scene.enqueue(*(f"a{number}" for number in range(100)), tenant="acme", priority=2)

    claim = await scene.claim()

    assert claim.tasks[-1].id == "z"


async def test_fair_tenants_take_turns(make_scene: MakeScene) -> None:
    """A flood of one tenant does not hold up the other, whatever the priorities."""
    scene = await make_scene(policy="fair_tenants")
    await scene.enqueue(*(f"a{number}" for number in range(10)), tenant="acme", priority=9)
    await scene.enqueue("z1", "z2", "z3", tenant="zeta", priority=1)

    assert sorted(await one_by_one(scene, 6)) == ["a", "a", "a", "z", "z", "z"]
    assert await one_by_one(scene, 7) == ["a"] * 7


async def test_fair_tenants_keep_priority_and_order_inside(make_scene: MakeScene) -> None:
    """Each tenant's own tasks run by priority, then in the order of submission."""
    scene = await make_scene(policy="fair_tenants")
    await scene.enqueue("a-low", tenant="acme", priority=1)
    await scene.enqueue("a-high-1", "a-high-2", tenant="acme", priority=5)
    await scene.enqueue("z", tenant="zeta")

    claim = await scene.claim()

    own = [task.id for task in claim.tasks if task.id.startswith("a")]
    assert own == ["a-high-1", "a-high-2", "a-low"]


async def test_a_weight_is_a_share(make_scene: MakeScene) -> None:
    """Weight 3 against 1: of 40 turns 30 and 10, in one claim or in many."""
    scene = await make_scene(policy="fair_tenants")
    await scene.store.set_limit(tenant="acme", weight=3)
    for name, tenant in (("a", "acme"), ("z", "zeta")):
        await scene.offer(*(scene.entry(f"{name}{number}", tenant=tenant) for number in range(100)))

    single = Counter(await one_by_one(scene, 40))
    at_once = Counter(task.id[0] for task in (await scene.claim(limit=40)).tasks)

    assert single["a"] in {29, 30, 31}
    assert at_once["a"] in {29, 30, 31}


async def test_many_turns_in_one_claim_are_the_turns_of_many_claims(make_scene: MakeScene) -> None:
    """Three tenants of different weights and two types: one big claim orders as single ones do."""
    scene = await make_scene(policy="fair_tenants")
    for tenant, weight in (("acme", 1), ("beta", 2), ("zeta", 5)):
        await scene.store.set_limit(tenant=tenant, weight=weight)
        for number in range(20):
            type_ = ("GROK", "GEMINI")[number % 2]
            await scene.enqueue(f"{tenant}-{number}", tenant=tenant, type=type_, priority=1 + number % 3)
    before = scene.snapshot()
    types = ("GROK", "GEMINI")
    single = [(await scene.claim(types, limit=1)).tasks[0].id for _ in range(60)]
    scene.restore(before)

    at_once = [task.id for task in (await scene.claim(types)).tasks]

    assert at_once == single


async def test_being_idle_earns_no_turns(make_scene: MakeScene) -> None:
    """A tenant that comes back after others ran a hundred tasks takes turns from then on."""
    scene = await make_scene(policy="fair_tenants")
    await scene.enqueue("z-early", tenant="zeta")
    await scene.offer(*(scene.entry(f"a{number:03}", tenant="acme") for number in range(120)))
    await scene.claim(limit=101)

    await scene.enqueue(*(f"z{number}" for number in range(20)), tenant="zeta")

    turns = Counter(await one_by_one(scene, 10))
    assert turns["z"] in {5, 6}


async def test_fair_within_priority_puts_priority_first(make_scene: MakeScene) -> None:
    """Tenants take turns only among the tasks of the highest priority that waits."""
    scene = await make_scene(policy="fair_within_priority")
    await scene.enqueue("a1", "a2", "a3", tenant="acme", priority=5)
    await scene.enqueue("z1", "z2", tenant="zeta", priority=5)
    await scene.enqueue("low", tenant="lambda", priority=4)

    turns = await one_by_one(scene, 6)

    assert sorted(turns[:4]) == ["a", "a", "z", "z"]
    assert turns[4:] == ["a", "l"]


async def test_a_policy_of_ones_own_ranks_the_lanes(make_scene: MakeScene) -> None:
    """Its Lua function runs on the server; inside a lane the order stays."""
    scene = await make_scene(policy=NEWEST_FIRST)
    await scene.enqueue("a1", tenant="acme")
    await scene.enqueue("z1", tenant="zeta")
    await scene.enqueue("m1", tenant="mu")
    await scene.enqueue("z2", tenant="zeta")

    claim = await scene.claim()

    assert [task.id for task in claim.tasks] == ["m1", "z1", "z2", "a1"]


async def test_a_queue_keeps_its_policy(make_scene: MakeScene) -> None:
    """Who asks for another one is refused; who asks for none follows."""
    await make_scene(policy="fair_tenants")

    with pytest.raises(QueueMismatch, match="policy"):
        await make_scene(policy="strict")
    follower = await make_scene()
    assert follower.store.settings.policy == "fair_tenants"


async def test_a_policy_without_virtual_time_may_add_it(make_scene: MakeScene) -> None:
    """It is 0, never absent: the function of a user need not ask."""
    adding = register_policy(
        Policy(
            "test_adds_the_virtual_time",
            uses_virtual_time=False,
            rank=lambda head, priority, virtual: head + virtual,
            source="local policy = { virtual = false, rank = function(h, p, v) return h + v end }",
        )
    )
    scene = await make_scene(policy=adding)
    await scene.enqueue("a", "b", tenant="acme")
    await scene.enqueue("c", tenant="zeta")

    assert await scene.claimed_ids(limit=2) == ["a", "b"]
    assert await scene.claimed_ids() == ["c"]


async def test_a_tenant_has_room_for_so_many_in_turns_too(make_scene: MakeScene) -> None:
    """Where tasks are taken one by one, each takes some of it."""
    scene = await make_scene(policy="fair_tenants")
    await scene.store.set_limit(tenant="acme", concurrency=2)
    await scene.enqueue("a1", "a2", "a3", "a4", tenant="acme")
    await scene.enqueue("z", tenant="zeta")

    assert sorted(await scene.claimed_ids()) == ["a1", "a2", "z"]


@pytest.mark.parametrize("asked", [("GROK", "GEMINI"), ("GEMINI", "GROK")])
@pytest.mark.parametrize(("first", "second"), [("GROK", "GEMINI"), ("GEMINI", "GROK")])
async def test_equal_ranks_go_by_names_across_types(
    make_scene: MakeScene, asked: tuple[str, str], first: str, second: str
) -> None:
    """As in the index of one type: by bytes, and the longer of two that begin alike is the greater."""
    scene = await make_scene(policy="fair_tenants")
    await scene.enqueue("short", tenant="a", type=first)
    await scene.enqueue("long", tenant="aa", type=second)

    assert await scene.claimed_ids(asked, limit=1) == ["long"]


@pytest.mark.parametrize("asked", [("GROK", "GEMINI"), ("GEMINI", "GROK")])
@pytest.mark.parametrize("better", ["GROK", "GEMINI"])
async def test_one_rank_and_one_tenant_go_by_the_better_head(
    make_scene: MakeScene, asked: tuple[str, str], better: str
) -> None:
    """Two types of a tenant that has its turn: the higher priority, whichever is looked at first."""
    scene = await make_scene(policy="fair_tenants")
    for type_ in asked:
        await scene.enqueue(type_, tenant="acme", type=type_, priority=9 if type_ == better else 1)

    assert await scene.claimed_ids(asked, limit=1) == [better]


async def test_tasks_that_rank_alike_go_by_the_names_of_their_lanes(make_scene: MakeScene) -> None:
    """Also where one lane is served already: it does not go on before another one of that rank."""
    by_priority = register_policy(
        Policy(
            "test_by_priority",
            uses_virtual_time=False,
            rank=lambda head, priority, virtual: priority,
            source="local policy = { virtual = false, rank = function(h, p, v) return p end }",
        )
    )
    scene = await make_scene(policy=by_priority)
    for name in ("a9", "a5", "b7", "b5"):
        await scene.enqueue(name, tenant=name[0], priority=int(name[1]))

    assert await scene.claimed_ids(limit=3) == ["a9", "b7", "b5"]
    assert await scene.claimed_ids() == ["a5"]
    for name in ("c9", "c5", "d5"):
        await scene.enqueue(name, tenant=name[0], priority=int(name[1]))
    assert await scene.claimed_ids() == ["c9", "d5", "c5"]


async def test_slots_of_a_type_are_counted_in_turns_too(make_scene: MakeScene) -> None:
    """Where tasks are taken one by one, each takes one of them."""
    scene = await make_scene(policy="fair_tenants")
    await scene.enqueue("a1", "a2", "a3", tenant="acme")
    await scene.enqueue("z1", "z2", tenant="zeta")

    assert len(await scene.claimed_ids({"GROK": 2}, limit=10)) == 2


@pytest.mark.parametrize("limit", range(1, 13))
async def test_no_claim_takes_more_than_it_may(scene: Scene, limit: int) -> None:
    """Tasks of four lanes in turns, of which each was read further than it is taken."""
    names = [f"{tenant}{number}" for number in range(5) for tenant in "abcd"]
    await scene.offer(*(scene.entry(name, tenant=name[0]) for name in names))

    assert await scene.claimed_ids(limit=limit) == names[:limit]


async def test_no_claim_takes_more_than_it_may_of_what_it_has_read(scene: Scene) -> None:
    """Four tasks of a lane are read, one is taken; when its turn comes again there is room for one."""
    await scene.enqueue("a-first", tenant="a", priority=9)
    await scene.enqueue("a1", "a2", "a3", tenant="a", priority=5)
    await scene.enqueue(*(f"b{number}" for number in range(6)), tenant="b", priority=8)

    assert await scene.claimed_ids(limit=8) == ["a-first", *(f"b{number}" for number in range(6)), "a1"]


async def test_an_index_that_lies_is_mended_by_the_claim_that_notices(scene: Scene) -> None:
    """Though nothing is taken of the lane that seemed to be the first."""
    await scene.enqueue("better", tenant="acme", priority=9)
    await scene.enqueue("worse", tenant="zeta", priority=1)
    sound = scene.client.zrange(scene.keys.lanes("GROK"), 0, -1, withscores=True)
    scene.client.zincrby(scene.keys.lanes("GROK"), 2**50, "zeta")

    assert await scene.claimed_ids(limit=1) == ["better"]

    assert scene.client.zrange(scene.keys.lanes("GROK"), 0, -1, withscores=True) == sound[:1]


async def test_a_tenant_that_comes_back_is_ranked_anew_in_all_its_lanes(make_scene: MakeScene) -> None:
    """One of them waited while others were served; a new one lifts the tenant, and that one with it."""
    scene = await make_scene(policy="fair_tenants")
    await scene.enqueue("a-waits", tenant="acme")
    await scene.enqueue(*(f"z{number}" for number in range(6)), tenant="zeta", type="GEMINI")
    await scene.claim(("GEMINI",), limit=5)
    [(_, before)] = scene.client.zrange(scene.keys.lanes("GROK"), 0, -1, withscores=True)

    await scene.offer(scene.entry("a-too", tenant="acme"), scene.entry("a-new", tenant="acme", type="GEMINI"))

    [(_, after)] = scene.client.zrange(scene.keys.lanes("GROK"), 0, -1, withscores=True)
    assert after < before


async def test_a_tenant_that_waits_keeps_its_turn_when_more_comes(make_scene: MakeScene) -> None:
    """It has not been away: what it is owed stays."""
    scene = await make_scene(policy="fair_tenants")
    await scene.enqueue("a-waits", tenant="acme")
    await scene.enqueue(*(f"z{number}" for number in range(6)), tenant="zeta", type="GEMINI")
    await scene.claim(("GEMINI",), limit=5)
    before = scene.client.zrange(scene.keys.lanes("GROK"), 0, -1, withscores=True)

    await scene.enqueue("a-too", tenant="acme")

    assert scene.client.zrange(scene.keys.lanes("GROK"), 0, -1, withscores=True) == before
