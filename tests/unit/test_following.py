"""The second exchange: begun while one is under way, when enough has ended to fill it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from scheduler.loop import Summary
from taskqueue.errors import ServerUnavailable
from taskqueue.store import Claim, ClaimRequest, Completion, Ended
from tests.unit.fake_store import FakeStore, claimed_task
from tests.unit.loop_bench import Bench, Gate, until

MANY = 32
SLOTS = 200


class SlowStore(FakeStore):
    """Answers reports and claims only when the test says so.

    Attributes:
        under_way: How many completions each call has that is not answered, the oldest first.
        most: How many calls were under way at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.under_way: list[int] = []
        self.most = 0
        self._answers: list[asyncio.Event] = []
        self._refused: set[asyncio.Event] = set()

    async def complete(
        self, completions: Sequence[Completion], claim: ClaimRequest | None = None, **options: Any
    ) -> tuple[list[Ended | None], Claim | None]:
        """Wait for `answer`."""
        gate = asyncio.Event()
        self._answers.append(gate)
        self.under_way.append(len(completions))
        self.most = max(self.most, len(self.under_way))
        await gate.wait()
        if gate in self._refused:
            raise ServerUnavailable("its connection was lost")
        return await super().complete(completions, claim, **options)

    def refuse(self) -> None:
        """Let the newest call fail, as if its connection was lost."""
        self.under_way.pop()
        self._refused.add(self._answers[-1])
        self._answers.pop().set()

    def answer(self) -> None:
        """Answer the oldest call."""
        self.under_way.pop(0)
        self._answers.pop(0).set()


class Sprint(Bench):
    """A loop whose tasks end at once, on such a store."""

    def __init__(self, tasks: int) -> None:
        self.slow = SlowStore()
        self.ran: list[str] = []
        super().__init__(SLOTS, store=self.slow, GROK=(self._run, None))
        self.put(*["GROK"] * tasks)

    async def _run(self, payload: dict[str, Any]) -> None:
        self.ran.append(payload["name"])

    def follows(self) -> None:
        """Allow two calls at once, as a scheduler does for a queue that is whole."""
        self.outcomes.when_many = self.loop.follow

    async def fill(self) -> None:
        """Let the first claim take all slots: half ends, the rest runs beside that report."""
        await until(lambda: self.slow.under_way == [0])
        self.slow.answer()


@asynccontextmanager
async def two_under_way() -> AsyncIterator[tuple[Sprint, asyncio.Task[Summary]]]:
    """Yield a loop, and its run, with two calls under way."""
    bench = Sprint(1000)
    bench.follows()
    async with bench.running() as run:
        await bench.fill()
        await until(lambda: len(bench.slow.under_way) == 2)
        yield bench, run


Problems = list[dict[str, Any]]


@pytest_asyncio.fixture
async def problems() -> Problems:
    """What the event loop's error handler is told."""
    found: Problems = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    return found


async def test_it_leaves_while_the_first_is_not_answered() -> None:
    """Each reports one half and claims for it; both have a number of their own."""
    bench = Sprint(1000)
    bench.follows()
    async with bench.running():
        await bench.fill()
        await until(lambda: bench.slow.under_way == [SLOTS // 2, SLOTS // 2])

        assert bench.slots.free == 0
        bench.slow.answer()
        await until(lambda: bench.slow.under_way == [SLOTS // 2, SLOTS // 2])
        bench.slow.answer()
        await until(lambda: bench.slow.under_way == [SLOTS // 2, SLOTS // 2])

        assert [claim.limit for claim in bench.slow.claims] == [SLOTS, SLOTS // 2, SLOTS // 2]
        assert [claim.number for claim in bench.slow.claims] == [0, 1, 0]
        assert bench.ran == [f"GROK{number}" for number in range(2 * SLOTS)]
        assert bench.slow.most == 2, "and never a third one"
        bench.loop.stop(0)
        bench.slow.answer()
        bench.slow.answer()
        await until(lambda: bench.loop.summary.claimed == 3 * SLOTS)


async def test_what_a_call_has_asked_for_is_not_asked_for_again() -> None:
    """Slots that an unanswered claim may fill are not free, neither for all nor for a type."""
    bench = Sprint(1000)
    bench.slots.ask({"GROK": 150}, 120)

    assert bench.slots.free == SLOTS - 120
    assert bench.slots.by_type() == {"GROK": SLOTS - 120}
    bench.slots.answered({"GROK": 150}, 120)
    assert bench.slots.by_type() == {"GROK": SLOTS}


@pytest.mark.parametrize("ended", [MANY - 1, MANY])
async def test_few_results_wait_for_the_next_call(ended: int) -> None:
    """A call costs the server as much as some ten tasks: it is made for many only."""
    gate = Gate()
    slow = SlowStore()
    bench = Bench(SLOTS, store=slow, GROK=(gate, None))
    bench.outcomes.when_many = bench.loop.follow
    bench.put(*["GROK"] * ended)
    async with bench.running() as run:
        await until(lambda: slow.under_way == [0])
        slow.answer()
        await until(lambda: len(gate.running) == ended)
        # Something else makes the loop ask once more.
        bench.bell.ring()
        await until(lambda: slow.under_way == [0])

        gate.opened.set()
        await until(lambda: bench.executor.running == 0)
        for _ in range(5):
            await asyncio.sleep(0)

        assert slow.under_way == ([0] if ended < MANY else [0, ended])
        bench.loop.stop(0)
        while not run.done():
            if slow.under_way:
                slow.answer()
            await asyncio.sleep(0)
        assert bench.loop.summary.completed == ended


async def test_a_partitioned_queue_has_one_call_under_way() -> None:
    """Unless somebody allows two, there is one."""
    bench = Sprint(1000)
    async with bench.running():
        await bench.fill()
        await until(lambda: bench.slow.under_way == [SLOTS // 2] and len(bench.ran) == SLOTS)
        for _ in range(5):
            await asyncio.sleep(0)

        assert bench.slow.under_way == [SLOTS // 2]
        bench.loop.stop(0)
        bench.slow.answer()
        await until(lambda: bench.slow.under_way == [SLOTS // 2])
        bench.slow.answer()


async def test_what_comes_after_a_stop_goes_back() -> None:
    """Claims that were under way are answered yet; their tasks are released, and nothing is asked for."""
    async with two_under_way() as (bench, run):
        bench.loop.stop(60)
        bench.slow.answer()
        bench.slow.answer()

        assert await run == Summary(claimed=2 * SLOTS, completed=SLOTS, released=SLOTS)
    assert len(bench.ran) == SLOTS
    assert len(bench.slow.claims) == 3


async def test_nothing_follows_when_it_was_stopped_meanwhile() -> None:
    """Between the reason for a second call and its beginning lies a pass of the event loop."""
    bench = Sprint(1000)
    async with bench.running() as run:
        await until(lambda: bench.slow.under_way == [0])
        bench.outcomes.release(claimed_task(task_id="given-back"))
        bench.loop.follow()
        bench.loop.stop(60)
        await asyncio.sleep(0)
        assert bench.slow.under_way == [0]
        bench.slow.answer()

        assert await run == Summary(claimed=SLOTS, released=SLOTS + 1)


async def test_a_second_call_that_fails_waits_for_the_first() -> None:
    """A connection broke under both: made again at once, the second claim could get the better tasks."""
    async with two_under_way() as (bench, run):
        bench.slow.refuse()
        await until(lambda: bench.slow.under_way == [SLOTS // 2])
        for _ in range(5):
            await asyncio.sleep(0)
        assert bench.slow.under_way == [SLOTS // 2], "it waits"

        bench.slow.answer()
        await until(lambda: bench.slow.under_way == [SLOTS // 2] * 2)
        assert not bench.outage.is_on, "nobody was told of an outage"
        bench.loop.stop(0)
        bench.slow.answer()
        bench.slow.answer()
        summary = await run

    assert bench.ran == [f"GROK{number}" for number in range(2 * SLOTS - SLOTS // 2)]
    assert summary.completed == len(bench.ran)


async def test_what_was_answered_before_it_failed_is_not_reported_again() -> None:
    """By then the task may have been claimed anew, and the second report would be called stale."""
    async with two_under_way() as (bench, run):
        bench.outcomes.release(claimed_task(task_id="given-back"))
        bench.slow.answer()
        await until(lambda: len(bench.slow.under_way) == 2 and bench.slow.releases)
        bench.slow.refuse()
        bench.slow.answer()
        await until(lambda: len(bench.slow.under_way) == 2)
        bench.loop.stop(0)
        while not run.done():
            if bench.slow.under_way:
                bench.slow.answer()
            await asyncio.sleep(0)

    assert [release.id for release in bench.slow.releases].count("given-back") == 1


async def test_a_loop_that_is_cancelled_leaves_no_call_behind(problems: Problems) -> None:
    """Both are cancelled with it, and nothing is told to the event loop's error handler."""
    async with two_under_way() as (_, run):
        before = asyncio.all_tasks()
        run.cancel()
        await asyncio.wait([run])
        await asyncio.sleep(0)

        assert len(asyncio.all_tasks()) == len(before) - 3
    assert problems == []


async def test_a_loop_that_gives_up_leaves_no_call_behind(problems: Problems) -> None:
    """The server does not come back: both calls end with the loop, and neither complains."""
    async with two_under_way() as (bench, run):
        bench.slow.is_away = True
        bench.loop.stop(0)
        bench.loop._abandon()
        bench.slow.answer()
        bench.slow.answer()

        summary = await run
    assert summary.completed == 0
    assert problems == []
