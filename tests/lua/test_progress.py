"""progress: a running handler says how far it is; only the holder of the lease may."""

from __future__ import annotations

from taskqueue.codec import encode_value
from tests.lua.scene import Scene

HALF = encode_value({"percent": 50}, field="progress", max_bytes=100)


async def test_the_holder_stores_its_progress(scene: Scene) -> None:
    """The last value counts, and is kept when the task has ended."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()

    assert await scene.store.progress("a", claimed.token, b"\x01")
    assert await scene.store.progress("a", claimed.token, HALF)
    await scene.complete(claimed)

    assert (await scene.task("a")).progress == {"percent": 50}


async def test_nobody_else_does(scene: Scene) -> None:
    """A foreign token, a task that was completed, one that is queued, one that is unknown."""
    await scene.enqueue("running", "done", "queued")
    running, done = (await scene.claim(limit=2)).tasks
    await scene.complete(done)
    before = scene.snapshot()

    assert not await scene.store.progress("running", running.token + "0", HALF)
    assert not await scene.store.progress("done", done.token, HALF)
    assert not await scene.store.progress("queued", "", HALF)
    assert not await scene.store.progress("ghost", "1-r", HALF)

    assert scene.snapshot() == before
