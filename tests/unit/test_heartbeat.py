"""The heartbeat, the inbox and the maintenance: each makes one pass, and says when it is due again."""

from __future__ import annotations

import asyncio
import logging
import time
from random import Random
from typing import Any

import pytest

from scheduler.duties import repeat
from scheduler.heartbeat import Heartbeat, Inbox, Lease
from scheduler.maintenance import Promoter, Purger, Reaper, Repairer, maintenance_duties
from scheduler.outage import Outage
from scheduler.run import Run
from taskqueue.errors import ServerUnavailable
from taskqueue.store import Promoted, Purged, Reaped
from tests.unit.fake_store import FakeStore, claimed_task


class Bench:
    """A heartbeat for runs that a test makes: lease 15 s, every 5 s, grace 10 s."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.runs: dict[str, Run] = {}
        self.lost: list[Lease] = []
        self.cancelled: list[Lease] = []
        self.heartbeat = Heartbeat(
            self.store.store,
            "w",
            self.runs,
            lease=15,
            interval=5,
            grace=10,
            lost=self.lost.extend,
            cancelled=self.cancelled.extend,
            random=Random(1),
        )

    def add(self, task_id: str, *, age: float, timeout: float = 60, has_ended: bool = False) -> Run:
        """Add a run that was claimed so many seconds ago."""
        claimed = claimed_task(task_id=task_id)
        started = time.monotonic() - age
        run = Run(claimed, claimed.task(), handler=None, claimed_at=started, deadline=started + timeout)  # type: ignore[arg-type]
        run.has_ended = has_ended
        self.runs[task_id] = run
        return run

    async def extended(self) -> list[str]:
        """Make one pass, and return the ids whose lease it extended."""
        await self.heartbeat.run_once()
        return [task_id for task_id, _ in self.store.extended[-1]]


async def test_running_tasks_are_extended_with_their_tokens() -> None:
    """All in one call."""
    bench = Bench()
    for number in range(3):
        bench.add(str(number), age=10)

    await bench.heartbeat.run_once()

    assert bench.store.extended == [[(str(n), f"token-of-{n}-1") for n in range(3)]]


async def test_what_was_claimed_just_now_is_left_for_the_next_beat() -> None:
    """It has most of its lease; most short tasks are never extended."""
    bench = Bench()
    bench.add("young", age=2)
    bench.add("older", age=3)

    assert await bench.extended() == ["older"]


async def test_a_beat_that_was_held_up_is_followed_by_the_next_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beats begin an interval apart: what was too young for a slow one is not left for an interval more."""
    clock = [1000.0]
    monkeypatch.setattr("scheduler.heartbeat.time.monotonic", lambda: clock[0])
    bench = Bench()
    extend = bench.store.extend

    async def after(seconds: float) -> float:
        async def slowly(*arguments: Any, **options: Any) -> Any:
            clock[0] += seconds
            return await extend(*arguments, **options)

        monkeypatch.setattr(bench.store, "extend", slowly)
        return bench.heartbeat.pause(await bench.heartbeat.run_once())

    assert 4.5 <= await after(0) <= 5
    assert 2.5 <= await after(2) <= 3
    assert await after(6) == 0


async def test_without_tasks_the_beat_still_shows_that_the_worker_lives() -> None:
    """An empty call."""
    assert await Bench().extended() == []


async def test_a_hung_handler_is_no_longer_extended() -> None:
    """Beyond its timeout and the grace after it the task is to be run by somebody else."""
    bench = Bench()
    bench.add("in_timeout", age=50)
    bench.add("in_grace", age=69)
    bench.add("hung", age=71)

    assert await bench.extended() == ["in_timeout", "in_grace"]


async def test_a_task_that_waits_for_its_report_is_extended_without_bound() -> None:
    """The server may be away for long; the work is done and must not be done again."""
    bench = Bench()
    bench.add("done", age=10_000, has_ended=True)

    assert await bench.extended() == ["done"]


async def test_lost_and_cancelled_leases_are_passed_on_with_their_tokens() -> None:
    """A token that was extended, not the one that the task may have by now."""
    bench = Bench()
    for name in ("a", "b", "c"):
        bench.add(name, age=10)
    bench.store.lost, bench.store.cancelled = ["a"], ["c"]

    await bench.heartbeat.run_once()

    assert bench.lost == [("a", "token-of-a-1")]
    assert bench.cancelled == [("c", "token-of-c-1")]


async def test_a_server_without_an_answer_stops_no_handler() -> None:
    """Only an answer does."""
    bench = Bench()
    bench.add("a", age=1000, timeout=2000)
    bench.store.is_away = True

    with pytest.raises(ServerUnavailable):
        await bench.heartbeat.run_once()

    assert bench.lost == bench.cancelled == []


async def test_a_gap_longer_than_the_lease_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks may have been run elsewhere meanwhile."""
    bench = Bench()
    bench.add("a", age=10)
    await bench.heartbeat.run_once()
    now = time.monotonic()
    monkeypatch.setattr("scheduler.heartbeat.time.monotonic", lambda: now + 16)

    await bench.heartbeat.run_once()

    assert "no lease was extended for 16." in caplog.text


async def test_beats_come_a_little_before_the_interval() -> None:
    """With jitter."""
    bench = Bench()
    extension = await bench.heartbeat.run_once()

    pauses = {bench.heartbeat.pause(extension) for _ in range(100)}

    assert len(pauses) > 50
    assert 4.5 <= min(pauses) <= max(pauses) <= 5


async def test_a_cancel_message_reaches_the_executor(caplog: pytest.LogCaptureFixture) -> None:
    """With id and token; what a newer version may send is logged and left."""
    cancelled: list[Lease] = []
    store = FakeStore()
    inbox = Inbox(store.store, "w", cancelled=cancelled.extend)
    store.messages = ["cancel a token-of-a", "hello", "cancel b token-of-b", "cancel too many words"]

    leases = await inbox.run_once()

    assert leases == cancelled == [("a", "token-of-a"), ("b", "token-of-b")]
    assert caplog.text.count("ignored") == 2
    assert inbox.pause(leases) == 0
    assert await inbox.run_once() == []


# --------------------------------------------------------------------------------- maintenance


async def test_the_reaper_says_what_it_took_back(caplog: pytest.LogCaptureFixture) -> None:
    """And goes on at once where more is left."""
    store = FakeStore()
    reaper = Reaper(store.store, Random(1), lease=15)
    store.reaped = [Reaped(requeued=["a"], dead=["b"], more=True), Reaped()]

    first, second = await reaper.run_once(), await reaper.run_once()

    assert "a: its worker fell silent" in caplog.text
    assert "b: its workers died too often" in caplog.text
    assert reaper.pause(first) < 0.1
    assert 1.8 <= reaper.pause(second) <= 2.0


@pytest.mark.parametrize(("lease", "longest"), [(60, 2.0), (8, 2.0), (4, 1.0), (2, 0.5), (0.1, 0.5)])
def test_short_leases_are_looked_at_sooner(lease: float, longest: float) -> None:
    """Four times a lease, so that an outage of half a lease is noticed; at most twice a second."""
    reaper = Reaper(FakeStore().store, Random(1), lease=lease)

    pauses = [reaper.pause(Reaped()) for _ in range(100)]

    assert 0.9 * longest <= min(pauses)
    assert max(pauses) <= longest


async def test_the_reaper_tells_once_that_it_holds_back(caplog: pytest.LogCaptureFixture) -> None:
    """After an outage nothing is taken from its worker for one lease."""
    caplog.set_level(logging.INFO)
    store = FakeStore()
    reaper = Reaper(store.store, Random(1), lease=15)
    store.reaped = [Reaped(holding_ms=15_000), Reaped(holding_ms=13_000), Reaped(), Reaped(holding_ms=4_000)]

    for _ in range(4):
        await reaper.run_once()

    assert [message for message in caplog.messages if "the queue was away" in message] == [
        "the queue was away: no task is taken from its worker for 15.0 s",
        "the queue was away: no task is taken from its worker for 4.0 s",
    ]


async def test_purger_and_repairer_walk_on_from_where_they_stopped(caplog: pytest.LogCaptureFixture) -> None:
    """One bounded step at a time; a repair is an error of ours and is logged as one."""
    store = FakeStore()
    purger, repairer = Purger(store.store, Random(1)), Repairer(store.store, Random(1))

    purged = [await purger.run_once() for _ in range(3)]
    repaired = [await repairer.run_once() for _ in range(3)]

    assert [each.cursor for each in purged] == ["7", "0", "7"]
    assert [each.cursor for each in repaired] == ["9", "0", "9"]
    assert caplog.text.count("please report this") == 1
    assert purger.pause(purged[0]) < 2 < purger.pause(purged[1])
    assert purger.pause(Purged(0, "7")) > 2
    assert repairer.pause(repaired[0]) > 2


async def test_the_promoter_goes_on_where_more_is_due() -> None:
    """Else it comes back much later: claims promote, too."""
    promoter = Promoter(FakeStore().store, Random(1))

    assert promoter.pause(await promoter.run_once()) > 5
    assert promoter.pause(Promoted(500, more=True, next_in=None)) < 0.1


async def test_an_idle_scheduler_asks_the_server_less_than_twice_a_second() -> None:
    """Everything counted: waker and its claims, beat, inbox, maintenance; by the mean of their pauses."""
    store = FakeStore()
    random = Random(1)
    duties = maintenance_duties(store.store, random, lease=15)
    repairs = [await duty.run_once() for duty in duties]
    idle = [Reaped(), Promoted(0, more=False, next_in=None), Purged(0, "0"), repairs[3]]

    rate = 2 / 2.25 + 1 / 4.75 + 1 / 5
    for duty, result in zip(duties, idle, strict=True):
        rate += 1 / (sum(duty.pause(result) for _ in range(500)) / 500)

    assert rate < 2


# ------------------------------------------------------------------------------------ the loop


class Counting:
    """A duty that fails as it is told."""

    def __init__(self, *outcomes: BaseException | int) -> None:
        self.outcomes = list(outcomes)
        self.done = asyncio.Event()

    async def run_once(self) -> int:
        """Do what comes next."""
        if not self.outcomes:
            self.done.set()
            return 0
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def pause(self, result: int) -> float:
        """Return what the duty asked for."""
        return result


async def test_a_duty_goes_on_after_an_outage_and_after_a_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks must go on running without it for a while; both are logged."""
    monkeypatch.setattr("scheduler.duties._AFTER_A_FAULT", 0.01)
    caplog.set_level(logging.INFO)
    duty = Counting(ServerUnavailable("no answer"), ServerUnavailable("no answer"), ValueError("odd"), 0)

    running = asyncio.create_task(repeat(duty, Outage(), Random(1), 5))
    await asyncio.wait_for(duty.done.wait(), 5)
    running.cancel()

    assert "Counting failed; it is tried again" in caplog.text
    assert caplog.text.count("the server is away") == 1
    assert caplog.text.count("the server is back") == 1


async def test_a_duty_is_tried_again_within_its_longest_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the server was away: a lease must be extended soon after it is back."""
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("scheduler.duties.asyncio.sleep", note)
    duty = Counting(*[ServerUnavailable("no answer")] * 40, asyncio.CancelledError())

    with pytest.raises(asyncio.CancelledError):
        await repeat(duty, Outage(), Random(1), 0.25)

    assert len(set(pauses)) == 40
    assert 0.2 < max(pauses) < 0.25
