"""extend: a heartbeat lengthens leases, and hears which are lost and which cancelled."""

from __future__ import annotations

from tests.lua.scene import LEASE_MS, Scene


async def test_a_heartbeat_lengthens_leases_from_now(scene: Scene) -> None:
    """Ten seconds into the lease it is a whole lease again; other leases are left as they are."""
    await scene.enqueue("a", "b", "c")
    a, b, _ = (await scene.claim()).tasks
    scene.advance(10_000)

    extension = await scene.store.extend("worker-1", [(a.id, a.token), (b.id, b.token)], LEASE_MS)

    assert (extension.lost, extension.cancelled) == ([], [])
    assert scene.leased() == {"a": LEASE_MS, "b": LEASE_MS, "c": 5000}


async def test_a_heartbeat_without_leases_is_a_sign_of_life(scene: Scene) -> None:
    """The worker is listed with its last beat."""
    await scene.store.extend("worker-1", [], LEASE_MS)
    scene.advance(4000)

    assert await scene.store.workers() == [("worker-1", 4.0)]


async def test_an_expired_lease_that_nobody_reaped_lives_on(scene: Scene) -> None:
    """Only a reap ends a lease."""
    await scene.enqueue("a")
    a = await scene.claim_one()
    scene.advance(LEASE_MS * 5)

    extension = await scene.store.extend("worker-1", [(a.id, a.token)], LEASE_MS)

    assert extension.lost == []
    assert scene.leased() == {"a": LEASE_MS}


async def test_lost_leases_are_named_and_not_extended(scene: Scene) -> None:
    """Reaped, completed, claimed by another worker, never claimed, unknown: all are lost."""
    await scene.enqueue("taken")
    taken = await scene.claim_one()
    await scene.lose()
    await scene.claim(worker="worker-2")
    await scene.enqueue("done", "queued")
    done = await scene.claim_one()
    await scene.complete(done)
    before = scene.leased()

    extension = await scene.store.extend(
        "worker-1",
        [("taken", taken.token), ("done", done.token), ("queued", ""), ("ghost", "1-r")],
        60_000,
    )

    assert extension.lost == ["taken", "done", "queued", "ghost"]
    assert scene.leased() == before
    assert not scene.client.exists(scene.keys.run("ghost"))


async def test_a_heartbeat_hears_of_cancels(scene: Scene) -> None:
    """With every beat, until the handler has stopped: the lease is held meanwhile."""
    await scene.enqueue("a", "b")
    a, b = (await scene.claim()).tasks
    await scene.store.cancel("a")
    leases = [(a.id, a.token), (b.id, b.token)]

    for _ in range(2):
        extension = await scene.store.extend("worker-1", leases, LEASE_MS)
        assert (extension.lost, extension.cancelled) == ([], ["a"])


async def test_more_leases_than_a_call_carries_are_split(scene: Scene) -> None:
    """1,001 leases, two calls, all extended."""
    await scene.offer(*(scene.entry(f"t{number:04}") for number in range(1001)))
    claimed = [*(await scene.claim()).tasks, *(await scene.claim()).tasks]
    scene.advance(5000)

    extension = await scene.store.extend(
        "worker-1", [(task.id, task.token) for task in claimed] + [("ghost", "1-r")], LEASE_MS
    )

    assert extension.lost == ["ghost"]
    assert set(scene.leased().values()) == {LEASE_MS}
