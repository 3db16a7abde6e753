"""reap: tasks come back from workers that fell silent, and from nobody else."""

from __future__ import annotations

import pytest

from taskqueue.task import TaskState
from tests.lua.scene import LEASE_MS, Scene

BEFORE_A_GAP_MS = LEASE_MS // 2


async def test_a_silent_workers_task_goes_to_its_old_place(scene: Scene) -> None:
    """Its lease ran out: the crash is counted, the attempt is spent, the next worker gets it first."""
    await scene.enqueue("a", "b")
    await scene.claim_one(worker="worker-1")
    assert (await scene.store.reap(LEASE_MS)).requeued == []

    reaped = await scene.lose()

    task = await scene.task("a")
    assert (reaped.requeued, reaped.dead, reaped.cancelled, reaped.more) == (["a"], [], [], False)
    assert scene.ready() == ["a", "b"]
    assert scene.leased() == {}
    assert scene.is_awake()
    assert (task.state, task.attempt, task.deliveries, task.crashes) == (TaskState.QUEUED, 1, 1, 1)
    again = await scene.claim_one(worker="worker-2")
    assert (again.id, again.attempt, again.crashes) == ("a", 2, 1)


async def test_a_lease_that_has_not_run_out_is_left_alone(scene: Scene) -> None:
    """Up to the last millisecond."""
    await scene.enqueue("a")
    await scene.claim_one()
    for _ in range(2):
        scene.advance(BEFORE_A_GAP_MS - 1)
        await scene.store.reap(LEASE_MS)
    scene.advance(1)
    assert scene.leased() == {"a": 1}

    assert (await scene.store.reap(LEASE_MS)).requeued == []
    scene.advance(1)
    assert (await scene.store.reap(LEASE_MS)).requeued == ["a"]


async def test_the_third_crash_makes_a_dead_letter(scene: Scene) -> None:
    """A task that takes its workers down with it: FAILED, and the last worker is named."""
    await scene.enqueue("a")
    for number in (1, 2):
        await scene.claim_one(worker=f"worker-{number}")
        assert (await scene.lose()).requeued == ["a"]
    claimed = await scene.claim_one(worker="worker-3")

    reaped = await scene.lose()

    task = await scene.task("a")
    assert (reaped.requeued, reaped.dead) == ([], ["a"])
    assert (task.state, task.crashes, task.worker) == (TaskState.FAILED, 3, "worker-3")
    assert task.error is not None
    assert task.error.code == "CRASHED"
    assert scene.dead() == scene.finished() == {"a"}
    assert await scene.complete(claimed) == ["stale"]


async def test_failures_between_crashes_do_not_count_as_crashes(scene: Scene) -> None:
    """Two crashes with a retry between them leave the task in the queue."""
    await scene.enqueue("a")
    await scene.claim_one()
    await scene.lose()
    await scene.fail(await scene.claim_one(), retry_in_ms=0)
    await scene.claim_one()

    assert (await scene.lose()).requeued == ["a"]
    assert (await scene.task("a")).crashes == 2


async def test_a_task_whose_cancel_was_asked_for_ends(scene: Scene) -> None:
    """Its worker died before it could stop the handler: CANCELLED, and waiters hear so."""
    await scene.enqueue("a")
    await scene.store.watch(["a"], "inbox-1")
    await scene.claim_one()
    await scene.store.cancel("a")

    reaped = await scene.lose()

    task = await scene.task("a")
    assert (reaped.requeued, reaped.cancelled) == ([], ["a"])
    assert task.state is TaskState.CANCELLED
    assert task.error is not None
    assert task.error.code == "TASK_CANCELLED"
    assert scene.inbox("inbox-1") == ["finished a"]


async def test_a_step_has_a_limit(scene: Scene) -> None:
    """Five leases have run out, two are taken at a time, and it says that there are more."""
    await scene.enqueue("a", "b", "c", "d", "e")
    await scene.claim()
    for _ in range(3):
        await scene.store.reap(LEASE_MS)
        scene.advance(5000)

    first = await scene.store.reap(LEASE_MS, limit=2)
    second = await scene.store.reap(LEASE_MS, limit=2)
    third = await scene.store.reap(LEASE_MS, limit=2)

    assert [first.more, second.more, third.more] == [True, True, False]
    assert sorted(first.requeued + second.requeued + third.requeued) == ["a", "b", "c", "d", "e"]


async def test_a_completion_before_the_reap_is_accepted_and_after_it_is_not(scene: Scene) -> None:
    """Two leases ran out at the same moment; one worker is back just before the reap, one after."""
    await scene.enqueue("early", "late")
    early, late = (await scene.claim()).tasks
    await scene.store.reap(LEASE_MS)
    for _ in range(3):
        scene.advance(5000)
        if scene.leased()["late"] > 0:
            await scene.store.reap(LEASE_MS)

    assert await scene.complete(early) == ["completed"]
    assert (await scene.store.reap(LEASE_MS)).requeued == ["late"]
    assert await scene.complete(late) == ["stale"]


# Holds -------------------------------------------------------------------------------------------


async def test_the_first_reap_of_a_queue_does_not_hold(scene: Scene) -> None:
    """There was no gap, because there was nothing before."""
    await scene.enqueue("a")
    await scene.claim_one()
    scene.advance(LEASE_MS)

    reaped = await scene.store.reap(LEASE_MS)

    assert (reaped.holding_ms, reaped.requeued) == (0, ["a"])


async def test_after_an_outage_nothing_is_reaped_for_one_lease(scene: Scene) -> None:
    """No reap ran for a minute: the server was away, and nobody could extend. They get a lease to do so."""
    await scene.enqueue("alive", "dead")
    alive, _ = (await scene.claim()).tasks
    await scene.store.reap(LEASE_MS)
    scene.advance(60_000)

    assert (await scene.store.reap(LEASE_MS)).holding_ms == LEASE_MS
    scene.advance(5000)
    await scene.store.extend("worker-1", [(alive.id, alive.token)], LEASE_MS)
    assert (await scene.store.reap(LEASE_MS)).holding_ms == LEASE_MS - 5000
    scene.advance(5000)
    await scene.store.extend("worker-1", [(alive.id, alive.token)], LEASE_MS)
    assert (await scene.store.reap(LEASE_MS)).requeued == []
    scene.advance(5000)
    reaped = await scene.store.reap(LEASE_MS)

    assert (reaped.holding_ms, reaped.requeued) == (0, ["dead"])
    assert await scene.complete(alive) == ["completed"]


async def test_a_gap_of_half_a_lease_is_no_outage(scene: Scene) -> None:
    """One millisecond more is one."""
    await scene.store.reap(LEASE_MS)
    scene.advance(BEFORE_A_GAP_MS)
    assert (await scene.store.reap(LEASE_MS)).holding_ms == 0

    scene.advance(BEFORE_A_GAP_MS + 1)
    assert (await scene.store.reap(LEASE_MS)).holding_ms == LEASE_MS


async def test_a_short_lease_does_not_make_every_pause_an_outage(scene: Scene) -> None:
    """Lease of a tenth of a second, reaps every half as they should come: gaps up to 1 s never hold."""
    for _ in range(3):
        assert (await scene.store.reap(100)).holding_ms == 0
        scene.advance(1000)


async def test_an_outage_that_a_short_lease_did_not_survive_holds(scene: Scene) -> None:
    """Lease of one second, and nobody reaped for longer: workers get a second to extend."""
    await scene.store.reap(1000)
    scene.advance(1001)

    assert (await scene.store.reap(1000)).holding_ms == 1000


async def test_a_stall_that_a_lease_of_two_seconds_did_not_survive_holds(scene: Scene) -> None:
    """The server stood still for 1.5 s: the lease ended before the heartbeat behind the reaper came."""
    await scene.enqueue("a")
    claimed = (await scene.claim()).tasks[0]
    await scene.store.extend("worker-1", [(claimed.id, claimed.token)], 1500)
    await scene.store.reap(2000)
    scene.advance(1500)

    assert (await scene.store.reap(2000)).holding_ms == 2000
    await scene.store.extend("worker-1", [(claimed.id, claimed.token)], 2000)
    assert await scene.complete(claimed) == ["completed"]


async def test_a_short_gap_in_a_hold_leaves_half_a_lease_of_it(scene: Scene) -> None:
    """A server that comes and goes: what was claimed in between outlives the next gap too."""
    await scene.store.reap(LEASE_MS)
    scene.advance(BEFORE_A_GAP_MS + 1)
    assert (await scene.store.reap(LEASE_MS)).holding_ms == LEASE_MS
    await scene.enqueue("alive", "dead")
    alive, _ = (await scene.claim()).tasks
    scene.advance(LEASE_MS // 2)
    assert (await scene.store.reap(LEASE_MS)).holding_ms == LEASE_MS // 2

    scene.advance(BEFORE_A_GAP_MS + 1)
    assert (await scene.store.reap(LEASE_MS)).holding_ms == LEASE_MS // 2
    await scene.store.extend("worker-1", [(alive.id, alive.token)], LEASE_MS)
    scene.advance(LEASE_MS // 2)

    reaped = await scene.store.reap(LEASE_MS)
    assert (reaped.holding_ms, reaped.requeued) == (0, ["dead"])
    assert await scene.complete(alive) == ["completed"]


async def test_a_clock_that_jumps_back_in_a_hold_holds_for_a_lease(scene: Scene) -> None:
    """Nothing is known of how long anybody was away."""
    await scene.store.reap(LEASE_MS)
    scene.advance(BEFORE_A_GAP_MS + 1)
    assert (await scene.store.reap(LEASE_MS)).holding_ms == LEASE_MS
    scene.client.hset(scene.keys.meta, "reaped_at", scene.clock() + 6000)

    assert (await scene.store.reap(LEASE_MS)).holding_ms == LEASE_MS


async def test_a_pause_in_a_hold_does_not_lengthen_it(scene: Scene) -> None:
    """Passes that come as they should count it down to its end."""
    await scene.store.reap(LEASE_MS)
    scene.advance(LEASE_MS)
    found = []
    for _ in range(3):
        found.append((await scene.store.reap(LEASE_MS)).holding_ms)
        scene.advance(LEASE_MS // 2)

    assert found == [LEASE_MS, LEASE_MS // 2, 0]
    scene.advance(1)  # and half a lease since the last pass, which was no longer of the hold
    assert (await scene.store.reap(LEASE_MS)).holding_ms == LEASE_MS


@pytest.mark.parametrize(("gap", "left"), [(LEASE_MS, LEASE_MS // 2), (LEASE_MS + 1, LEASE_MS)])
async def test_an_outage_of_more_than_a_lease_begins_a_hold_anew(scene: Scene, gap: int, left: int) -> None:
    """Nobody could have kept one meanwhile."""
    await scene.store.reap(LEASE_MS)
    scene.advance(BEFORE_A_GAP_MS + 1)
    assert (await scene.store.reap(LEASE_MS)).holding_ms == LEASE_MS

    scene.advance(gap)
    assert (await scene.store.reap(LEASE_MS)).holding_ms == left


async def test_the_longest_lease_of_all_workers_counts(scene: Scene) -> None:
    """A worker with a lease of 60 s is given these 60 s, whoever does the reaping."""
    await scene.store.reap(60_000)
    scene.advance(20_000)
    assert (await scene.store.reap(1000)).holding_ms == 0

    scene.advance(30_001)
    assert (await scene.store.reap(1000)).holding_ms == 60_000


async def test_a_clock_that_jumps_back_holds(scene: Scene) -> None:
    """The last reap was six seconds in the future: the clock was wrong, then or now."""
    await scene.store.reap(LEASE_MS)
    scene.client.hset(scene.keys.meta, "reaped_at", scene.clock() + 6000)

    assert (await scene.store.reap(LEASE_MS)).holding_ms == LEASE_MS


async def test_a_hold_from_the_future_is_cut(scene: Scene) -> None:
    """It was set when the clock stood a year ahead: it still ends after one lease."""
    await scene.store.reap(LEASE_MS)
    scene.client.hset(scene.keys.meta, "hold_until", scene.clock() + 365 * 24 * 3600 * 1000)

    assert (await scene.store.reap(LEASE_MS)).holding_ms == LEASE_MS


async def test_a_lease_from_the_future_is_cut(scene: Scene) -> None:
    """It was made when the clock stood a day ahead: its worker may be dead for all we know."""
    await scene.enqueue("a", "b")
    await scene.claim()
    scene.client.zadd(scene.keys.leased, {"a": scene.clock() + 24 * 3600 * 1000})

    await scene.store.reap(LEASE_MS)

    assert scene.leased() == {"a": LEASE_MS, "b": LEASE_MS}


async def test_a_lease_of_nobody_is_dropped(scene: Scene) -> None:
    """By hand, an id of a task that does not run is among the leases."""
    await scene.enqueue("queued")
    scene.client.zadd(scene.keys.leased, {"queued": scene.clock() - 1, "ghost": scene.clock() - 1})

    reaped = await scene.store.reap(LEASE_MS)

    assert reaped.requeued == []
    assert scene.leased() == {}
    assert scene.ready() == ["queued"]


async def test_a_hold_is_as_long_as_the_longest_lease_that_was_seen(scene: Scene) -> None:
    """Another worker, whose leases are shorter, does not end it before."""
    await scene.store.reap(2_000)
    scene.advance(200_000)

    assert (await scene.store.reap(60_000)).holding_ms == 60_000
    scene.advance(1_000)
    assert (await scene.store.reap(2_000)).holding_ms == 59_000


async def test_what_was_cancelled_when_it_was_taken_back_is_stale(scene: Scene) -> None:
    """Its worker was asked to stop, fell silent, and completes it after all: too late."""
    await scene.enqueue("a")
    claimed = await scene.claim_one()
    await scene.store.cancel("a")
    assert (await scene.lose()).cancelled == ["a"]

    assert await scene.complete(claimed) == ["stale"]
    assert await scene.fail(claimed) == ["stale"]
