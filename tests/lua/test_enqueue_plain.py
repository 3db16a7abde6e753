"""enqueue takes a short way for plain tasks: what it leaves behind is what the long way leaves.

The long way is taken when there is a limit of queued tasks; here it is one that nobody reaches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from taskqueue.codec import Entry
from taskqueue.ranking import Order
from taskqueue.store import Accepted
from tests.lua.conftest import MakeScene
from tests.lua.scene import Scene, Snapshot

OUT_OF_REACH = 10**9

Make = Callable[[Scene], Awaitable[None]]
Call = Callable[[Scene], list[Entry]]


async def known(scene: Scene) -> None:
    """Every type and tenant has been seen; one lane is empty, one is not."""
    await scene.enqueue("old-1", "old-2", priority=5)
    await scene.enqueue("old-3", type="GEMINI", tenant="acme", priority=3)
    await scene.enqueue("old-4", type="GEMINI", priority=10)


async def known_and_claimed(scene: Scene) -> None:
    """The same, with all of one type at work: its lanes are empty, its marker is gone."""
    await known(scene)
    await scene.claim({"GEMINI": 10})


async def marker_taken(scene: Scene) -> None:
    """A worker has taken the marker of a type, and has not claimed yet."""
    await known(scene)
    scene.client.delete(scene.keys.wake("GROK"))


async def with_a_limit(scene: Scene) -> None:
    """A tenant may run one task at a time, and has room."""
    await known(scene)
    await scene.store.set_limit(tenant="acme", concurrency=1)


async def with_a_full_tenant(scene: Scene) -> None:
    """A tenant has no room: its lanes are parked."""
    await with_a_limit(scene)
    await scene.claim({"GEMINI": 10})


async def with_a_type_limit(scene: Scene) -> None:
    """A type may run one task at a time, and does."""
    await known(scene)
    await scene.store.set_limit(type="GROK", concurrency=1)
    await scene.claim({"GROK": 1})


async def nothing(scene: Scene) -> None:
    """The queue is new."""


async def paused(scene: Scene) -> None:
    """The whole queue is paused, and no marker stands."""
    await known(scene)
    await scene.claim(["GROK", "GEMINI"])
    await scene.store.pause()


async def paused_type(scene: Scene) -> None:
    """A type is paused, and no marker of it stands."""
    await scene.store.pause(type="GROK")
    await known(scene)


async def paused_tenant(scene: Scene) -> None:
    """A tenant is paused: its lanes are parked."""
    await known(scene)
    await scene.store.pause(tenant="acme")


def one(scene: Scene) -> list[Entry]:
    """The most frequent call."""
    return [scene.entry("new", priority=5)]


def better(scene: Scene) -> list[Entry]:
    """One that becomes the head of its lane."""
    return [scene.entry("new", priority=9)]


def many(scene: Scene) -> list[Entry]:
    """Two types, two tenants, all priorities, up and down."""
    return [
        scene.entry(f"new-{at}", type=type_, tenant=tenant, priority=priority)
        for at, (priority, type_, tenant) in enumerate(
            (priority, type_, tenant)
            for priority in (1, 10, 5, 6, 2, 9, 3, 8, 7, 4, 5, 5)
            for type_ in ("GROK", "GEMINI")
            for tenant in ("default", "acme")
        )
    ]


def thousand(scene: Scene) -> list[Entry]:
    """As many as one call may carry."""
    return [scene.entry(f"new-{at}", priority=1 + at % 10) for at in range(1000)]


@pytest.mark.parametrize("call", [one, better, many, thousand])
@pytest.mark.parametrize(
    "before",
    [
        nothing,
        known,
        known_and_claimed,
        marker_taken,
        with_a_limit,
        with_a_full_tenant,
        with_a_type_limit,
        paused,
        paused_type,
        paused_tenant,
    ],
)
@pytest.mark.parametrize("order", [Order(), Order(stride=1000)], ids=["strict", "bounded"])
async def test_both_ways_lead_to_the_same_place(
    make_scene: MakeScene, order: Order, before: Make, call: Call
) -> None:
    """Byte for byte, in every situation, under both orders."""
    scene = await make_scene(order)
    await before(scene)
    start = scene.snapshot()

    async def result_of(limit: int | None) -> tuple[list[Accepted], Snapshot]:
        scene.restore(start)
        outcomes = await scene.offer(*call(scene), max_queued=limit)
        return outcomes, scene.snapshot()  # type: ignore[return-value]  # compared as they are

    assert await result_of(None) == await result_of(OUT_OF_REACH)


async def test_the_usual_call_takes_few_commands(scene: Scene) -> None:
    """That is what the short way is for."""
    await scene.enqueue("old")

    async def commands_of(limit: int | None) -> int:
        scene.client.config_resetstat()
        await scene.offer(scene.entry(), max_queued=limit)
        stats = scene.client.info("commandstats")
        return sum(found["calls"] for name, found in stats.items() if name != "cmdstat_config|resetstat")

    assert await commands_of(None) <= 18
    assert await commands_of(OUT_OF_REACH) > 18


async def test_a_call_for_several_lanes_reads_each_type_and_tenant_once(scene: Scene) -> None:
    """Four lanes of two types and two tenants: not four times what one lane takes."""
    lanes = [(type_, tenant) for type_ in ("GROK", "GEMINI") for tenant in ("default", "acme")]

    async def enqueue(name: str) -> int:
        entries = [scene.entry(f"{name}-{at}", type=lane[0], tenant=lane[1]) for at, lane in enumerate(lanes)]
        scene.client.config_resetstat()
        await scene.offer(*entries)
        stats = scene.client.info("commandstats")
        return int(stats["cmdstat_hlen"]["calls"])

    await enqueue("old")

    assert await enqueue("new") == 4


async def test_a_plain_task_after_a_repeated_one_keeps_its_place(scene: Scene) -> None:
    """A repeat sends the whole call the long way; nothing is stored twice."""
    await scene.enqueue("a")

    outcomes = await scene.enqueue("a", "b")

    assert [outcome.sequence for outcome in outcomes] == [1, 2]
    assert scene.ready() == ["a", "b"]
