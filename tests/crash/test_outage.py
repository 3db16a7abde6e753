"""The server is away for longer than the lease: what runs goes on, and is not run a second time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from taskqueue import TaskQueue, TaskState
from tests.crash.conftest import StartWorker
from tests.crash.harness import Journal, enqueue_notes, two_workers, until
from tests.servers import RealServer

SLOW = [pytest.mark.slow, pytest.mark.timeout(150)]


@dataclass(frozen=True)
class Outage:
    """How the server goes away: frozen (connections stay) or stopped; for how long, beside which lease."""

    how: str
    lease: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.how} for {self.seconds:g} s, lease {self.lease:g} s"


@pytest.mark.parametrize(
    "outage",
    [
        Outage("frozen", 2.0, 6.0),
        Outage("stopped", 2.0, 6.0),
        pytest.param(Outage("frozen", 15.0, 20.0), marks=SLOW),
        pytest.param(Outage("stopped", 15.0, 20.0), marks=SLOW),
    ],
    ids=str,
)
async def test_an_outage_longer_than_the_lease_runs_nothing_twice(
    queue: TaskQueue, server: RealServer, journal: Journal, start_worker: StartWorker, outage: Outage
) -> None:
    """Some handlers end while the server is away, some after; nobody takes their tasks from them."""
    workers = await two_workers(start_worker, lease=outage.lease, concurrency=3)
    during = await enqueue_notes(queue, 3, seconds=outage.seconds - 1)
    beyond = await enqueue_notes(queue, 3, seconds=outage.seconds + outage.lease)
    await until(lambda: len(journal.events("start")) == 6, "all tasks have started", 10)

    if outage.how == "frozen":
        server.pause()
        await asyncio.sleep(outage.seconds)
        server.resume()
    else:
        server.stop()
        await asyncio.sleep(outage.seconds)
        server.start()
    ended = [await queue.wait(task.id, timeout=2 * outage.lease + 20) for task in (*during, *beyond)]

    assert {(task.state, task.deliveries, task.crashes) for task in ended} == {(TaskState.COMPLETED, 1, 0)}
    assert journal.ended() == dict.fromkeys([task.id for task in ended], 1)
    assert len(journal.events("start")) == 6
    assert all(worker.is_running for worker in workers)
