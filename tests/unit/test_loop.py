"""The claim loop: what it asks for, when it asks, and how it ends; and the waker that it sleeps on."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scheduler import GiveUp, RateLimited, loop
from scheduler.loop import Summary
from scheduler.outage import Outage, retry_delay
from scheduler.run import Stop
from scheduler.waker import LONGEST, SHORTEST, Waker
from taskqueue.errors import QueueCorrupt
from taskqueue.store import Release
from tests.unit.fake_store import claimed_task
from tests.unit.loop_bench import Bench, Gate, until

# ------------------------------------------------------------------------------------- claiming


async def test_a_claim_asks_for_exactly_the_free_slots() -> None:
    """Of every handler, and over all; a handler without room is not named."""
    gate = Gate()
    bench = Bench(4, A=(gate, 2), B=(gate, 3), C=(gate, None))
    bench.put("A", "A", "A", "B")

    assert await bench.asked() == {"A": 2, "B": 3, "C": 4}
    assert bench.store.claims[0].limit == 4
    assert await bench.asked() == {"B": 1, "C": 1}
    assert bench.store.claims[1].limit == 1
    assert bench.store.claims[1].lease_ms == 15_000

    bench.put("C")
    await bench.loop.run_once()
    await bench.loop.run_once()
    assert len(bench.store.claims) == 3, "without a free slot nothing is asked"
    gate.opened.set()


async def test_every_claim_has_a_name_of_its_own() -> None:
    """The server remembers the last one, to answer a repeat; another scheduler's never looks the same."""
    one, two = Bench(A=(Gate(), 1)), Bench(A=(Gate(), 1))
    for bench in (one, one, two):
        await bench.loop.run_once()

    assert len({request.request for bench in (one, two) for request in bench.store.claims}) == 3


async def test_one_call_reports_what_ended_and_claims_for_the_freed_slots() -> None:
    """In one round trip, with whatever ended meanwhile."""
    gate = Gate()
    bench = Bench(A=(gate, 3))
    bench.put("A", "A", "A", "A")
    await bench.loop.run_once()
    await until(lambda: len(gate.running) == 3)
    gate.opened.set()
    await until(lambda: bench.executor.running == 0)
    bench.store.calls.clear()

    tick = await bench.loop.run_once()

    assert bench.store.calls == ["complete"]
    assert (tick.answered, tick.claimed) == (["completed"] * 3, 1)
    assert [done.id for done in bench.store.completions] == ["A0", "A1", "A2"]


async def test_quick_tasks_run_while_the_call_about_others_is_under_way() -> None:
    """Half of twenty has ended at once: it is reported, and the rest runs during that call; none twice."""
    ran: list[str] = []

    async def quick(payload: dict[str, Any]) -> None:
        ran.append(payload["name"])

    bench = Bench(20, GROK=(quick, 20))
    bench.put(*["GROK"] * 20)

    await bench.loop.run_once()

    assert ran == [f"GROK{number}" for number in range(10)]
    assert bench.slots.free == 10  # those that wait to be started have their slots
    await bench.loop.run_once()
    assert bench.store.claims[-1].limit == 10
    await until(lambda: len(ran) == 20)
    assert ran == [f"GROK{number}" for number in range(20)]


async def test_a_damaged_record_among_quick_tasks_harms_no_other() -> None:
    """It names no type, so it cannot wait with the rest: it is reported as FAILED."""
    gate = Gate()
    bench = Bench(20, GROK=(gate, 20))
    damaged = claimed_task("GROK", {"name": "damaged"}, task_id="damaged")
    damaged.record = b"garbage"

    bench.loop._starter._hold([claimed_task("GROK", {"name": "sound"}, task_id="sound"), damaged], 0.0)

    assert bench.slots.free == 19
    await bench.loop.run_once()
    await until(lambda: gate.running == ["sound"])
    assert [failure.id for failure in bench.store.failures] == ["damaged"]
    assert bench.slots.free == 19
    bench.executor.stop_all(Stop.SHUTDOWN)


async def test_failures_and_releases_are_reported_right_before() -> None:
    """Each kind in one call; all are counted."""

    async def fail(payload: dict[str, Any]) -> None:
        raise ValueError

    bench = Bench(A=(fail, 3))
    bench.put("A", "A")
    await bench.loop.run_once()
    await until(lambda: bench.executor.running == 0)
    bench.outcomes.release(claimed_task(task_id="r"))
    bench.store.calls.clear()

    await bench.loop.run_once()

    assert bench.store.calls == ["fail", "release", "complete"]
    assert bench.loop.summary == Summary(claimed=2, failed=2, released=1)
    assert bench.executor.runs == {}


async def test_a_report_that_came_too_late_is_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """The task belongs to somebody else by now."""
    gate = Gate()
    gate.opened.set()
    bench = Bench(A=(gate, 3))
    bench.put("A")
    bench.store.stale.add("A0")
    async with bench.running():
        await until(lambda: bench.loop.summary.stale)

    assert bench.loop.summary == Summary(claimed=1, stale=1)
    assert "A0: its outcome came after its lease was lost" in caplog.text


async def test_debug_logs_count_and_name_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """One line for a batch, whatever its size."""
    caplog.set_level(logging.DEBUG, "scheduler.loop")
    bench = Bench(A=(Gate(), 3))
    bench.put("A", "A")

    await bench.loop.run_once()
    await bench.loop.run_once()

    assert caplog.messages == ["claimed 2 tasks, reported {}"]


async def test_a_claim_that_stopped_at_a_bound_of_its_own_is_continued_at_once() -> None:
    """More is left although no handler got all that it asked for."""
    gate = Gate()
    bench = Bench(5, A=(gate, 5))
    bench.put("A")
    bench.store.more_than_slots = True

    async with bench.running():
        await until(lambda: len(bench.store.claims) >= 3)
        bench.store.more_than_slots = False


async def test_empty_claims_are_not_repeated_for_ever() -> None:
    """Should the server say that more is left and never give it."""
    bench = Bench(5, A=(Gate(), 5))
    bench.store.more_than_slots = True

    async with bench.running():
        await until(lambda: bench.store.waits)

    assert len(bench.store.claims) < 20


async def test_work_left_for_a_full_handler_waits_for_its_slots() -> None:
    """It is no reason to claim again for the others, nor to be woken for it."""
    gate = Gate()
    bench = Bench(5, A=(gate, 1), B=(gate, 1))
    bench.put("A", "A", "A")

    async with bench.running():
        await until(lambda: bench.store.waits)
        assert len(bench.store.claims) == 1
        assert [types for types, _ in bench.store.waits] == [["B"]]


async def test_the_next_due_task_is_claimed_when_it_is_due() -> None:
    """Nobody sleeps past it, and nobody asks before."""
    bench = Bench(A=(Gate(), 1))
    bench.store.next_in = 0.05
    loop_ = asyncio.get_running_loop()

    started = loop_.time()
    async with bench.running():
        await until(lambda: bench.store.claims)
        bench.store.next_in = None
        await until(lambda: len(bench.store.claims) == 2)
        assert 0.045 < loop_.time() - started < 4


# --------------------------------------------------------------------------------------- waking


async def test_an_idle_loop_claims_when_it_is_woken() -> None:
    """It waits with one call for all of its types, and again only after the claim."""
    gate = Gate()
    bench = Bench(A=(gate, 1), B=(gate, 1))

    async with bench.running():
        await until(lambda: bench.store.waits)
        [(types, timeout)] = bench.store.waits
        assert types == ["A", "B"]
        assert SHORTEST <= timeout <= LONGEST
        bench.put("A")
        bench.store.wakes.put_nowait(True)
        await until(lambda: gate.running)
        await until(lambda: len(bench.store.waits) == 2)
        assert bench.store.waits[1][0] == ["B"]


async def test_a_wait_that_ends_without_a_word_claims_too() -> None:
    """The backstop for a marker that was lost."""
    bench = Bench(A=(Gate(), 1))

    async with bench.running():
        await until(lambda: bench.store.waits)
        bench.store.wakes.put_nowait(False)
        await until(lambda: len(bench.store.claims) == 2 and len(bench.store.waits) == 2)


async def test_a_marker_taken_without_a_free_slot_is_handed_back() -> None:
    """By a claim with no slots: only a claim sets it again, and another worker may have room."""
    gate = Gate()
    bench = Bench(2, A=(gate, 1), B=(gate, None))
    async with bench.running():
        await until(lambda: bench.store.waits)
        bench.put("A", "B")
        bench.bell.ring()
        await until(lambda: len(gate.running) == 2)
        bench.store.claims.clear()

        bench.store.wakes.put_nowait(True)
        await until(lambda: bench.store.claims)

        [request] = bench.store.claims
        assert (request.slots, request.limit) == ({"A": 0, "B": 0}, 0)


async def test_a_type_that_becomes_idle_gets_a_wait_of_its_own() -> None:
    """The pending one is not cut short; both end together, and one covers both from then on."""
    bench = Bench(A=(Gate(), 1), B=(Gate(), 1))
    waker, waits = bench.waker, bench.store.waits

    waker.arm(["A"])
    waker.arm(["A"])
    await until(lambda: len(waits) == 1)
    waker.arm(["A", "B"])
    await until(lambda: len(waits) == 2)
    assert [types for types, _ in waits] == [["A"], ["B"]]
    assert waits[1][1] == pytest.approx(waits[0][1], abs=0.1)

    bench.store.wakes.put_nowait(True)
    await bench.bell.wait()
    assert waker.take() == {"A"}
    assert waker.take() == set()
    assert await waker.close() == {"B"}


async def test_a_type_waits_for_a_wait_that_is_about_to_end() -> None:
    """So that the next one covers all, and an idle scheduler keeps one."""
    bench = Bench(A=(Gate(), 1), B=(Gate(), 1))
    waker = Waker(bench.store.store, bench.bell, bench.outage, Random(1), longest=0.04)

    waker.arm(["A"])
    waker.arm(["A", "B"])
    await until(lambda: bench.store.waits)
    bench.store.wakes.put_nowait(False)
    await bench.bell.wait()
    waker.arm(["A", "B"])
    await until(lambda: len(bench.store.waits) == 2)

    assert [types for types, _ in bench.store.waits] == [["A"], ["A", "B"]]
    await waker.close()


async def test_the_markers_of_pending_waits_are_handed_back_at_the_end() -> None:
    """A wait that is cut short may have taken one."""
    bench = Bench(A=(Gate(), 1), B=(Gate(), 1))
    async with bench.running():
        await until(lambda: bench.store.waits)

    assert bench.store.calls[-1] == "claim"
    assert bench.store.claims[-1].slots == {"A": 0, "B": 0}


async def test_a_waker_that_breaks_silences_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Claims go on without being woken, and the log says what is wrong."""
    gate = Gate()
    bench = Bench(A=(gate, 1))

    async def broken(types: list[str], timeout: float) -> bool:
        raise QueueCorrupt("the key is of another type")

    monkeypatch.setattr(bench.store, "wait_wake", broken)
    async with bench.running():
        await until(lambda: len(bench.store.claims) >= 3)
        bench.put("A")
        await until(lambda: gate.running)

    assert "waiting for new tasks failed" in caplog.text


async def test_markers_are_not_handed_back_to_a_server_that_is_away() -> None:
    """Other workers wake up by themselves."""
    bench = Bench(A=(Gate(), 1))
    async with bench.running() as running:
        await until(lambda: bench.store.waits)
        bench.store.is_away = True
        bench.loop.stop(0)
        await asyncio.wait_for(running, 5)

    assert bench.store.calls[-1] == "claim"


async def test_a_part_that_crashes_ends_the_loop_with_its_error() -> None:
    """The first error counts."""
    bench = Bench(A=(Gate(), 1))
    running = asyncio.create_task(bench.loop.run())
    await until(lambda: bench.store.waits)

    bench.bell.crash(ZeroDivisionError("first"))
    bench.bell.crash(ValueError("second"))

    with pytest.raises(ZeroDivisionError, match="first"):
        await asyncio.wait_for(running, 5)
    await bench.waker.close()


# -------------------------------------------------------------------------------------- outages


async def test_reports_and_claims_are_repeated_until_they_are_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same ones; handlers run on meanwhile; the log says once that it is away, once that it is back."""
    caplog.set_level(logging.INFO, "scheduler")
    gate = Gate()
    bench = Bench(2, A=(gate, 2))
    bench.put("A")
    async with bench.running():
        await until(lambda: gate.running)
        bench.store.is_away = True
        gate.opened.set()
        await until(lambda: bench.store.calls.count("complete") >= 4)
        assert bench.executor.running == 0
        assert list(bench.executor.runs) == ["A0"], "its lease is still to be extended"
        bench.store.is_away = False
        await until(lambda: bench.loop.summary.completed)

    assert [done.id for done in bench.store.completions] == ["A0"]
    assert sum("the server is away" in message for message in caplog.messages) == 1
    assert sum("the server is back after" in message for message in caplog.messages) == 1


def test_the_end_of_an_outage_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Though two parts of a scheduler notice it at the same moment."""
    caplog.set_level(logging.INFO, "scheduler")
    outage = Outage("it")
    lock = outage._lock

    class Overtaken:
        """A lock that another part had just before."""

        def __enter__(self) -> None:
            outage._lock = lock
            outage.over()

        def __exit__(self, *_: object) -> None:
            """Nothing was held."""

    outage.noticed(ConnectionError("gone"))
    outage._lock = cast("Any", Overtaken())
    outage.over()

    assert caplog.text.count("it is back after") == 1
    assert not outage.is_on


async def test_reports_that_a_partition_does_not_answer_are_made_again() -> None:
    """With the next call, until it does; the runs are not forgotten, and others are not held up."""

    async def handle(payload: dict[str, Any]) -> str:
        raises = {"B0": GiveUp("no"), "C0": RateLimited(after=1)}
        if (error := raises.get(payload["name"])) is not None:
            raise error
        return "done"

    bench = Bench(A=(handle, 1), B=(handle, 1), C=(handle, 1), D=(handle, 1))
    for type_ in "ABCD":
        bench.store.waiting.append(claimed_task(type_, {"name": f"{type_}0"}, task_id=f"{type_}0"))
    bench.store.unanswered = {"A0", "B0", "C0"}
    await bench.loop.run_once()
    await until(lambda: bench.executor.running == 0)

    for _ in range(2):
        await bench.loop.run_once()
    assert set(bench.executor.runs) == {"A0", "B0", "C0"}
    bench.store.unanswered.clear()
    tick = await bench.loop.run_once()

    assert sorted(tick.answered) == ["completed", "failed", "released"]
    assert (bench.executor.runs, bool(bench.outcomes)) == ({}, False)
    assert [done.id for done in bench.store.completions] == ["A0", "D0", "A0", "A0"]
    assert [failure.id for failure in bench.store.failures] == ["B0"] * 3
    assert [release.id for release in bench.store.releases] == ["C0"] * 3
    await bench.waker.close()
    bench.executor.close()


async def test_the_waker_outlives_an_outage() -> None:
    """After it there is a claim at once: the marker may have been lost with the connection."""
    gate = Gate()
    bench = Bench(A=(gate, 1))
    bench.store.is_away = True
    async with bench.running():
        await until(lambda: bench.store.calls.count("complete") >= 2)
        bench.waker.arm(["A"])
        await until(lambda: bench.store.calls.count("wait_wake") >= 1)
        bench.store.is_away = False
        bench.put("A")
        await until(lambda: gate.running)


async def test_a_claim_answered_late_starts_only_what_is_still_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its leases may have run out while the answer was on its way."""
    gate = Gate()
    bench = Bench(A=(gate, 5))
    bench.put("A", "A")
    bench.store.lost = ["A0"]
    times = iter([0.0, 8.0])
    # The name in that module only: threads of others read the clock too.
    monkeypatch.setattr("scheduler.loop.time", SimpleNamespace(monotonic=lambda: next(times, 8.0)))

    await bench.loop.run_once()
    monkeypatch.undo()

    assert list(bench.executor.runs) == ["A1"]
    assert [task_id for task_id, _ in bench.store.extended[0]] == ["A0", "A1"]


def test_the_time_between_two_tries_grows_to_two_seconds_and_is_drawn() -> None:
    """So that a thousand workers do not come back together."""
    delays = [retry_delay(failures, Random(failures)) for failures in range(1, 40)]

    assert all(0 <= delay <= 2 for delay in delays)
    assert max(delays) > 1
    assert delays[0] < 0.1


# ----------------------------------------------------------------------------------- stopping


async def test_a_stopped_loop_claims_nothing_and_lets_tasks_finish() -> None:
    """Their results are reported before it ends."""
    gate = Gate()
    bench = Bench(2, A=(gate, 2))
    bench.put("A")
    async with bench.running() as running:
        await until(lambda: gate.running)
        bench.put("A")
        bench.loop.stop(30)
        bench.loop.stop(30)
        await asyncio.sleep(0.02)
        assert not running.done()
        gate.opened.set()
        summary = await asyncio.wait_for(running, 5)

    assert summary == Summary(claimed=1, completed=1)
    assert len(bench.store.waiting) == 1


async def test_after_the_grace_period_handlers_are_cancelled_and_tasks_released() -> None:
    """Without spending the attempt."""
    gate = Gate()
    bench = Bench(2, A=(gate, 2))
    bench.put("A")
    async with bench.running() as running:
        await until(lambda: gate.running)
        bench.loop.stop(0.03)
        summary = await asyncio.wait_for(running, 5)

    assert summary == Summary(claimed=1, released=1)
    assert [release.id for release in bench.store.releases] == ["A0"]


async def test_tasks_of_a_claim_that_a_stop_overtakes_are_released_unstarted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The claim was on its way already."""
    gate = Gate()
    bench = Bench(2, A=(gate, 2))
    bench.put("A", "A")
    complete = bench.store.complete

    async def stop_meanwhile(*arguments: Any, **named: Any) -> Any:
        answer = await complete(*arguments, **named)
        bench.loop.stop(30)
        return answer

    monkeypatch.setattr(bench.store, "complete", stop_meanwhile)
    summary = await asyncio.wait_for(bench.loop.run(), 5)

    assert summary == Summary(claimed=2, released=2)
    assert bench.store.releases == [
        Release("A0", "token-of-A0-1"),
        Release("A1", "token-of-A1-1"),
    ]
    assert gate.most == 0


async def test_a_handler_that_will_not_stop_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its task runs again when its lease ends; the scheduler ends meanwhile."""
    monkeypatch.setattr(loop, "UNWIND", 0.05)
    go_on = asyncio.Event()

    async def stubborn(payload: dict[str, Any]) -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    bench = Bench(A=(stubborn, 1))
    bench.put("A")
    async with bench.running() as running:
        await until(lambda: bench.executor.running)
        bench.loop.stop(0)
        summary = await asyncio.wait_for(running, 5)

    assert summary == Summary(claimed=1)
    assert "1 handlers did not stop" in caplog.text
    go_on.set()
    await until(lambda: bench.executor.running == 0)


async def test_a_stop_during_an_outage_does_not_wait_for_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be reported is logged; those tasks run again."""
    monkeypatch.setattr(loop, "UNWIND", 0.05)
    gate = Gate()
    bench = Bench(A=(gate, 1))
    bench.put("A")
    async with bench.running() as running:
        await until(lambda: gate.running)
        bench.store.is_away = True
        gate.opened.set()
        await until(lambda: bench.executor.running == 0)
        bench.loop.stop(0)
        await asyncio.wait_for(running, 5)

    assert "1 tasks could not be reported" in caplog.text


async def test_a_stop_does_not_wait_for_a_partition_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tasks run again when their leases end."""
    monkeypatch.setattr(loop, "UNWIND", 0.05)
    gate = Gate()
    bench = Bench(A=(gate, 2))
    bench.put("A", "A")
    bench.store.unanswered.add("A0")
    async with bench.running() as running:
        await until(lambda: len(gate.running) == 2)
        gate.opened.set()
        await until(lambda: "A1" not in bench.executor.runs)
        bench.loop.stop(0)
        summary = await asyncio.wait_for(running, 5)

    assert summary == Summary(claimed=2, completed=1)
    assert list(bench.executor.runs) == ["A0"]
    assert not bench.outcomes


async def test_a_burst_ends_when_nothing_is_left_and_nothing_runs() -> None:
    """It asks whenever it found nothing, and goes on if the answer is no."""
    gate = Gate()
    bench = Bench(A=(gate, 1))
    bench.put("A")
    answers = iter([False, True])
    asked: list[int] = []

    async def is_over() -> bool:
        asked.append(bench.executor.running)
        return next(answers)

    running = asyncio.create_task(bench.loop.run(is_over))
    await until(lambda: gate.running)
    assert asked == []
    gate.opened.set()
    await until(lambda: asked == [0])
    bench.store.wakes.put_nowait(False)

    assert await asyncio.wait_for(running, 5) == Summary(claimed=1, completed=1)
    assert asked == [0, 0]


async def test_concurrency_is_never_passed() -> None:
    """Neither a handler's nor the overall one, over many tasks that end at odd moments."""
    running = {"A": 0, "B": 0}
    most = {"A": 0, "B": 0, "all": 0}

    def handler(type_: str) -> Any:
        async def handle(payload: dict[str, Any]) -> None:
            running[type_] += 1
            most[type_] = max(most[type_], running[type_])
            most["all"] = max(most["all"], sum(running.values()))
            for _ in range(len(payload["name"]) % 5):
                await asyncio.sleep(0)
            running[type_] -= 1

        return handle

    bench = Bench(5, A=(handler("A"), 3), B=(handler("B"), 4))
    bench.put(*("A" * 20 + "B" * 20) * 10)
    async with bench.running():
        await until(lambda: bench.loop.summary.completed == 400)

    assert most == {"A": 3, "B": 4, "all": 5}
