"""Plays the demo: a server in a temporary folder, the tasks, a scheduler, and the end of it all."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from scheduler import Scheduler
from scheduler.backoff import Exponential
from scheduler.providers import simulated
from taskqueue.cli.demo import scene
from taskqueue.cli.demo.promises import Finding, check_all
from taskqueue.cli.demo.recorder import Recorder
from taskqueue.cli.exits import ExitCode, Stop
from taskqueue.queue import TaskQueue
from taskqueue.task import Task

CONCURRENCY = 16
MAX_ATTEMPTS = 4
BACKOFF = Exponential(base=timedelta(milliseconds=400), cap=timedelta(seconds=1))
SETTINGS = simulated.SimulatedSettings(seed=1, median_latency=timedelta(milliseconds=350), spread=0.4)

TIME_LIMIT = 60.0
"""Seconds after which the demo gives up; it takes about seven."""

_SERVER_GONE = 15.0
_POLL = 0.02


class Audience(Protocol):
    """Who is told how it goes."""

    def ready(self, accepted: Sequence[Task]) -> None:
        """Everything is queued; nothing has started."""

    def finished(self, task: Task) -> None:
        """One task has ended."""

    def note(self, text: str) -> None:
        """Something that is worth a line."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened.

    Attributes:
        scene: What was submitted.
        ended: Task id -> its record at the end.
        findings: One for each promise.
        seconds: From the start of the scheduler to the end of the last task.
    """

    scene: scene.Scene
    ended: Mapping[str, Task]
    findings: list[Finding]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return all(finding.kept for finding in self.findings)


async def play(audience: Audience) -> Outcome:
    """Run the demo from start to end and leave nothing behind.

    Raises:
        Stop: If it does not end in time.
        TaskQueueError: If the server cannot be started, or goes away.
    """
    async with temporary_server() as url:
        audience.note("a Valkey server runs in a temporary folder")
        async with TaskQueue.connect(url, name="demo") as queue:
            submitted = await scene.submit(queue)
            audience.ready(submitted.accepted)
            recorder = Recorder()
            scheduler = Scheduler(url, name="demo", concurrency=CONCURRENCY, middleware=[recorder])
            scheduler.include(simulated.handlers(SETTINGS, max_attempts=MAX_ATTEMPTS, backoff=BACKOFF))
            began = time.monotonic()
            try:
                async with asyncio.timeout(TIME_LIMIT), scheduler:
                    ended = await _until_all_ended(queue, submitted.accepted, audience)
            except TimeoutError:
                raise Stop(f"the demo did not end within {TIME_LIMIT:g} s", ExitCode.NEGATIVE) from None
            seconds = time.monotonic() - began
    findings = check_all(submitted, ended, recorder.starts, MAX_ATTEMPTS)
    return Outcome(submitted, ended, findings, seconds)


async def _until_all_ended(queue: TaskQueue, accepted: Sequence[Task], audience: Audience) -> dict[str, Task]:
    async def one(task_id: str) -> Task:
        task = await queue.wait(task_id)
        audience.finished(task)
        return task

    return {task.id: task for task in await asyncio.gather(*(one(task.id) for task in accepted))}


@asynccontextmanager
async def temporary_server() -> AsyncIterator[str]:
    """Yield the URL of a server in a folder of its own; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tq-demo-") as folder:
        try:
            yield f"embedded://{quote(folder)}?linger=0"
        finally:
            await asyncio.to_thread(_wait_for_end_of_server, Path(folder))


def _wait_for_end_of_server(folder: Path) -> None:
    """Let the server write out and go: at rest its folder holds `data`, and perhaps a `secret`."""
    deadline = time.monotonic() + _SERVER_GONE
    while {entry.name for entry in folder.iterdir()} - {"data", "secret"} and time.monotonic() < deadline:
        time.sleep(_POLL)
