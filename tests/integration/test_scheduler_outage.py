"""Servers that go away and come back: the scheduler goes on by itself, and says so."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from scheduler import Context, Scheduler
from scheduler.duties import Duty, repeat
from scheduler.exchange import PATIENCE
from scheduler.outage import Outage
from taskqueue import TaskQueue, TaskSpec, TaskState
from tests.servers import RealServer

LEASE = 3.0
OUTAGE = 5.5
"""Longer than the lease, and than what the reaper takes for its own slowness."""


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[RealServer]:
    """A server of this test alone, which loses nothing when it is killed."""
    with RealServer(folder=tmp_path / "data", tcp=True, appendonly="yes", appendfsync="always") as running:
        yield running


async def until(predicate: Callable[[], object], timeout: float = 15) -> None:
    """Let the event loop turn until something is true."""
    async with asyncio.timeout(timeout):
        while not predicate():
            await asyncio.sleep(0.01)


async def test_what_keeps_leases_is_tried_again_well_within_one(
    durable: RealServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage the reaper may leave no more than half of one."""
    longest: list[float] = []

    async def noted(duty: Duty[Any], outage: Outage, random: Random, pause: float) -> None:
        longest.append(pause)
        await repeat(duty, outage, random, pause)

    monkeypatch.setattr("scheduler.worker.repeat", noted)
    scheduler = Scheduler(durable.tcp_url, lease=LEASE)
    scheduler.handler("T")(lambda payload: None)
    async with scheduler:
        pass

    assert set(longest) == {LEASE / 4}


async def test_a_worker_goes_on_after_its_server_was_killed_and_restarted(
    durable: RealServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What ran meanwhile is reported, nothing runs twice, new tasks are noticed; the log says it once."""
    caplog.set_level(logging.INFO, "scheduler")
    ran: list[int] = []
    scheduler = Scheduler(durable.tcp_url, lease=LEASE)

    @scheduler.handler("T")
    async def handle(payload: dict[str, Any], context: Context) -> int:
        ran.append(payload["n"])
        await asyncio.sleep(payload["seconds"])
        return int(payload["n"])

    async with TaskQueue.connect(durable.tcp_url) as queue, scheduler:
        running = await queue.enqueue("T", {"n": 1, "seconds": 0.5})
        await until(lambda: ran == [1])
        durable.kill9()
        # Longer than a call keeps trying before it is worth a line in the log.
        await asyncio.sleep(2 * PATIENCE + 0.5)
        durable.start()
        done = await queue.wait(running.id, timeout=20)
        assert (done.state, done.result, done.deliveries) == (TaskState.COMPLETED, 1, 1)

        enqueued = time.monotonic()
        later = await queue.enqueue("T", {"n": 2, "seconds": 0})
        await queue.wait(later.id, timeout=20)
        assert time.monotonic() - enqueued < 5

    assert ran == [1, 2]
    assert sum("the server is away" in message for message in caplog.messages) == 1
    assert sum("the server is back after" in message for message in caplog.messages) == 1


@pytest.mark.parametrize("kind", ["killed", "frozen"])
async def test_an_outage_longer_than_the_lease_runs_nothing_again(durable: RealServer, kind: str) -> None:
    """Nobody knows who holds the lease, so the handler goes on; the reaper waits for one lease after it."""
    runs: list[int] = []
    gate = asyncio.Event()
    scheduler = Scheduler(durable.tcp_url, lease=LEASE)

    @scheduler.handler("T")
    async def handle(payload: dict[str, Any], context: Context) -> int:
        runs.append(context.deliveries)
        await gate.wait()
        return context.deliveries

    async with TaskQueue.connect(durable.tcp_url) as queue, scheduler:
        task = await queue.enqueue("T", {})
        await until(lambda: runs)
        # The reaper has passed once, so that it can tell for how long it was away.
        await asyncio.sleep(2.2)
        durable.kill9() if kind == "killed" else durable.pause()
        await asyncio.sleep(OUTAGE)
        durable.start() if kind == "killed" else durable.resume()
        await asyncio.sleep(2.5)
        gate.set()
        done = await queue.wait(task.id, timeout=20)

    assert (done.result, done.crashes, runs) == (1, 0, [1])


async def test_dropped_connections_are_made_anew(durable: RealServer) -> None:
    """All of them, again and again, under load: every task is done, none is lost."""
    ran: dict[int, int] = {}
    scheduler = Scheduler(durable.tcp_url, concurrency=5, lease=LEASE)

    @scheduler.handler("T")
    async def handle(payload: dict[str, Any]) -> None:
        ran[payload["n"]] = ran.get(payload["n"], 0) + 1
        await asyncio.sleep(0.01)

    async with TaskQueue.connect(durable.tcp_url) as queue:
        tasks = await queue.enqueue_many(TaskSpec(type="T", payload={"n": n}) for n in range(300))
        async with scheduler:
            with durable.client() as meddling:
                for _ in range(10):
                    for kind in ("normal", "replica"):
                        meddling.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
                    await asyncio.sleep(0.05)
            for task in tasks:
                assert (await queue.wait(task.id, timeout=20)).state is TaskState.COMPLETED

    assert ran == dict.fromkeys(range(300), 1)


async def test_an_idle_worker_whose_connections_were_dropped_is_still_woken(durable: RealServer) -> None:
    """Workers that go silent are the commonest fault of queues like this one."""
    started: list[float] = []
    scheduler = Scheduler(durable.tcp_url)

    @scheduler.handler("T")
    async def handle(payload: dict[str, Any]) -> None:
        started.append(time.monotonic())

    async with TaskQueue.connect(durable.tcp_url) as queue, scheduler:
        for _ in range(3):
            await asyncio.sleep(0.3)
            with durable.client() as meddling:
                meddling.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(1.0)
            enqueued = time.monotonic()
            task = await queue.enqueue("T", {})
            await queue.wait(task.id, timeout=10)
            assert started[-1] - enqueued < 0.5


async def test_a_stop_while_the_server_is_away_ends_in_time(durable: RealServer) -> None:
    """The grace period, and a little; not the patience for the server."""
    started = asyncio.Event()
    scheduler = Scheduler(durable.url, grace=0.2)

    @scheduler.handler("T")
    async def handle(payload: dict[str, Any]) -> None:
        started.set()
        await asyncio.sleep(60)

    async with TaskQueue.connect(durable.url) as queue:
        await queue.enqueue("T", {})
        running = asyncio.create_task(scheduler.run())
        await asyncio.wait_for(started.wait(), 5)
        durable.kill9()
        stopped = time.monotonic()
        scheduler.stop()
        await asyncio.wait_for(running, 20)

    assert time.monotonic() - stopped < 10


async def test_a_queue_that_was_wiped_is_served_on(durable: RealServer) -> None:
    """FLUSHALL takes tasks and settings with it; new tasks are run all the same."""
    ran = asyncio.Event()
    scheduler = Scheduler(durable.url, policy="fair_tenants")

    @scheduler.handler("T")
    async def handle(payload: dict[str, Any]) -> None:
        ran.set()

    async with TaskQueue.connect(durable.url, policy="fair_tenants") as queue, scheduler:
        with durable.client() as meddling:
            meddling.flushall()
        task = await queue.enqueue("T", {})
        await queue.wait(task.id, timeout=20)
        assert queue.store.settings.policy == "fair_tenants"


async def test_an_idle_scheduler_asks_less_than_twice_a_second(durable: RealServer) -> None:
    """Counted by the server, over some seconds; with many idle workers this is what a server feels."""
    scheduler = Scheduler(durable.url)
    for type_ in "ABCDEFGH":
        scheduler.handler(type_)(nothing)

    async with TaskQueue.connect(durable.url), scheduler:
        await asyncio.sleep(0.5)
        with durable.client() as looking:
            before = calls_of(looking)
            await asyncio.sleep(6)
            after = calls_of(looking)

    asked = {
        name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)
    }
    assert sum(asked.values()) / 6 < 2.5, asked


async def nothing(payload: dict[str, Any]) -> None:
    """Do nothing."""


def calls_of(client: Any) -> dict[str, int]:
    """Return how often a client called each command; what scripts call is not counted."""
    sent = client.info("commandstats")
    return {name: sent[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_blpop") if name in sent}


async def test_a_worker_that_starts_on_a_full_server_drains_it() -> None:
    """Nobody else may be left to do it: opening a queue that is there needs no memory worth refusing."""
    with RealServer(maxmemory_policy="noeviction") as server:
        async with TaskQueue.connect(server.url) as queue:
            tasks = await queue.enqueue_many(
                [TaskSpec(type="GROK", payload={"n": number}) for number in range(3)]
            )
        with server.client() as client:
            client.script_flush()
            client.function_flush()
            client.config_set("maxmemory", "1mb")
        scheduler = Scheduler(server.url)

        @scheduler.handler("GROK")
        async def echo(payload: Any) -> Any:
            return payload

        summary = await scheduler.run(burst=True, handle_signals=False)

        assert summary.completed == len(tasks)
