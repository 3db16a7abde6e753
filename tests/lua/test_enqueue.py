"""enqueue: tasks get their places once, or are refused one by one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.errors import IdempotencyConflict, LimitReached, QueueFull, ServerUnsuitable
from taskqueue.ranking import MAX_SEQUENCE, STRICT_STRIDE, Order
from taskqueue.store import Accepted, Withheld
from taskqueue.task import TaskState
from tests.lua.conftest import MakeScene
from tests.lua.scene import Scene


async def test_tasks_get_places_in_the_order_of_the_call(scene: Scene) -> None:
    """Three tasks of different lanes and priorities in one call are numbered as they came."""
    entries = [
        scene.entry("a", priority=1),
        scene.entry("b", type="GEMINI", priority=9),
        scene.entry("c", tenant="acme", priority=5),
    ]

    outcomes = await scene.offer(*entries)

    assert outcomes == [Accepted(number, scene.clock()) for number in (1, 2, 3)]
    assert scene.client.get(scene.keys.seq) == b"3"


async def test_a_lane_runs_by_priority_then_by_place(scene: Scene) -> None:
    """Later tasks of a higher priority stand before, those of the same one behind."""
    await scene.enqueue("low-1", "low-2", priority=2)
    await scene.enqueue("high-1", "high-2", priority=7)

    assert scene.ready() == ["high-1", "high-2", "low-1", "low-2"]
    assert scene.client.zscore(scene.keys.ready("GROK", "default"), "high-1") == 7 * STRICT_STRIDE - 3


async def test_a_lane_is_indexed_by_its_best_task(scene: Scene) -> None:
    """Two tenants with one task each: their groups are ranked by those tasks."""
    await scene.enqueue("a", tenant="acme", priority=3)
    await scene.enqueue("z", tenant="zeta", priority=4)

    assert scene.lanes() == ["zeta", "acme"]


async def test_a_record_can_be_read_by_people(scene: Scene) -> None:
    """The header begins with version, sequence, time, type, tenant, group and priority."""
    await scene.enqueue("a", tenant="acme", priority=3)

    record = scene.client.get(scene.keys.task("a"))

    assert record.startswith(f"1|1|{scene.clock()}|GROK|acme||3|".encode())
    assert scene.expires(scene.keys.task("a")) is None
    assert not scene.client.exists(scene.keys.run("a"))


async def test_the_counters_follow(scene: Scene) -> None:
    """Queued tasks are counted by type, tenant and priority; delayed ones as well, and as delayed."""
    await scene.enqueue("a", "b", tenant="acme", priority=3)
    await scene.enqueue("c", tenant="acme", priority=4, delay=timedelta(seconds=1))

    assert scene.hash(scene.keys.count_type("GROK")) == {"queued:3": "2", "queued:4": "1", "delayed": "1"}
    assert scene.hash(scene.keys.count_tenant("acme")) == {
        "queued": "3",
        "queued:GROK:3": "2",
        "queued:GROK:4": "1",
        "delayed:GROK": "1",
    }


async def test_a_bounded_queue_scores_by_its_stride(make_scene: MakeScene) -> None:
    """Stride 2: a task of priority 2 overtakes at most two of priority 1 that came before."""
    scene = await make_scene(Order(2))

    await scene.enqueue("a", "b", "c", priority=1)
    await scene.enqueue("d", priority=2)

    assert scene.ready() == ["a", "d", "b", "c"]
    assert scene.client.zscore(scene.keys.ready("GROK", "default"), "d") == (2 * 2 - 4) * 256 + 2


# Again -------------------------------------------------------------------------------------------


async def test_the_same_task_again_is_accepted_as_it_was(scene: Scene) -> None:
    """A reply was lost and the call is made again later: same place, same time, nothing changes."""
    first = await scene.enqueue("a")
    await scene.enqueue("b", delay=timedelta(seconds=60))
    before = scene.snapshot()
    accepted = scene.clock()
    scene.advance(1000)

    again = await scene.enqueue("a")
    delayed = await scene.enqueue("b", delay=timedelta(seconds=60))

    assert again == first
    assert delayed == [Accepted(2, accepted, accepted + 60_000)]
    assert scene.snapshot() == before


async def test_a_finished_task_is_not_made_again(scene: Scene) -> None:
    """The repeat of an enqueue arrives after the task has run: it is accepted, and runs no second time."""
    first = await scene.enqueue("a")
    await scene.complete(await scene.claim_one())

    assert await scene.enqueue("a") == first
    assert scene.ready() == []


@pytest.mark.parametrize("change", [{"payload": {"text": "bye"}}, {"type": "GEMINI"}, {"tenant": "acme"}])
async def test_an_id_with_another_content_is_refused(scene: Scene, change: dict[str, object]) -> None:
    """The id names the task; whoever uses it for something else hears so."""
    await scene.enqueue("a")
    before = scene.snapshot()

    [refusal] = await scene.offer(scene.entry("a", **change))

    assert isinstance(refusal, IdempotencyConflict)
    assert (refusal.task_id, refusal.same_payload, refusal.key) == ("a", False, None)
    assert scene.snapshot() == before


@pytest.mark.parametrize(("payload", "same"), [({"text": "hello"}, True), ({"text": "bye"}, False)])
async def test_an_id_twice_in_one_call_is_accepted_once(
    scene: Scene, payload: dict[str, str], same: bool
) -> None:
    """The second of the two is told that the first has the id."""
    first, second = await scene.offer(scene.entry("a"), scene.entry("a", payload=payload))

    assert first == Accepted(1, scene.clock())
    assert isinstance(second, IdempotencyConflict)
    assert (second.task_id, second.same_payload, second.key) == ("a", same, None)
    assert scene.ready() == ["a"]


async def test_an_id_whose_record_nobody_can_read_is_taken(scene: Scene) -> None:
    """A newer version wrote that record: this one must not write over it."""
    scene.client.set(scene.keys.task("a"), "2|something|else")

    [refusal] = await scene.offer(scene.entry("a"))

    assert isinstance(refusal, IdempotencyConflict)
    assert scene.client.getdel(scene.keys.task("a")) == b"2|something|else"


# Idempotency keys --------------------------------------------------------------------------------


@pytest.mark.parametrize(("payload", "same"), [({"text": "hello"}, True), ({"text": "bye"}, False)])
async def test_a_key_names_one_task(scene: Scene, payload: dict[str, str], same: bool) -> None:
    """The same key again is refused, with the holder and whether it asked for the same."""
    await scene.enqueue("a", idempotency_key="k")
    before = scene.snapshot()

    [refusal] = await scene.offer(scene.entry("b", idempotency_key="k", payload=payload))

    assert isinstance(refusal, IdempotencyConflict)
    assert (refusal.task_id, refusal.same_payload, refusal.key) == ("a", same, "k")
    assert scene.snapshot() == before


async def test_a_key_belongs_to_its_tenant(scene: Scene) -> None:
    """Two tenants may use the same key."""
    await scene.enqueue("a", idempotency_key="k", tenant="acme")

    await scene.enqueue("z", idempotency_key="k", tenant="zeta")

    assert scene.lanes() == ["acme", "zeta"]


@pytest.mark.parametrize(("payload", "same"), [({"text": "hello"}, True), ({"text": "bye"}, False)])
async def test_a_key_twice_in_one_call_goes_to_the_first(
    scene: Scene, payload: dict[str, str], same: bool
) -> None:
    """The second of the two is told who has the key."""
    first, second = await scene.offer(
        scene.entry("a", idempotency_key="k"), scene.entry("b", idempotency_key="k", payload=payload)
    )

    assert isinstance(first, Accepted)
    assert isinstance(second, IdempotencyConflict)
    assert (second.task_id, second.same_payload, second.key) == ("a", same, "k")


async def test_a_refused_task_holds_no_key(scene: Scene) -> None:
    """The first with the key finds no slot; so the second one of the call gets the key."""
    await scene.store.set_limit(tenant="default", concurrency=0)

    first, second = await scene.offer(
        scene.entry("a", idempotency_key="k", reserve=True), scene.entry("b", idempotency_key="k")
    )

    assert isinstance(first, LimitReached)
    assert isinstance(second, Accepted)
    assert (await scene.task("b")).idempotency_key == "k"
    [third] = await scene.offer(scene.entry("c", idempotency_key="k"))
    assert isinstance(third, IdempotencyConflict)
    assert third.task_id == "b"


async def test_the_repeat_of_a_call_is_not_a_conflict_with_itself(scene: Scene) -> None:
    """The task's own id is looked at before its key."""
    first = await scene.enqueue("a", idempotency_key="k")

    assert await scene.enqueue("a", idempotency_key="k") == first


# Refusals ----------------------------------------------------------------------------------------


async def test_each_task_is_refused_for_itself(scene: Scene) -> None:
    """One bad task in the middle of a call: the others are accepted, without a hole in the places."""
    await scene.enqueue("held", idempotency_key="k")

    outcomes = await scene.offer(
        scene.entry("a"), scene.entry("b", idempotency_key="k"), scene.entry("c", priority=2)
    )

    assert outcomes[0] == Accepted(2, scene.clock())
    assert isinstance(outcomes[1], IdempotencyConflict)
    assert outcomes[2] == Accepted(3, scene.clock())
    assert scene.ready() == ["c", "held", "a"]


async def test_an_atomic_call_is_refused_whole(scene: Scene) -> None:
    """One refusal withholds all: nothing is stored, no place is used up."""
    await scene.enqueue("held", idempotency_key="k")
    before = scene.snapshot()

    outcomes = await scene.offer(
        scene.entry("a"), scene.entry("b", idempotency_key="k"), scene.entry("c"), atomic=True
    )

    assert [type(outcome) for outcome in outcomes] == [Withheld, IdempotencyConflict, Withheld]
    assert scene.snapshot() == before


async def test_the_repeat_of_an_atomic_call_is_accepted_whole(scene: Scene) -> None:
    """A repeat of what is stored already is no refusal."""
    entries = [scene.entry("a"), scene.entry("b")]
    first = await scene.offer(*entries, atomic=True)

    assert await scene.offer(*entries, scene.entry("c"), atomic=True) == [*first, Accepted(3, scene.clock())]


async def test_a_tenant_may_have_so_many_queued_tasks(scene: Scene) -> None:
    """Delayed ones count, running and finished ones do not; other tenants have their own count."""
    await scene.enqueue("running", "ready")
    await scene.claim_one()
    await scene.enqueue("late", delay=timedelta(seconds=60))

    third, fourth, other = await scene.offer(
        scene.entry("third"), scene.entry("fourth"), scene.entry("other", tenant="acme"), max_queued=3
    )

    assert isinstance(third, Accepted)
    assert isinstance(fourth, QueueFull)
    assert (fourth.tenant, fourth.limit) == ("default", 3)
    assert isinstance(other, Accepted)


async def test_a_repeat_is_accepted_by_a_full_queue(scene: Scene) -> None:
    """What is stored already needs no room."""
    await scene.enqueue("a")

    [again] = await scene.offer(scene.entry("a"), max_queued=1)

    assert isinstance(again, Accepted)


@pytest.mark.parametrize("free", [1, 2])
async def test_the_counter_has_an_end(scene: Scene, free: int) -> None:
    """Scores stay exact up to the last place; a call that would pass it is refused whole."""
    scene.client.set(scene.keys.seq, MAX_SEQUENCE - free)
    before = scene.snapshot()

    with pytest.raises(ServerUnsuitable, match="has used up its sequence"):
        await scene.enqueue(*(f"t{number}" for number in range(free + 1)))
    assert scene.snapshot() == before

    accepted = await scene.enqueue(*(f"t{number}" for number in range(free)))
    assert accepted[-1].sequence == MAX_SEQUENCE
    assert scene.ready() == [f"t{number}" for number in range(free)]


async def test_a_call_carries_a_thousand_tasks(scene: Scene) -> None:
    """All with ids and keys of their own, in several lanes, some of them delayed."""
    entries = [
        scene.entry(
            f"t{number:04}",
            tenant=f"tenant-{number % 7}",
            idempotency_key=f"k{number}",
            delay=timedelta(seconds=number) if number % 10 == 0 and number else None,
        )
        for number in range(1000)
    ]

    outcomes = await scene.offer(*entries, atomic=True)

    assert [outcome.sequence for outcome in outcomes if isinstance(outcome, Accepted)] == [*range(1, 1001)]
    assert len(scene.ready(group="tenant-3")) + len(scene.delayed("tenant-3")) == 143
    assert await scene.offer(*entries) == outcomes


async def test_more_tasks_than_a_call_carries_are_split(scene: Scene) -> None:
    """1,001 tasks take two calls, and keep their order."""
    outcomes = await scene.offer(*(scene.entry(f"t{number:04}") for number in range(1001)))

    assert [outcome.sequence for outcome in outcomes if isinstance(outcome, Accepted)] == [*range(1, 1002)]
    assert scene.ready() == [f"t{number:04}" for number in range(1001)]


# Delays ------------------------------------------------------------------------------------------


async def test_a_delayed_task_waits_aside(scene: Scene) -> None:
    """It is in no lane, has its place all the same, and its tenant's first instant is known."""
    [late] = await scene.enqueue("late", delay=timedelta(seconds=5))
    [later] = await scene.enqueue("later", not_before=scene.clock.now + timedelta(seconds=9))

    assert (late.sequence, late.not_before_ms) == (1, scene.clock() + 5_000)
    assert (later.sequence, later.not_before_ms) == (2, scene.clock() + 9_000)
    assert scene.delayed() == {"late": 5_000, "later": 9_000}
    assert scene.due() == {"default": 5_000}
    assert (scene.ready(), scene.lanes()) == ([], [])
    assert (await scene.task("late")).state is TaskState.QUEUED


async def test_an_instant_in_the_past_is_now(scene: Scene) -> None:
    """The task is ready at once."""
    [accepted] = await scene.enqueue("a", not_before=scene.clock.now - timedelta(seconds=1))

    assert accepted.not_before_ms is None
    assert scene.ready() == ["a"]


async def test_an_earlier_instant_wakes_who_sleeps_until_a_later_one(scene: Scene) -> None:
    """A sleeper must hear of a task that is due before the one it sleeps for, and only of that."""
    await scene.enqueue("a", delay=timedelta(seconds=60))
    assert scene.is_awake()
    await scene.claim()
    assert not scene.is_awake()

    await scene.enqueue("later", delay=timedelta(seconds=90))
    assert not scene.is_awake()

    await scene.enqueue("earlier", delay=timedelta(seconds=30), tenant="acme")
    assert scene.is_awake()


# Slots -------------------------------------------------------------------------------------------


async def test_a_reserved_task_takes_its_tenants_slot_at_once(scene: Scene) -> None:
    """Limit 2: two reserved tasks of one call fit, the third does not; an ordinary one is parked."""
    await scene.store.set_limit(tenant="acme", concurrency=2)

    outcomes = await scene.offer(
        *(scene.entry(name, tenant="acme", reserve=True) for name in ("r1", "r2", "r3")),
        scene.entry("ordinary", tenant="acme", priority=10),
    )

    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted, LimitReached, Accepted]
    refusal = outcomes[2]
    assert isinstance(refusal, LimitReached)
    assert (refusal.tenant, refusal.limit) == ("acme", 2)
    assert scene.hash(scene.keys.limit_tenant("acme")) == {"max": "2", "used": "2"}
    assert scene.lanes() == ["acme!"]
    assert (await scene.task("r1")).priority == 11


async def test_without_a_limit_there_is_always_a_slot(scene: Scene) -> None:
    """Reserved tasks then only run first."""
    await scene.enqueue("ordinary", priority=10)
    await scene.enqueue("reserved", reserve=True)

    claimed = await scene.claim()

    assert [task.id for task in claimed.tasks] == ["reserved", "ordinary"]


async def test_a_new_task_wakes_one_scheduler(scene: Scene) -> None:
    """However many tasks come, there is one marker for the type."""
    await scene.enqueue("a", "b")
    await scene.enqueue("c", tenant="acme")

    assert scene.is_awake()
    assert not scene.is_awake("GEMINI")


async def test_one_call_leaves_one_marker(scene: Scene) -> None:
    """A task that is due soon and one that may run now wake the type once."""
    soon = scene.entry("soon", delay=timedelta(seconds=1))

    await scene.offer(soon, scene.entry("now"))

    assert scene.client.llen(scene.keys.wake("GROK")) == 1
