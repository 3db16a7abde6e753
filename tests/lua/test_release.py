"""release: a task goes back unfinished, to its old place, and its attempt is not spent."""

from __future__ import annotations

from taskqueue.store import Release
from taskqueue.task import TaskState
from tests.lua.scene import Scene


async def test_a_released_task_stands_where_it_stood(scene: Scene) -> None:
    """Before what was submitted later; its first attempt is still its first."""
    await scene.enqueue("a", "b")
    claimed = await scene.claim_one()

    words = await scene.release(claimed)

    task = await scene.task("a")
    assert words == ["released"]
    assert scene.ready() == ["a", "b"]
    assert (task.state, task.attempt, task.deliveries) == (TaskState.QUEUED, 0, 1)
    assert scene.leased() == {}
    assert scene.is_awake()
    again = await scene.claim_one()
    assert (again.id, again.attempt, again.deliveries) == ("a", 1, 2)


async def test_a_release_may_be_for_later(scene: Scene) -> None:
    """A rate limit says when to come back: the task is delayed, its attempt given back all the same."""
    await scene.enqueue("a")

    words = await scene.release(await scene.claim_one(), delay_ms=2000)

    assert words == ["released"]
    assert scene.delayed() == {"a": 2000}
    assert (await scene.task("a")).attempt == 0


async def test_an_attempt_is_given_back_once(scene: Scene) -> None:
    """The repeat of a release gets its word and changes nothing."""
    await scene.enqueue("a")
    await scene.fail(await scene.claim_one(), retry_in_ms=0)
    claimed = await scene.claim_one()
    await scene.release(claimed)
    before = scene.snapshot()

    assert await scene.release(claimed) == ["released"]
    assert await scene.release(claimed, claimed) == ["released", "released"]

    assert scene.snapshot() == before
    assert (await scene.task("a")).attempt == 1


async def test_a_task_twice_in_one_call_is_released_once(scene: Scene) -> None:
    """Both get the word; one attempt is given back."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()

    assert await scene.release(claimed, claimed) == ["released", "released"]
    assert (await scene.task("a")).attempt == 0


async def test_a_task_whose_cancel_was_asked_for_ends(scene: Scene) -> None:
    """A worker that shuts down gives it back: it ends as CANCELLED instead, and waiters hear so."""
    await scene.enqueue("a")
    await scene.store.watch(["a"], "inbox-1")
    claimed = await scene.claim_one()
    await scene.store.cancel("a")

    words = await scene.release(claimed, delay_ms=1000)

    task = await scene.task("a")
    assert words == ["cancelled"]
    assert task.state is TaskState.CANCELLED
    assert task.error is not None
    assert task.error.code == "TASK_CANCELLED"
    assert scene.inbox("inbox-1") == ["finished a"]
    assert await scene.release(claimed) == ["cancelled"]


async def test_a_stale_release_changes_nothing(scene: Scene) -> None:
    """After a reap and another claim, and for tasks that nobody has."""
    await scene.enqueue("a", "b")
    lost = await scene.claim_one()
    await scene.lose()
    await scene.claim(limit=1, worker="worker-2")
    before = scene.snapshot()

    words = await scene.store.release(
        [Release("a", lost.token), Release("b", "1-r"), Release("ghost", "1-r")]
    )

    assert words == ["stale", "stale", "stale"]
    assert scene.snapshot() == before


async def test_a_released_task_unparks_its_tenant(scene: Scene) -> None:
    """Limit 1: a better task of the same tenant takes the slot that was given back."""
    await scene.store.set_limit(tenant="default", concurrency=1)
    await scene.enqueue("a")
    claimed = await scene.claim_one()
    await scene.enqueue("better", priority=9)
    assert scene.lanes() == []

    await scene.release(claimed)

    assert scene.lanes() == ["default"]
    assert (await scene.claim_one()).id == "better"
