"""What may happen to a server between two calls, and must not be noticed by who calls."""

from __future__ import annotations

import pytest

from taskqueue.errors import ServerFull
from taskqueue.scripts import script_names
from taskqueue.store.calling import NoQueue
from taskqueue.task import TaskState
from tests.lua.prepared import prepare
from tests.lua.scene import LEASE_MS, Scene
from tests.lua.situations import SITUATIONS, Situation, call_of

SINGLE = {situation.script: situation for situation in reversed(SITUATIONS)}


@pytest.mark.parametrize("name", [name for name in script_names() if name != "open"])
async def test_a_script_says_that_its_queue_was_wiped(scene: Scene, name: str) -> None:
    """It makes nothing: a queue without settings would have no order."""
    held = await prepare(scene)
    call = await call_of(scene, SINGLE[name], held)
    wipe(scene)

    with pytest.raises(NoQueue):
        await call.make(scene)

    assert scene.names() == set()


@pytest.mark.parametrize("name", [name for name in script_names() if name not in {"open", "redrive"}])
async def test_a_store_makes_a_wiped_queue_again(scene: Scene, name: str) -> None:
    """As it was asked for when it was opened; then the call gives an honest answer."""
    situation: Situation = SINGLE[name]
    held = await prepare(scene)
    dataset = scene.store.settings.dataset
    wipe(scene)

    await situation.act(scene, held)

    assert scene.hash(scene.keys.meta)["order"] == "strict"
    assert scene.store.settings.dataset != dataset


async def test_work_goes_on_on_a_wiped_queue(scene: Scene) -> None:
    """What was there is gone; what comes then is accepted, claimed and completed."""
    await scene.enqueue("lost")
    lost = await scene.claim_one()
    wipe(scene)

    assert await scene.complete(lost) == ["stale"]
    assert (await scene.store.extend("worker-1", [(lost.id, lost.token)], LEASE_MS)).lost == ["lost"]
    [accepted] = await scene.enqueue("new")
    assert accepted.sequence == 1
    assert await scene.complete(await scene.claim_one()) == ["completed"]


async def test_calls_go_on_after_the_servers_scripts_were_flushed(scene: Scene) -> None:
    """As after a restart or a failover: the source is sent again, and nothing is done twice."""
    for number in range(3):
        await scene.enqueue(f"t{number}")
        scene.client.script_flush()
        claimed = await scene.claim_one()
        scene.client.script_flush()
        assert claimed.deliveries == 1
        assert await scene.complete(claimed) == ["completed"]

    assert scene.client.get(scene.keys.seq) == b"3"


async def test_a_full_server_can_be_drained(scene: Scene) -> None:
    """Out of memory: nothing new is accepted, and everything else goes on."""
    await scene.enqueue("a", "b", "c", "d")
    a, b = (await scene.claim(limit=2)).tasks
    before = scene.client.config_get("maxmemory")["maxmemory"]
    scene.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(ServerFull):
            await scene.enqueue("new")
        assert (await scene.store.extend("worker-1", [(a.id, a.token)], LEASE_MS)).lost == []
        assert await scene.complete(a, result="x" * 100) == ["completed"]
        assert await scene.fail(b) == ["failed"]
        c = await scene.claim_one()
        assert await scene.release(c) == ["released"]
        cancelled = await scene.store.cancel("d")
        assert cancelled is not None
        assert cancelled.state is TaskState.CANCELLED
        assert (await scene.store.reap(LEASE_MS)).requeued == []
        assert await scene.store.clear() == 1
        assert (await scene.store.stats()).queued == 0
    finally:
        scene.client.config_set("maxmemory", before)

    assert await scene.store.fetch(["new"]) == [None]
    assert await scene.enqueue("new")


def wipe(scene: Scene) -> None:
    """Take everything of the queue away, as a FLUSHALL does."""
    scene.client.delete(*scene.names())
