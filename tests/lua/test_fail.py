"""fail: an attempt that did not succeed is retried after a backoff, or ends the task."""

from __future__ import annotations

import pytest

from taskqueue.store import Failure
from taskqueue.task import TaskError, TaskState
from tests.lua.scene import BOOM, Scene

BOOM_ERROR = TaskError("BOOM", "it went wrong")


async def test_a_retry_waits_for_its_backoff(scene: Scene) -> None:
    """The task is delayed, keeps its error and its attempt, and runs at its old place when due."""
    await scene.enqueue("a", "b")
    claimed = await scene.claim_one()

    words = await scene.fail(claimed, retry_in_ms=3000)

    task = await scene.task("a")
    assert words == ["retried"]
    assert (task.state, task.attempt, task.error) == (TaskState.QUEUED, 1, BOOM_ERROR)
    assert task.not_before_ms == scene.clock() + 3000
    assert scene.delayed() == {"a": 3000}
    assert scene.leased() == {}
    scene.advance(3000)
    again, other = (await scene.claim()).tasks
    assert (again.id, again.attempt, other.id) == ("a", 2, "b")


async def test_a_retry_at_once_goes_to_its_old_place(scene: Scene) -> None:
    """Before what was submitted later, and somebody is woken for it."""
    await scene.enqueue("a", "b")
    claimed = await scene.claim_one()
    await scene.claim({"GROK": 0})
    assert await scene.store.wait_wake(["GROK"], 1)

    words = await scene.fail(claimed, retry_in_ms=0)

    assert words == ["retried"]
    assert scene.ready() == ["a", "b"]
    assert scene.is_awake()


async def test_without_a_retry_it_is_a_dead_letter(scene: Scene) -> None:
    """FAILED, with its error, in the index of the dead and in that of the finished."""
    await scene.enqueue("a", tenant="acme")

    words = await scene.fail(await scene.claim_one())

    task = await scene.task("a")
    assert words == ["failed"]
    assert (task.state, task.error, task.finished_ms) == (TaskState.FAILED, BOOM_ERROR, scene.clock())
    assert scene.dead() == {"a"}
    assert scene.finished("acme") == {"a"}
    assert scene.expires(scene.keys.run("a")) == 24 * 3600 * 1000


async def test_a_handler_that_was_cancelled_ends_its_task_as_cancelled(scene: Scene) -> None:
    """No dead letter: somebody wanted it so."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()

    words = await scene.store.fail([Failure("a", claimed.token, BOOM, cancelled=True)])

    task = await scene.task("a")
    assert words == ["cancelled"]
    assert (task.state, task.error) == (TaskState.CANCELLED, BOOM_ERROR)
    assert scene.dead() == set()
    assert scene.finished() == {"a"}


@pytest.mark.parametrize("retry_in_ms", [None, 0, 5000])
async def test_a_task_whose_cancel_was_asked_for_is_not_retried(
    scene: Scene, retry_in_ms: int | None
) -> None:
    """Whatever the worker wanted to do with it."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()
    await scene.store.cancel("a")

    assert await scene.fail(claimed, retry_in_ms=retry_in_ms) == ["cancelled"]
    assert (await scene.task("a")).state is TaskState.CANCELLED


@pytest.mark.parametrize(("first", "word"), [(5000, "retried"), (0, "retried"), (None, "failed")])
async def test_the_same_report_again_gets_the_same_word(scene: Scene, first: int | None, word: str) -> None:
    """The outcome of a token is settled by its first report, even if the second says otherwise."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()
    await scene.fail(claimed, retry_in_ms=first)
    before = scene.snapshot()

    assert await scene.fail(claimed, retry_in_ms=first) == [word]
    assert await scene.fail(claimed, retry_in_ms=77) == [word]

    assert scene.snapshot() == before


async def test_a_stale_report_changes_nothing(scene: Scene) -> None:
    """After a reap and another claim, and for tasks that nobody has."""
    await scene.enqueue("a", "b")
    lost = await scene.claim_one()
    await scene.lose()
    await scene.claim(limit=1, worker="worker-2")
    before = scene.snapshot()

    words = await scene.store.fail(
        [Failure("a", lost.token, BOOM), Failure("b", "1-r", BOOM), Failure("ghost", "1-r", BOOM)]
    )

    assert words == ["stale", "stale", "stale"]
    assert scene.snapshot() == before


async def test_reports_of_all_kinds_share_a_call(scene: Scene) -> None:
    """One task twice in it: the first report counts."""
    await scene.enqueue("a", "b", "c")
    a, b, c = (await scene.claim()).tasks

    words = await scene.store.fail(
        [
            Failure("c", c.token, BOOM, cancelled=True),
            Failure("a", a.token, BOOM, 1000),
            Failure("b", b.token, BOOM),
            Failure("a", a.token, BOOM),
        ]
    )

    assert words == ["cancelled", "retried", "failed", "retried"]
    assert scene.delayed() == {"a": 1000}


async def test_the_end_is_told_and_a_retry_is_not(scene: Scene) -> None:
    """Who waits for a task hears of its end only."""
    await scene.enqueue("a")
    await scene.store.watch(["a"], "inbox-1")
    await scene.fail(await scene.claim_one(), retry_in_ms=0)
    assert scene.inbox("inbox-1") == []

    await scene.fail(await scene.claim_one())

    assert scene.inbox("inbox-1") == ["finished a"]


async def test_a_success_leaves_the_error_of_an_earlier_attempt(scene: Scene) -> None:
    """Whoever reads the task afterwards sees the result, and why it took two attempts."""
    await scene.enqueue("a")
    await scene.fail(await scene.claim_one(), retry_in_ms=0)

    await scene.complete(await scene.claim_one(), result=1)

    task = await scene.task("a")
    assert (task.state, task.result, task.error) == (TaskState.COMPLETED, 1, BOOM_ERROR)


async def test_a_reserved_task_keeps_its_slot_between_attempts(scene: Scene) -> None:
    """Its backoff does not let others overtake it out of its slot; its end does."""
    await scene.store.set_limit(tenant="default", concurrency=1)
    await scene.enqueue("reserved", reserve=True)
    await scene.enqueue("ordinary")

    await scene.fail(await scene.claim_one(), retry_in_ms=1000)
    assert scene.lanes() == []
    assert scene.hash(scene.keys.limit_tenant("default")) == {"max": "1", "used": "1"}
    scene.advance(1000)
    await scene.fail(await scene.claim_one())

    assert scene.lanes() == ["default"]
