"""complete: whoever holds the lease ends the task, once, and claims for the freed slot at once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.codec import encode_value
from taskqueue.store import Completion
from taskqueue.task import TaskState
from tests.lua.conftest import MakeScene
from tests.lua.scene import LEASE_MS, Scene

DAY_MS = 24 * 3600 * 1000
HOUR_MS = 3600 * 1000


def completion(task_id: str, token: str) -> Completion:
    """Return a report with some result."""
    return Completion(task_id, token, encode_value({"n": 1}, field="result", max_bytes=100))


async def test_the_holder_completes_its_task(scene: Scene) -> None:
    """The result is stored, the lease ends, slots and counters are free again."""
    await scene.enqueue("a", tenant="acme")
    claimed = await scene.claim_one()
    scene.advance(1500)

    words = await scene.complete(claimed, result={"answer": 42})

    task = await scene.task("a")
    assert words == ["completed"]
    assert (task.state, task.result) == (TaskState.COMPLETED, {"answer": 42})
    assert task.finished_ms == scene.clock()
    assert task.latency == timedelta(milliseconds=1500)
    assert scene.leased() == {}
    assert scene.finished("acme") == {"a"}
    assert scene.dead() == set()
    for key in (
        scene.keys.limit_type("GROK"),
        scene.keys.limit_tenant("acme"),
        scene.keys.count_tenant("acme"),
        scene.keys.count_type("GROK"),
    ):
        assert not scene.client.exists(key)


async def test_the_same_report_again_gets_the_same_word(scene: Scene) -> None:
    """The reply was lost: the repeat changes nothing, a repeat with another result neither."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()
    await scene.complete(claimed, result=1)
    before = scene.snapshot()

    words = await scene.complete(claimed, result=2)

    assert words == ["completed"]
    assert scene.snapshot() == before


@pytest.mark.parametrize("token", ["1-foreign", "2-request-1", "", "1-request-1 "])
async def test_a_foreign_token_changes_nothing(scene: Scene, token: str) -> None:
    """Only the very token of the running claim counts."""
    await scene.enqueue("a")
    await scene.claim_one()
    before = scene.snapshot()

    words, _ = await scene.store.complete([completion("a", token)])

    assert words == ["stale"]
    assert scene.snapshot() == before


async def test_a_worker_that_lost_its_lease_cannot_complete(scene: Scene) -> None:
    """Worker 1 stalls past its lease, worker 2 takes over; what 1 reports late changes nothing."""
    await scene.enqueue("a")
    lost = await scene.claim_one(worker="worker-1")
    await scene.lose()
    after_reap = scene.snapshot()
    assert await scene.complete(lost) == ["stale"]
    assert scene.snapshot() == after_reap
    await scene.claim_one(worker="worker-2")
    before = scene.snapshot()

    assert await scene.complete(lost) == ["stale"]

    assert scene.snapshot() == before
    assert scene.leased() == {"a": LEASE_MS}


async def test_a_task_that_nobody_claimed_cannot_be_completed(scene: Scene) -> None:
    """Neither a QUEUED one nor an unknown one, with or without a token."""
    await scene.enqueue("a")

    words, _ = await scene.store.complete(
        [completion("a", ""), completion("a", "1-r"), completion("ghost", "1-r")]
    )

    assert words == ["stale", "stale", "stale"]
    assert scene.ready() == ["a"]
    assert not scene.client.exists(scene.keys.run("ghost"))


async def test_a_token_keeps_the_outcome_that_it_had(scene: Scene) -> None:
    """Failed, retried or released before: a completion with the same token hears that."""
    await scene.enqueue("failed", "retried", "released", "cancelled")
    failed, retried, released, cancelled = (await scene.claim()).tasks
    await scene.fail(failed)
    await scene.fail(retried, retry_in_ms=0)
    await scene.release(released)
    await scene.store.cancel("cancelled")
    await scene.release(cancelled)

    words = await scene.complete(failed, retried, released, cancelled)

    assert words == ["failed", "retried", "released", "cancelled"]
    assert scene.ready() == ["retried", "released"]


async def test_a_task_twice_in_one_call_is_completed_once(scene: Scene) -> None:
    """Both get the word; the counters know of one."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()

    assert await scene.complete(claimed, claimed) == ["completed", "completed"]
    assert scene.finished() == {"a"}


async def test_many_reports_of_all_kinds_share_a_call(scene: Scene) -> None:
    """Words come in the order of the reports."""
    await scene.enqueue("a", "b", "c")
    a, b, c = (await scene.claim()).tasks
    await scene.complete(b)

    words, _ = await scene.store.complete(
        [
            completion("c", c.token),
            completion("b", b.token),
            completion("a", "1-foreign"),
            completion("a", a.token),
        ]
    )

    assert words == ["completed", "completed", "stale", "completed"]


async def test_more_reports_than_a_call_carries_are_split(scene: Scene) -> None:
    """1,001 tasks, claimed and completed in two calls, the last of which claims again."""
    await scene.offer(*(scene.entry(f"t{number:04}") for number in range(1002)))
    claimed = [*(await scene.claim(limit=500)).tasks, *(await scene.claim(limit=501)).tasks]

    words, claim = await scene.store.complete(
        [completion(task.id, task.token) for task in claimed], scene.request()
    )

    assert words == ["completed"] * 1001
    assert claim is not None
    assert [task.id for task in claim.tasks] == ["t1001"]


async def test_a_completion_wins_over_a_cancel_that_was_asked_for(scene: Scene) -> None:
    """The work was done before the worker heard of it."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()
    await scene.store.cancel("a")

    assert await scene.complete(claimed) == ["completed"]
    assert (await scene.task("a")).state is TaskState.COMPLETED


async def test_a_lease_that_ran_out_unnoticed_still_counts(scene: Scene) -> None:
    """Only a reap ends a lease: before it, the holder may complete however late it is."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()
    scene.advance(LEASE_MS * 10)

    assert await scene.complete(claimed) == ["completed"]


# The claim in the same call ----------------------------------------------------------------------


async def test_the_freed_slot_is_claimed_in_the_same_call(scene: Scene) -> None:
    """Limits of type and tenant are full: the completion makes the room that its claim takes."""
    await scene.store.set_limit(type="GROK", concurrency=1)
    await scene.store.set_limit(tenant="default", concurrency=1)
    await scene.enqueue("a", "b", "c")
    first = await scene.claim_one()

    words, claim = await scene.store.complete(
        [completion(first.id, first.token)], scene.request({"GROK": 1}, request="r2")
    )

    assert words == ["completed"]
    assert claim is not None
    assert [(task.id, task.token) for task in claim.tasks] == [("b", "1-r2")]
    assert not claim.more


async def test_the_same_call_again_brings_words_and_tasks_again(scene: Scene) -> None:
    """The reply was lost, with results and new tasks in it: the repeat has all of it."""
    await scene.enqueue("a", "b")
    first = await scene.claim_one()
    reports, request = [completion(first.id, first.token)], scene.request(request="r2")
    words, claim = await scene.store.complete(reports, request)
    before = scene.snapshot()

    again = await scene.store.complete(reports, request)

    assert again == (words, claim)
    assert scene.snapshot() == before


async def test_a_call_may_only_claim(scene: Scene) -> None:
    """With nothing to report it is a claim."""
    await scene.enqueue("a")

    words, claim = await scene.store.complete([], scene.request())

    assert words == []
    assert claim is not None
    assert [task.id for task in claim.tasks] == ["a"]


async def test_a_stale_report_does_not_stop_the_claim(scene: Scene) -> None:
    """The worker lost one task and gets the next."""
    await scene.enqueue("a")

    words, claim = await scene.store.complete([completion("ghost", "1-r")], scene.request())

    assert words == ["stale"]
    assert claim is not None
    assert [task.id for task in claim.tasks] == ["a"]


async def test_a_completion_without_a_claim_wakes_who_waits_for_room(scene: Scene) -> None:
    """The type was full; now somebody else may have the slot."""
    await scene.store.set_limit(type="GROK", concurrency=1)
    await scene.enqueue("a", "b")
    claimed = await scene.claim_one()
    assert not scene.is_awake()

    await scene.complete(claimed)

    assert scene.is_awake()


# What goes, and when -----------------------------------------------------------------------------


async def test_everything_of_a_task_goes_at_one_instant(scene: Scene) -> None:
    """A day after acceptance: record, run and idempotency key; the index goes no earlier."""
    await scene.enqueue("a", idempotency_key="k")
    [idem] = scene.client.scan_iter(match="*idem:default:*")
    claimed = await scene.claim_one()
    assert (scene.expires(scene.keys.task("a")), scene.expires(idem)) == (None, None)
    scene.advance(HOUR_MS)

    await scene.complete(claimed)

    left = DAY_MS - HOUR_MS
    assert scene.expires(scene.keys.task("a")) == left
    assert scene.expires(scene.keys.run("a")) == left
    assert scene.expires(idem) == left
    assert scene.client.zscore(scene.keys.finished("default"), "a") == scene.clock() + left
    assert scene.client.pttl(scene.keys.finished("default")) > left


@pytest.mark.parametrize("end", ["complete", "fail", "clear"])
async def test_a_key_that_another_task_has_stays(scene: Scene, end: str) -> None:
    """The server lost the key, a second task took it, then the first one ends: the key is the second's."""
    await scene.enqueue("a", idempotency_key="k", priority=9)
    [idem] = scene.client.scan_iter(match="*idem:default:*")
    scene.client.delete(idem)
    await scene.enqueue("b", idempotency_key="k", type="GEMINI")

    if end == "clear":
        await scene.store.clear(type="GROK")
    else:
        claimed = await scene.claim_one()
        await (scene.complete(claimed) if end == "complete" else scene.fail(claimed))

    assert scene.client.get(idem) == b"b"
    assert scene.expires(idem) is None


async def test_a_result_can_be_read_for_an_hour(scene: Scene) -> None:
    """A task that took longer than its retention is kept for an hour after its end."""
    await scene.enqueue("a")
    scene.advance(2 * DAY_MS)
    claimed = await scene.claim_one()

    await scene.complete(claimed)

    assert scene.expires(scene.keys.run("a")) == HOUR_MS


async def test_a_short_retention_is_short_for_results_too(make_scene: MakeScene) -> None:
    """Retention of a minute: no result stays longer than that after its end."""
    scene = await make_scene(retention=timedelta(minutes=1))
    await scene.enqueue("a")
    claimed = await scene.claim_one()
    scene.advance(HOUR_MS)

    await scene.complete(claimed)

    assert scene.expires(scene.keys.run("a")) == 60_000


async def test_waiters_are_told_once(scene: Scene) -> None:
    """Two processes wait for the task; a third waits for another one and hears nothing."""
    await scene.enqueue("a", "b")
    await scene.store.watch(["a"], "inbox-1")
    await scene.store.watch(["a"], "inbox-2")
    await scene.store.watch(["b"], "inbox-3")
    claimed = await scene.claim_one()

    await scene.complete(claimed)
    await scene.complete(claimed)

    assert scene.inbox("inbox-1") == scene.inbox("inbox-2") == ["finished a"]
    assert scene.inbox("inbox-3") == []
    assert not scene.client.exists(scene.keys.waiters("a"))
    assert 0 < scene.client.pttl(scene.keys.inbox("inbox-1")) <= 60_000


async def test_a_reserved_task_gives_its_slot_back(scene: Scene) -> None:
    """The tenant's ordinary task may run then."""
    await scene.store.set_limit(tenant="default", concurrency=1)
    await scene.enqueue("reserved", reserve=True)
    await scene.enqueue("ordinary")
    assert scene.lanes() == ["default!"]

    await scene.complete(await scene.claim_one())

    assert scene.lanes() == ["default"]
    assert scene.hash(scene.keys.limit_tenant("default")) == {"max": "1"}


async def test_a_task_whose_record_is_gone_cannot_be_completed(scene: Scene) -> None:
    """Nothing says whose it is: the report is stale, and changes nothing."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()
    record = scene.client.getdel(scene.keys.task("a"))
    before = scene.snapshot()

    assert await scene.complete(claimed) == ["stale"]
    assert scene.snapshot() == before
    scene.client.set(scene.keys.task("a"), record)
