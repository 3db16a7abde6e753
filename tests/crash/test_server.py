"""The server dies: nothing that was accepted is lost, and nobody goes silent."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from taskqueue import ServerUnavailable, Task, TaskQueue, TaskState
from tests.audit import audit
from tests.crash.lab import Fleet, fleet, until
from tests.servers import RealServer, available_servers

_BACK_AT_WORK = 5.0
"""Seconds within which every worker must work again after the server's return."""


class Producer:
    """Enqueues without pause, one task after the other, and remembers what was accepted, and when."""

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue
        self.accepted: dict[str, float] = {}
        self._stop = False
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Producer:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        assert self._running is not None
        await self._running

    async def _run(self) -> None:
        number = 0
        while not self._stop:
            number += 1
            # What was not answered is unknown: it may be there or not, and is not counted.
            with contextlib.suppress(ServerUnavailable):
                task: Task = await self._queue.enqueue("EFFECT", {"n": number}, priority=1 + number % 10)
                self.accepted[task.id] = time.monotonic()


async def _crash_under_load(
    server: RealServer, tmp_path: Path, *, gracefully: bool = False
) -> tuple[Producer, float, Fleet, set[str]]:
    """Kill the server between a producer and two workers; return what was accepted and what is gone."""
    async with TaskQueue.connect(server.url, name="crash") as queue:
        with fleet(server.url, "crash", tmp_path, 4.0) as workers:
            workers.start()
            workers.start()
            async with Producer(queue) as producer:
                await until(lambda: len(workers.journal.lines()) > 200, "200 tasks ran", 30)
                if gracefully:
                    await asyncio.to_thread(server.stop)
                else:
                    await asyncio.to_thread(server.kill9)
                crashed = time.monotonic()
                await asyncio.to_thread(server.start)
                back = time.time()
                for worker in workers.workers:
                    await until(
                        lambda pid=worker.pid: any(
                            line.pid == pid and line.at > back for line in workers.journal.lines()
                        ),
                        f"worker {worker.pid} works again",
                        _BACK_AT_WORK,
                    )
            await until(lambda: _is_drained(server), "everything has run", 40)
            ids = list(producer.accepted)
            lost = {
                task_id
                for task_id in ids
                if (task := await queue.get(task_id)) is None or task.state is not TaskState.COMPLETED
            }
            assert all(worker.is_alive for worker in workers.workers)
            ran = {line.task_id for line in workers.journal.lines("ran")}
            assert set(ids) - lost <= ran
    with server.client() as client:
        assert audit(client, "crash") == []
    return producer, crashed, workers, lost


def _is_drained(server: RealServer) -> bool:
    with server.client() as client:
        return not client.exists("tq:{crash}:leased", "tq:{crash}:lanes:EFFECT", "tq:{crash}:due")


@pytest.mark.parametrize("kind", available_servers())
async def test_nothing_accepted_is_lost_when_every_write_is_synced(kind: str, tmp_path: Path) -> None:
    """kill -9 under load with `appendfsync always`."""
    with RealServer(kind, appendonly="yes", appendfsync="always") as server:
        producer, _, _, lost = await _crash_under_load(server, tmp_path)

    print(f"accepted {len(producer.accepted)}, lost {len(lost)}")
    assert lost == set()


async def test_what_is_lost_without_syncing_each_write_was_accepted_just_before(tmp_path: Path) -> None:
    """kill -9 under load with `appendfsync everysec`: the loss is printed, and bounded by 2 s."""
    with RealServer(appendonly="yes", appendfsync="everysec") as server:
        producer, crashed, _, lost = await _crash_under_load(server, tmp_path)

    print(f"accepted {len(producer.accepted)}, lost {len(lost)}")
    assert all(crashed - producer.accepted[task_id] <= 2.0 for task_id in lost)


async def test_a_restart_under_load_loses_nothing(tmp_path: Path) -> None:
    """The server is stopped in order and started again."""
    with RealServer(appendonly="yes", appendfsync="everysec") as server:
        producer, _, _, lost = await _crash_under_load(server, tmp_path, gracefully=True)

    print(f"accepted {len(producer.accepted)}, lost {len(lost)}")
    assert lost == set()


@pytest.mark.timeout(90)
async def test_an_outage_longer_than_the_lease_runs_nothing_twice(tmp_path: Path) -> None:
    """The server is frozen for twice the lease; handlers work through it and complete once."""
    # The reaper counts a gap of 5 s as an outage, so the lease is longer than that.
    lease, outage = 6.0, 12.0
    with RealServer(appendonly="yes") as server:
        async with TaskQueue.connect(server.url, name="crash") as queue:
            with fleet(server.url, "crash", tmp_path, lease) as workers:
                workers.start()
                workers.start()
                tasks = [await queue.enqueue("SLEEP", {"seconds": outage + 6}) for _ in range(6)]
                await until(lambda: len(workers.journal.lines("began")) == 6, "all have begun", 20)
                server.pause()
                await asyncio.sleep(outage)  # the outage itself is what takes time here
                server.resume()

                for task in tasks:
                    done = await queue.wait(task.id, timeout=30)
                    assert (done.state, done.deliveries, done.crashes) == (TaskState.COMPLETED, 1, 0)
                assert len(workers.journal.lines("began")) == 6
