"""What a scheduler does with partitions that do not answer, and with answers that get lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scheduler import Context, Scheduler, Unavailable
from scheduler.bell import Bell
from scheduler.outage import Outage
from scheduler.partitions import Home, PartitionedWork
from taskqueue.errors import QueueCorrupt, ServerUnavailable
from taskqueue.partitions import PartitionedQueue
from taskqueue.store import ClaimRequest, Completion, Failure, Release, Store
from tests.partitions.test_order import homes_of

LEASE = 15_000


class Cut:
    """A store whose calls can be cut off: before the server hears of them, or before we hear of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.loses = ""
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append(name)
            if self.loses == "calls":
                await self.gate.wait()
                raise ServerUnavailable("cut")
            if self.loses == "sense":
                raise QueueCorrupt("makes no sense")
            found = await getattr(self.store, name)(*arguments, **options)
            is_claim = name == "claim" and arguments[0].limit
            if self.loses == "answers" or (self.loses == "answers to claims" and is_claim):
                raise ServerUnavailable("cut")
            return found

        return call


class Bench:
    """The partitions of a queue as a claim loop has them."""

    def __init__(self, queue: PartitionedQueue) -> None:
        self.cuts = [Cut(each.store) for each in queue.partitions]
        homes = [Home(cast("Any", SimpleNamespace(store=cut)), Outage()) for cut in self.cuts]
        self.bell = Bell()
        self.running: dict[str, Any] = {}
        self.work = PartitionedWork(homes, runs=lambda: self.running, ring=self.bell.ring, random=Random(1))
        self.requests = 0

    def request(self, limit: int = 10, slots: int = 10) -> ClaimRequest:
        """Return a new request for so many tasks."""
        self.requests += 1
        return ClaimRequest("worker", f"r.{self.requests}", {"T": slots}, limit, LEASE)


@pytest.fixture
async def bench(queue: PartitionedQueue) -> AsyncIterator[Bench]:
    """Three partitions, one task of the same priority in each."""
    for tenant in homes_of(queue):
        await queue.enqueue("T", {}, tenant=tenant)
    made = Bench(queue)
    yield made
    await made.work.close()


async def back(bench: Bench) -> None:
    """Return when the partition that was away is asked again."""
    async with asyncio.timeout(10):
        await bench.bell.wait()


@pytest.mark.parametrize(("limit", "slots"), [(2, 10), (10, 2)])
async def test_a_claim_takes_from_all_partitions_with_the_best(bench: Bench, limit: int, slots: int) -> None:
    """No more than one has room for, over all and of a type; what is left over comes next."""
    claim = await bench.work.claim(bench.request(limit, slots))
    assert len(claim.tasks) == 2
    assert claim.more

    rest = await bench.work.claim(bench.request())
    assert len(rest.tasks) == 1
    assert not rest.more


async def test_a_report_that_was_not_answered_is_made_again(bench: Bench, queue: PartitionedQueue) -> None:
    """The others are answered; asked again when the partition is back, it is answered as the first time."""
    tasks = (await bench.work.claim(bench.request())).tasks
    done = [Completion(task.id, task.token, b"\xc0") for task in tasks]
    away = int(tasks[1].token.rpartition(".")[2])
    bench.cuts[away].loses = "answers"

    words, claim = await bench.work.complete(done, bench.request())
    assert words == ["completed", None, "completed"]
    assert claim is not None
    calls = len(bench.cuts[away].calls)
    assert (await bench.work.complete([done[1]]))[0] == [None]
    assert (await bench.work.fail([Failure(tasks[1].id, tasks[1].token, b"\xc0")])) == [None]
    assert len(bench.cuts[away].calls) == calls

    bench.cuts[away].loses = ""
    await back(bench)
    assert (await bench.work.complete([done[1]]))[0] == ["completed"]
    assert (await queue.stats()).processing == 0


async def test_what_a_claim_without_an_answer_took_is_given_back(
    bench: Bench, queue: PartitionedQueue
) -> None:
    """Its slots may be in use when the partition is back; the attempt is not spent."""
    bench.cuts[2].loses = "answers to claims"
    claim = await bench.work.claim(bench.request())
    assert len(claim.tasks) == 2
    assert (await queue.stats()).processing == 3

    bench.cuts[2].loses = ""
    await back(bench)
    assert (await queue.stats()).processing == 2
    again = await bench.work.claim(bench.request())
    assert [(task.attempt, task.deliveries) for task in again.tasks] == [(1, 2)]


async def test_without_any_partition_nothing_is_answered(bench: Bench) -> None:
    """As without a server: the claim loop waits, and asks again."""
    for cut in bench.cuts:
        cut.loses = "calls"
    with pytest.raises(ServerUnavailable):
        await bench.work.claim(bench.request())
    with pytest.raises(ServerUnavailable):
        await bench.work.claim(bench.request())

    for cut in bench.cuts:
        cut.loses = ""
    await back(bench)
    async with asyncio.timeout(10):
        while len([cut for cut in bench.cuts if "release" in cut.calls]) < len(bench.cuts):
            bench.bell.silence()
            await bench.bell.wait()
    assert len((await bench.work.claim(bench.request())).tasks) == 3


async def test_a_partition_is_looked_for_until_it_answers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it says instead is logged; the others go on, and it comes back as soon as it makes sense."""
    monkeypatch.setattr("scheduler.partitions.retry_delay", lambda failures, random: 0.001)
    cut = bench.cuts[1]
    cut.loses = "calls"
    assert len((await bench.work.claim(bench.request())).tasks) == 2
    async with asyncio.timeout(5):
        while cut.calls.count("claim") < 2:
            await asyncio.sleep(0.001)
        assert "cannot be used" not in caplog.text
        cut.loses = "sense"
        while caplog.text.count("partition 1 cannot be used") < 2:
            await asyncio.sleep(0.001)
    assert (await bench.work.claim(bench.request())).tasks == []

    cut.loses = ""
    await back(bench)
    assert len((await bench.work.claim(bench.request())).tasks) == 1


async def test_a_partition_that_fails_two_calls_at_once_is_looked_for_once(bench: Bench) -> None:
    """The heartbeat and the claim loop may both be under way."""
    tasks = (await bench.work.claim(bench.request())).tasks
    leases = [(task.id, task.token) for task in tasks]
    cut = bench.cuts[0]
    cut.loses = "calls"
    cut.gate.clear()
    before = asyncio.all_tasks()
    calls = [asyncio.create_task(bench.work.extend("worker", leases, LEASE)) for _ in range(2)]
    async with asyncio.timeout(5):
        while cut.calls.count("extend") < 2:
            await asyncio.sleep(0.001)
    cut.gate.set()
    await asyncio.gather(*calls)
    assert len(asyncio.all_tasks() - before) == 1

    cut.loses = ""
    await back(bench)
    assert (await bench.work.extend("worker", leases, LEASE)).lost == []


async def test_an_answer_that_makes_no_sense_is_an_error(bench: Bench) -> None:
    """To wait would not help: whoever runs the worker must know."""
    bench.cuts[1].loses = "sense"

    with pytest.raises(QueueCorrupt, match="makes no sense"):
        await bench.work.claim(bench.request())


async def test_a_task_of_a_partition_goes_on_to_its_next_provider(queue: PartitionedQueue) -> None:
    """In the same attempt, wherever its partition is."""
    asked: list[str | None] = []

    async def ask(payload: dict[str, Any], context: Context) -> str | None:
        asked.append(context.provider)
        if context.provider == "first":
            raise Unavailable("it is down")
        return context.provider

    scheduler = Scheduler(queue=queue, concurrency=1)
    scheduler.handler("ASK", providers=["first", "second"])(ask)
    tasks = [await queue.enqueue("ASK", {}, tenant=tenant) for tenant in homes_of(queue)]
    await scheduler.run(burst=True, handle_signals=False)

    ended = [await queue.wait(task.id, timeout=0) for task in tasks]
    assert [(task.result, task.attempt) for task in ended] == [("second", 1)] * len(tasks)
    assert asked == ["first", "second"] * len(tasks)


async def test_long_tasks_of_all_partitions_keep_their_leases(queue: PartitionedQueue) -> None:
    """Each partition's heartbeat extends its own, and nobody else's."""
    together = asyncio.Barrier(len(homes_of(queue)))
    scheduler = Scheduler(queue=queue, concurrency=4, lease=timedelta(milliseconds=600))

    @scheduler.handler("LONG")
    async def work(payload: dict[str, Any], context: Context) -> int:
        await together.wait()
        await asyncio.sleep(1.5)
        return context.attempt

    tasks = [await queue.enqueue("LONG", {}, tenant=tenant) for tenant in homes_of(queue)]
    await scheduler.run(burst=True, handle_signals=False)

    ended = [await queue.wait(task.id, timeout=0) for task in tasks]
    assert [(task.result, task.deliveries) for task in ended] == [(1, 1)] * len(tasks)


async def test_extensions_and_progress_go_to_the_partition_of_the_lease(bench: Bench) -> None:
    """Of a partition that is away nothing counts as lost."""
    tasks = (await bench.work.claim(bench.request())).tasks
    leases = [(task.id, task.token) for task in tasks]
    assert (await bench.work.extend("worker", leases, LEASE)).lost == []
    assert await bench.work.progress(tasks[0].id, tasks[0].token, b"\xc0")
    assert not await bench.work.progress(tasks[0].id, tasks[1].token, b"\xc0")

    await bench.work.release([Release(task.id, task.token) for task in tasks])
    bench.cuts[int(tasks[0].token.rpartition(".")[2])].loses = "calls"
    assert (await bench.work.extend("worker", leases, LEASE)).lost == [task.id for task in tasks[1:]]


async def test_two_tasks_with_one_id_never_run_here_at_once(queue: PartitionedQueue) -> None:
    """Callers gave two tenants' tasks the same id: one goes back, and comes again a little later."""
    first, second, _ = homes_of(queue)
    for tenant in (first, second):
        await queue.enqueue("T", {}, tenant=tenant, id="same")
    bench = Bench(queue)

    [taken] = (await bench.work.claim(bench.request())).tasks
    stats = await queue.stats()
    assert (stats.processing, stats.delayed) == (1, 1)

    bench.running["same"] = SimpleNamespace(token="1-r.9.2")
    await bench.work.release([Release(taken.id, taken.token)])
    assert (await bench.work.claim(bench.request())).tasks == []
    assert (await queue.stats()).delayed == 2
