"""The server dies or restarts under load: what was accepted is there, in order, and work goes on."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from taskqueue import TaskQueue, TaskState
from tests.crash.conftest import StartWorker
from tests.crash.harness import (
    Journal,
    WorkerProcess,
    drained,
    inversions,
    known,
    load,
    say,
    two_workers,
    until,
)
from tests.servers import RealServer

BACK_AT_WORK = 5.0
"""Seconds after the return of the server within which every worker works again."""

EVERYSEC = 2.0
"""Seconds of accepted tasks that a server which writes to disk every second may lose."""


async def all_back(workers: list[WorkerProcess], journal: Journal, since: float) -> float:
    """Return how long it took until every worker had started something again."""
    wanted = {worker.pid for worker in workers}
    await until(lambda: wanted <= journal.pids(after=since), f"{wanted} are back at work", BACK_AT_WORK)
    return time.monotonic() - since


@pytest.mark.parametrize("server", ["always"], indirect=True)
async def test_a_killed_server_loses_nothing_if_it_always_writes_to_disk(
    queue: TaskQueue, server: RealServer, journal: Journal, start_worker: StartWorker
) -> None:
    """SIGKILL under load: every accepted task ends, exactly once and in order; both workers come back."""
    workers = await two_workers(start_worker)
    async with load(queue) as producers:
        await producers.goes_on(300)
        server.kill9()
        await asyncio.sleep(0.5)
        server.start()
        back = await all_back(workers, journal, time.monotonic())
        await producers.goes_on(300)
    await drained(queue, timeout=20)

    tasks = await known(queue, producers.accepted)
    assert tasks.keys() == producers.accepted.keys()
    assert {task.state for task in tasks.values()} == {TaskState.COMPLETED}
    assert journal.ended() == dict.fromkeys(producers.accepted, 1)
    assert inversions(tasks.values()) == []
    assert all("the server is back after" in worker.log for worker in workers)
    say(f"{len(tasks)} tasks, none lost; all workers back after {back:.2f} s")


async def test_a_killed_server_loses_at_most_two_seconds_if_it_writes_every_second(
    queue: TaskQueue, server: RealServer, journal: Journal, start_worker: StartWorker
) -> None:
    """SIGKILL under load: the loss is printed; whatever was accepted earlier ends."""
    workers = await two_workers(start_worker)
    async with load(queue) as producers:
        await producers.goes_on(300)
        server.kill9()
        killed = time.monotonic()
        before = dict(producers.accepted)
        server.start()
        await all_back(workers, journal, time.monotonic())
        await producers.goes_on(100)
    await drained(queue, timeout=20)

    tasks = await known(queue, producers.accepted)
    lost = {task_id: killed - at for task_id, at in before.items() if task_id not in tasks}
    say(f"{len(lost)} of {len(before)} accepted tasks were lost with the server")
    assert max(lost.values(), default=0.0) <= EVERYSEC
    assert {task.state for task in tasks.values()} == {TaskState.COMPLETED}
    assert tasks.keys() <= journal.ended().keys()


async def test_a_power_failure_loses_only_what_was_not_on_disk(
    queue: TaskQueue, server: RealServer, journal: Journal, start_worker: StartWorker
) -> None:
    """The last second of the append-only file is cut off, through the middle of a command.

    Results of that second are gone as well: their tasks run again once their leases are over. Two
    numbers are printed: how many tasks were lost, and how many ran twice.
    """
    workers = await two_workers(start_worker, lease=2)
    async with load(queue) as producers:
        await producers.goes_on(300)
        safe = set(producers.accepted)
        [file] = server.folder.glob("appendonlydir/*.incr.aof")
        size = file.stat().st_size
        await asyncio.sleep(1)
        server.kill9()
        killed = time.monotonic()
        assert file.stat().st_size > size + 1000
        os.truncate(file, size + 7)
        server.start()
        await all_back(workers, journal, time.monotonic())
        await producers.goes_on(100)
    await drained(queue, timeout=30)

    tasks = await known(queue, producers.accepted)
    lost = producers.accepted.keys() - tasks.keys()
    twice = sum(times > 1 for times in journal.ended().values())
    say(f"{len(lost)} tasks were lost, all of them of the last second; {twice} tasks ran twice")
    assert lost
    assert lost.isdisjoint(safe)
    assert max(producers.accepted[task_id] for task_id in lost) <= killed + 0.1
    assert {task.state for task in tasks.values()} == {TaskState.COMPLETED}
    assert {task.crashes for task in tasks.values()} <= {0, 1}


async def test_a_restart_under_load_loses_nothing_and_silences_nobody(
    queue: TaskQueue, server: RealServer, journal: Journal, start_worker: StartWorker
) -> None:
    """SIGTERM to the server, twice: every task ends exactly once, and both workers come back both times."""
    workers = await two_workers(start_worker)
    async with load(queue) as producers:
        for _ in range(2):
            await producers.goes_on(200)
            server.restart()
            await all_back(workers, journal, time.monotonic())
        await producers.goes_on(200)
    await drained(queue, timeout=20)

    tasks = await known(queue, producers.accepted)
    assert tasks.keys() == producers.accepted.keys()
    assert journal.ended() == dict.fromkeys(producers.accepted, 1)
    assert inversions(tasks.values()) == []
