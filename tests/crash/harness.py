"""Workers as processes, what they leave behind, and producers that remember what was accepted."""

from __future__ import annotations

import asyncio
import heapq
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from taskqueue import Task, TaskQueue, TaskSpec
from taskqueue.ranking import Order

PROGRAM = Path(__file__).parent / "programs" / "noting_worker.py"
ROOT = Path(__file__).resolve().parents[2]


def say(text: str) -> None:
    """Print a measurement; `pytest -rP` shows it."""
    sys.stdout.write(text + "\n")


async def until(predicate: Callable[[], object], description: str, timeout: float) -> float:
    """Return when *predicate* is true, and how long that took; fail with *description* if it never is."""
    started = time.monotonic()
    while not predicate():
        assert time.monotonic() < started + timeout, f"not within {timeout:g} s: {description}"
        await asyncio.sleep(0.01)
    return time.monotonic() - started


@dataclass(frozen=True)
class Event:
    """One line of the journal; `at` is on the clock of time.monotonic()."""

    event: str
    task: str
    delivery: int
    pid: int
    at: float


class Journal:
    """What the handlers of all workers did."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def events(self, event: str | None = None, *, task: str | None = None, after: float = 0.0) -> list[Event]:
        """Return the events of a kind, of a task, after an instant."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().splitlines(keepends=True)
        found = [Event(**json.loads(line)) for line in lines if line.endswith(b"\n")]
        return [
            each
            for each in found
            if (event is None or each.event == event)
            and (task is None or each.task == task)
            and each.at > after
        ]

    def ended(self) -> Counter[str]:
        """Return how often each task ran to its end."""
        return Counter(each.task for each in self.events("end"))

    def pids(self, *, after: float = 0.0) -> set[int]:
        """Return the processes that started something after an instant."""
        return {each.pid for each in self.events("start", after=after)}


class WorkerProcess:
    """One worker, started and ended by its own process id."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), *arguments],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self.pid = self._process.pid

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    async def ready(self, timeout: float = 15.0) -> None:
        """Return when it claims tasks."""

        def is_ready() -> bool:
            assert self.is_running, f"the worker ended: {self.log}"
            return "runs queue" in self.log

        await until(is_ready, f"worker {self.pid} is ready", timeout)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill9(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()

    async def ended(self, timeout: float) -> int:
        """Return the status with which it ended by itself."""
        await until(lambda: not self.is_running, f"worker {self.pid} ends", timeout)
        return self._process.wait()


@dataclass
class Load:
    """Producers that enqueue until they are told to stop."""

    accepted: dict[str, float] = field(default_factory=dict)
    """Id of each accepted task, and when its acceptance was known (time.monotonic())."""
    stopping: bool = False

    async def produce(self, queue: TaskQueue, number: int) -> None:
        """Enqueue one task after the other, with a little pause between them."""
        dice = random.Random(number)
        while not self.stopping:
            payload = {"seconds": dice.choice([0, 0, 0.01, 0.05])}
            task = await queue.enqueue("NOTE", payload, priority=dice.randint(1, 10))
            self.accepted[task.id] = time.monotonic()
            await asyncio.sleep(dice.uniform(0, 0.02))

    async def goes_on(self, count: int, timeout: float = 15.0) -> None:
        """Return when so many more tasks have been accepted."""
        wanted = len(self.accepted) + count
        await until(lambda: len(self.accepted) >= wanted, f"{count} more tasks are accepted", timeout)


@asynccontextmanager
async def load(queue: TaskQueue, producers: int = 4) -> AsyncIterator[Load]:
    """Keep enqueueing in the background; on exit every producer finishes the call that it is in."""
    made = Load()
    async with asyncio.TaskGroup() as group:
        for number in range(producers):
            group.create_task(made.produce(queue, number))
        try:
            yield made
        finally:
            made.stopping = True


async def enqueue_notes(queue: TaskQueue, count: int, seconds: float) -> list[Task]:
    """Enqueue tasks that take so many seconds each."""
    return await queue.enqueue_many(TaskSpec(type="NOTE", payload={"seconds": seconds}) for _ in range(count))


async def drained(queue: TaskQueue, timeout: float) -> None:
    """Return when nothing is queued and nothing runs."""
    deadline = time.monotonic() + timeout
    while True:
        stats = await queue.stats()
        if not stats.queued and not stats.processing:
            return
        assert time.monotonic() < deadline, f"not drained within {timeout:g} s: {stats}"
        await asyncio.sleep(0.05)


async def known(queue: TaskQueue, ids: Iterable[str]) -> dict[str, Task]:
    """Return those tasks that the server knows."""
    tasks = await asyncio.gather(*(queue.get(task_id) for task_id in ids))
    return {task.id: task for task in tasks if task is not None}


def inversions(tasks: Iterable[Task]) -> list[tuple[str, str]]:
    """Return pairs (started, passed over) that broke the order, by the instants of the server's clock.

    A task was passed over if it was accepted before the millisecond of a claim, not claimed until
    after it, and stands before the one that was claimed. The tasks must all have run at their first
    attempt, in one lane, without limits.
    """
    order = Order()
    waiting: list[tuple[int, int, str]] = []
    found = []
    starts = sorted(tasks, key=lambda task: task.started_ms or 0)
    coming = sorted(starts, key=lambda task: task.created_ms, reverse=True)
    for task in starts:
        now = task.started_ms or 0
        while coming and coming[-1].created_ms < now:
            each = coming.pop()
            score = order.score(each.priority, each.sequence)
            heapq.heappush(waiting, (-score, each.started_ms or 0, each.id))
        while waiting and waiting[0][1] <= now:
            heapq.heappop(waiting)
        if waiting and -waiting[0][0] > order.score(task.priority, task.sequence):
            found.append((task.id, waiting[0][2]))
    return found


async def two_workers(start: Callable[..., WorkerProcess], **options: object) -> list[WorkerProcess]:
    """Start two workers and return when both claim."""
    workers = [start(**options) for _ in range(2)]
    for worker in workers:
        await worker.ready()
    return workers
