"""claim: the best tasks of some types are lent to one worker, in exact order."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from taskqueue.codec import encode_entry
from taskqueue.errors import QueueCorrupt
from taskqueue.ranking import Order
from taskqueue.task import TaskSpec, TaskState
from tests.lua.conftest import MakeScene
from tests.lua.scene import LEASE_MS, Scene

TYPES = ("GROK", "GEMINI", "CHATGPT")


# Order -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [None, 3], ids=["strict", "bounded"])
async def test_the_order_is_exact_over_all_lanes(make_scene: MakeScene, stride: int | None) -> None:
    """300 tasks in 30 lanes, claimed in portions of all sizes: one sorted sequence comes out."""
    order = Order(stride)
    scene = await make_scene(order)
    dice = random.Random(7)
    scores: dict[str, int] = {}
    for number in range(1, 301):
        priority = dice.randint(1, 10)
        await scene.enqueue(
            f"t{number}", type=dice.choice(TYPES), tenant=f"tenant-{dice.randint(1, 10)}", priority=priority
        )
        scores[f"t{number}"] = order.score(priority, number)

    claimed: list[str] = []
    while len(claimed) < 300:
        claimed += await scene.claimed_ids(TYPES, limit=dice.choice([1, 2, 3, 7, 40]))

    assert claimed == sorted(scores, key=lambda task_id: -scores[task_id])


async def test_only_wanted_types_are_claimed(scene: Scene) -> None:
    """A better task of a type that nobody asked for stays where it is."""
    await scene.enqueue("gemini", type="GEMINI", priority=9)
    await scene.enqueue("grok", priority=1)

    assert await scene.claimed_ids(["GROK"]) == ["grok"]
    assert scene.ready("GEMINI") == ["gemini"]


async def test_each_type_gives_as_many_as_it_has_slots(scene: Scene) -> None:
    """The slots of one type are not used for another, and the limit holds over all."""
    for type_ in TYPES:
        await scene.enqueue(*(f"{type_}-{number}" for number in range(5)), type=type_)

    slots = {"GROK": 2, "GEMINI": 1, "CHATGPT": 5}
    first = await scene.claimed_ids(slots, limit=6)
    second = await scene.claimed_ids(slots)

    assert first == ["GROK-0", "GROK-1", "GEMINI-0", "CHATGPT-0", "CHATGPT-1", "CHATGPT-2"]
    assert second == ["GROK-2", "GROK-3", "GEMINI-1", "CHATGPT-3", "CHATGPT-4"]


async def test_more_lanes_than_one_look_shows_are_merged(scene: Scene) -> None:
    """100 tenants, the index is read in windows of 32: still exact, first to last."""
    await scene.offer(
        *(scene.entry(f"t{number:03}", tenant=f"tenant-{number * 37 % 100:03}") for number in range(100))
    )

    assert await scene.claimed_ids(limit=70) == [f"t{number:03}" for number in range(70)]
    assert await scene.claimed_ids() == [f"t{number:03}" for number in range(70, 100)]


async def test_a_claimed_task_is_leased(scene: Scene) -> None:
    """Its run says who has it since when; its lease and the counters follow."""
    await scene.enqueue("a", tenant="acme", priority=3)

    claimed = await scene.claim_one(worker="worker-7", request="r7")

    assert (claimed.id, claimed.token, claimed.attempt, claimed.deliveries, claimed.crashes) == (
        "a",
        "1-r7",
        1,
        1,
        0,
    )
    assert claimed.task().payload == {"text": "hello"}
    assert scene.leased() == {"a": LEASE_MS}
    assert scene.hash(scene.keys.run("a")) == {
        "state": "PROCESSING",
        "token": "1-r7",
        "attempt": "1",
        "deliveries": "1",
        "worker": "worker-7",
        "started_at": str(scene.clock()),
    }
    assert scene.hash(scene.keys.limit_type("GROK")) == {"used": "1"}
    assert scene.hash(scene.keys.limit_tenant("acme")) == {"used": "1"}
    assert scene.hash(scene.keys.count_tenant("acme")) == {"processing:GROK": "1"}
    assert scene.hash(scene.keys.count_type("GROK")) == {}
    assert (scene.ready(group="acme"), scene.lanes()) == ([], [])


async def test_a_second_claim_keeps_when_the_first_began(scene: Scene) -> None:
    """Deliveries and attempts go up; `started_at` stays what it was."""
    await scene.enqueue("a")
    started = scene.clock()
    await scene.fail(await scene.claim_one(), retry_in_ms=0)
    scene.advance(5000)

    again = await scene.claim_one(worker="worker-2", request="r2")

    assert (again.token, again.attempt, again.deliveries) == ("2-r2", 2, 2)
    task = await scene.task("a")
    assert (task.state, task.started_ms, task.worker) == (TaskState.PROCESSING, started, "worker-2")


async def test_nothing_to_claim_is_said(scene: Scene) -> None:
    """An empty queue gives no tasks, nothing more, and nothing to wait for."""
    claim = await scene.claim(TYPES)

    assert (claim.tasks, claim.next_in, claim.more) == ([], None, False)
    assert not scene.client.exists(scene.keys.claims("worker-1"))


async def test_a_record_of_a_wrong_kind_loses_nothing(scene: Scene) -> None:
    """It is no record that is missing: the claim fails, and every task stays where it is."""
    await scene.enqueue("a", "b")
    key = scene.keys.task("b")
    scene.client.rename(key, "aside")
    scene.client.rpush(key, "x")
    before = scene.snapshot()

    with pytest.raises(QueueCorrupt):
        await scene.claim()

    assert scene.snapshot() == before
    scene.client.rename("aside", key)
    assert await scene.claimed_ids() == ["a", "b"]


# The same request again --------------------------------------------------------------------------


async def test_of_two_claims_under_way_each_is_remembered(scene: Scene) -> None:
    """Both replies were lost: each repeat brings the tasks of its own request, in either order."""
    await scene.enqueue("a", "b", "c", "d", "e")
    for number, name in enumerate(["r1", "r2"]):
        await scene.claim(limit=2, request=name, number=number)
    before = scene.snapshot()

    second = await scene.claim(limit=2, request="r2", number=1)
    first = await scene.claim(limit=2, request="r1", number=0)

    assert [(task.id, task.token) for task in first.tasks] == [("a", "1-r1"), ("b", "1-r1")]
    assert [(task.id, task.token) for task in second.tasks] == [("c", "1-r2"), ("d", "1-r2")]
    assert scene.snapshot() == before


async def test_the_same_request_gets_the_same_tasks(scene: Scene) -> None:
    """The reply was lost: the repeat brings the same tasks and tokens, and nothing changes."""
    await scene.enqueue("a", "b", "c")
    first = await scene.claim(limit=2, request="r1")
    before = scene.snapshot()

    again = await scene.claim(limit=2, request="r1")

    assert again == first
    assert scene.snapshot() == before


async def test_a_repeat_leaves_out_what_ended_meanwhile(scene: Scene) -> None:
    """One of the tasks was completed, one reaped and claimed by another worker: both are gone."""
    await scene.enqueue("a", "b", "c")
    first = await scene.claim(request="r1")
    await scene.complete(first.tasks[0])
    await scene.release(first.tasks[1])
    await scene.claim(request="r2", worker="worker-2")

    again = await scene.claim(request="r1")

    assert again.tasks == first.tasks[2:]


@pytest.mark.parametrize(("first", "second"), [("r1", "r"), ("r", "r1"), ("r1", "r12")])
async def test_requests_are_told_apart(scene: Scene, first: str, second: str) -> None:
    """A request whose name begins like the last one's is another request."""
    await scene.enqueue("a", "b")
    await scene.claim(limit=1, request=first)

    assert await scene.claimed_ids(limit=1, request=second) == ["b"]


async def test_the_last_claim_is_remembered_for_a_lease(scene: Scene) -> None:
    """At least a minute: after that nobody repeats it."""
    await scene.enqueue("a", "b")

    await scene.claim(limit=1)
    short = scene.client.pttl(scene.keys.claims("worker-1"))
    await scene.claim(limit=1, lease_ms=120_000)
    long = scene.client.pttl(scene.keys.claims("worker-1"))

    assert 59_000 < short <= 60_000
    assert 119_000 < long <= 120_000


# Due tasks ---------------------------------------------------------------------------------------


async def test_a_claim_promotes_what_is_due(scene: Scene) -> None:
    """A delayed task keeps its place by submission: once due, it runs before a later one."""
    await scene.enqueue("late", delay=timedelta(seconds=10))
    await scene.enqueue("later", delay=timedelta(seconds=11))
    await scene.enqueue("now")
    scene.advance(10_000)

    claim = await scene.claim()

    assert [task.id for task in claim.tasks] == ["late", "now"]
    assert claim.next_in == 1.0
    assert scene.delayed() == {"later": 1000}
    assert scene.due() == {"default": 1000}


async def test_a_claim_promotes_for_all_types(scene: Scene) -> None:
    """What is due of another type is made ready, and that type is woken."""
    await scene.enqueue("late", type="GEMINI", delay=timedelta(seconds=10))
    await scene.claim(["GEMINI"])
    assert not scene.is_awake("GEMINI")
    scene.advance(10_000)

    claim = await scene.claim(["GROK"])

    assert (claim.tasks, claim.next_in) == ([], None)
    assert scene.ready("GEMINI") == ["late"]
    assert scene.is_awake("GEMINI")


async def test_a_flood_of_due_tasks_is_promoted_in_steps(scene: Scene) -> None:
    """One claim promotes at most 200; the rest is said to be due now, so that nobody sleeps."""
    await scene.offer(*(scene.entry(delay=timedelta(seconds=1)) for _ in range(300)))
    scene.advance(2000)

    first = await scene.claim(limit=5)
    second = await scene.claim(limit=5)

    assert first.next_in == 0
    assert len(scene.delayed()) == 0
    assert second.next_in is None


# Waking ------------------------------------------------------------------------------------------


async def test_a_claim_that_leaves_work_passes_the_marker_on(scene: Scene) -> None:
    """A worker takes the marker and one task: the marker comes back for the next worker."""
    await scene.enqueue("a", "b")
    assert await scene.store.wait_wake(["GROK"], 1)
    assert not scene.is_awake()

    claim = await scene.claim(limit=1)

    assert claim.more
    assert scene.is_awake()


async def test_a_claim_that_leaves_nothing_takes_the_marker_away(scene: Scene) -> None:
    """Else some worker would be woken for nothing."""
    await scene.enqueue("a")
    assert scene.is_awake()

    claim = await scene.claim()

    assert not claim.more
    assert not scene.is_awake()


async def test_a_worker_without_slots_passes_the_marker_on(scene: Scene) -> None:
    """It took the marker and has no room: a claim with no slots sets it again, and takes no task."""
    await scene.enqueue("a")
    await scene.store.wait_wake(["GROK"], 1)

    claim = await scene.claim({"GROK": 0})

    assert claim.tasks == []
    assert scene.is_awake()


# Odd contents ------------------------------------------------------------------------------------


async def test_a_reply_has_a_bound(scene: Scene) -> None:
    """Six tasks of 1 MB: at most 4 MiB come at once, the others with the next claim, in order."""
    names = [f"t{number}" for number in range(6)]
    for name in names:
        await scene.enqueue(name, payload={"data": b"x" * 1_000_000})

    first = await scene.claim()
    second = await scene.claim()

    assert [task.id for task in first.tasks] == names[:4]
    assert first.more
    assert [task.id for task in second.tasks] == names[4:]
    assert not second.more


async def test_the_bound_on_a_reply_keeps_fair_shares(make_scene: MakeScene) -> None:
    """What did not fit is not charged to its tenant."""
    scene = await make_scene(policy="fair_tenants")
    for number in range(3):
        await scene.enqueue(f"a{number}", tenant="acme", payload={"data": b"x" * 1_000_000})
        await scene.enqueue(f"z{number}", tenant="zeta", payload={"data": b"x" * 1_000_000})

    first = await scene.claim()

    assert len(first.tasks) == 4
    times = {name.decode(): score for name, score in scene.client.zscan_iter(scene.keys.virtual)}
    assert times == {"acme": 2000, "zeta": 2000}


async def test_an_id_without_a_record_leaves_its_lane(scene: Scene) -> None:
    """Its record is gone, which should not be: there is nothing to run, and the others run."""
    await scene.enqueue("a", "gone", "b")
    scene.client.delete(scene.keys.task("gone"))

    assert await scene.claimed_ids() == ["a", "b"]
    assert scene.ready() == []


async def test_an_index_that_lies_is_not_believed(scene: Scene) -> None:
    """By hand, a group is ranked though it has no task: the claim finds that out and mends it."""
    await scene.enqueue("a")
    scene.client.zadd(scene.keys.lanes("GROK"), {"ghost": 2**52})

    assert await scene.claimed_ids() == ["a"]
    assert scene.lanes() == []


async def test_a_claim_that_was_cut_tells_of_earlier_runs(scene: Scene) -> None:
    """More records than one reply may carry: those that it has come with their attempts."""
    big = {"text": "x" * 1_000_000}
    await scene.offer(*(scene.entry(name, payload=big) for name in "abcde"))
    await scene.fail(*(await scene.claim()).tasks, retry_in_ms=0)

    tasks = (await scene.claim()).tasks

    assert [(task.id, task.attempt, task.deliveries) for task in tasks] == [(name, 2, 2) for name in "abcd"]


async def test_a_repeat_tells_of_workers_that_were_lost(scene: Scene) -> None:
    """As the claim did whose reply was lost."""
    await scene.enqueue("a")
    await scene.claim_one()
    await scene.lose()

    first = await scene.claim(request="r1")

    assert [task.crashes for task in first.tasks] == [1]
    assert (await scene.claim(request="r1")).tasks == first.tasks


async def test_every_delivery_is_counted(scene: Scene) -> None:
    """The first, the second, and those that follow."""
    await scene.enqueue("a")
    for number in (1, 2, 3):
        claimed = await scene.claim_one()
        assert (claimed.deliveries, claimed.attempt) == (number, number)
        assert claimed.token.startswith(f"{number}-")
        await scene.fail(claimed, retry_in_ms=0)


async def test_a_record_larger_than_a_reply_comes_alone(scene: Scene) -> None:
    """Payloads may be as large as a reply is meant to be; none waits for ever."""
    big = TaskSpec(type="GROK", payload={"text": "x" * (4 * 2**20 - 11)}, id="big")
    await scene.offer(encode_entry(big, max_bytes=4 * 2**20), scene.entry("small"))

    assert await scene.claimed_ids() == ["big"]
    assert await scene.claimed_ids() == ["small"]
