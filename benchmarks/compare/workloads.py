"""Measures one queue: each function empties the server, runs one scene, and returns what it found."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from benchmarks.compare.agent import WARM_UP
from benchmarks.compare.gate import Gate
from benchmarks.compare.metrics import Values
from benchmarks.compare.noting import NOOP, SLOW
from benchmarks.compare.processes import Producing, QueueFailed, Stage, Working
from benchmarks.compare.roster import Entry
from benchmarks.compare.sizes import Sizes
from benchmarks.marks import Marks
from benchmarks.probe import Cost, Probe

_MIB = 2**20
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A queue to be measured, and with what.

    Attributes:
        entry: Which queue.
        python: The interpreter of its environment.
        url: A server that nobody else uses: it is emptied again and again.
        probe: Looks at it.
        folder: For files that processes share.
        sizes: How much to do.
    """

    entry: Entry
    python: str
    url: str
    probe: Probe
    folder: Path
    sizes: Sizes

    @property
    def drained(self) -> int:
        """How many tasks it gets for a drain."""
        return max(int(self.sizes.drain * self.entry.share), 10)

    @contextmanager
    def stage(self, tasks: int) -> Iterator[Stage]:
        """Empty the server, and yield where so many tasks are noted."""
        self.probe.empty()
        number = next(_numbers)
        with Marks(self.folder / f"marks-{number}", tasks) as marks:
            gate = Gate(self.folder / f"gate-{number}", create=True)
            try:
                yield Stage(
                    entry=self.entry,
                    python=self.python,
                    url=self.url,
                    marks=marks,
                    gate=gate,
                    folder=self.folder,
                )
            finally:
                gate.close()
                gate.path.unlink()
                marks.path.unlink()


Measure = Callable[[Subject], Awaitable[Values]]


async def enqueue(subject: Subject) -> Values:
    """One awaited at a time, then 50 at once where the library lets others go on meanwhile."""
    sizes, values = subject.sizes, dict[str, float]()
    with subject.stage(1) as stage:
        async with Producing.started(stage) as producer:
            ways = {"one": sizes.one} | ({"callers": sizes.callers} if producer.callers > 1 else {})
            for way, count in ways.items():
                took = await producer.do(way, task=NOOP, count=count)
                values[f"enqueue_{way}"] = count / took["seconds"]
    return values


async def drain_one(subject: Subject) -> Values:
    """Enqueue in bulk, let one worker drain it, and look at the server's memory when nobody is connected.

    A connection takes as much memory as some dozen tasks, and some queues open a hundred.
    """
    probe, count, settle = subject.probe, subject.drained, subject.sizes.settle
    with subject.stage(count) as stage:
        await asyncio.sleep(settle)
        empty = probe.memory()
        async with Producing.started(stage) as producer:
            with probe.cost() as cost:
                took = await producer.do("bulk", task=NOOP, count=count)
        await asyncio.sleep(settle)
        queued = probe.memory() - empty
        drained = await _drain(subject, stage, count, 1)
        await asyncio.sleep(settle)
        completed = probe.memory() - empty
        probe.drop_expiring()
        lasting = probe.memory() - empty
    # What connections and scripts leave may be less at the end than it was at the start.
    each = [max(grown, 0) / (count + WARM_UP) for grown in (queued, completed, lasting)]
    return {
        "enqueue_bulk": count / took["seconds"],
        "drain_1": drained.rate,
        "producer_cpu": took["cpu"] / count * 1e6,
        "worker_cpu": drained.worker_cpu / count * 1e6,
        "server_cpu": drained.cost.server_cpu / count * 1e6,
        "enqueue_commands": cost.calls.total() / count,
        "drain_commands": drained.cost.calls.total() / count,
        **dict(zip(("bytes_queued", "bytes_completed", "bytes_lasting"), each, strict=True)),
    }


async def drain_two(subject: Subject) -> Values:
    """The same with two workers; none starts before both have a task."""
    count = subject.drained
    with subject.stage(count) as stage:
        async with Producing.started(stage) as producer:
            await producer.do("bulk", task=NOOP, count=count)
        drained = await _drain(subject, stage, count, 2)
    return {"drain_2": drained.rate}


async def idle(subject: Subject) -> Values:
    """A worker that waits: what it costs, and how soon it starts a task."""
    sizes, probe = subject.sizes, subject.probe
    with subject.stage(sizes.latency) as stage:
        stage.gate.open()
        with Working.started(stage, 1, subject.entry.slots) as worker:
            async with Producing.started(stage) as producer:
                await producer.do("one", task=NOOP, count=1)
            await worker.until(lambda: bool(stage.marks.starts[0]), "the first task started")
            # It showed that the worker is there, and is not measured.
            stage.marks.starts[0] = 0
            await asyncio.sleep(sizes.settle)
            cpu = worker.cpu()
            # Without a producer: some of them poll as well.
            with probe.cost() as cost:
                await asyncio.sleep(sizes.idle_seconds)
            cpu, memory = worker.cpu() - cpu, worker.memory()
            async with Producing.started(stage) as producer:
                took = await producer.do("latency", count=sizes.latency, seconds=sizes.latency_seconds)
    return {
        "idle_commands": cost.calls.total() / cost.wall,
        "idle_cpu": cpu / cost.wall * 1e3,
        "rss": memory / _MIB,
        "latency_p50": percentile(took["milliseconds"], 50),
        "latency_p99": percentile(took["milliseconds"], 99),
    }


async def slow(subject: Subject) -> Values:
    """Tasks that take their time: from the first start to the last end."""
    count, slots = subject.sizes.slow, subject.entry.slow_slots
    if not slots:
        return {}
    with subject.stage(count) as stage:
        stage.gate.open()
        async with Producing.started(stage) as producer:
            await producer.do("bulk", task=SLOW, count=count)
        with Working.started(stage, 1, slots) as worker:
            await worker.until(_all_set(stage.marks.ends, count), "every task ended")
        return {"slow": (stage.marks.last_end - stage.marks.first_start) / 1e9}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drained:
    """What came out of one drain.

    Attributes:
        rate: Tasks a second, from the first start to the last.
        worker_cpu: Seconds of CPU that the workers spent.
        cost: What it cost the server.
    """

    rate: float
    worker_cpu: float
    cost: Cost


async def _drain(subject: Subject, stage: Stage, count: int, workers: int) -> _Drained:
    marks, gate = stage.marks, stage.gate
    with Working.started(stage, workers, subject.entry.slots) as working:
        await working.until(_all_there(gate, workers, subject.sizes.gathering), "every worker with a task")
        cpu = working.cpu()
        with subject.probe.cost() as cost:
            gate.open()
            await working.until(_all_set(marks.starts, count), "every task started")
            await asyncio.sleep(subject.sizes.settle)
        cpu = working.cpu() - cpu
    seconds = (marks.last_start - marks.first_start) / 1e9
    if seconds <= 0:
        raise QueueFailed("all tasks started at one instant")
    return _Drained(rate=(count - 1) / seconds, worker_cpu=cpu, cost=cost)


def percentile(values: list[float], share: int) -> float:
    """Return the value below which so many of a hundred values lie."""
    return values[0] if len(values) == 1 else quantiles(values, n=100, method="inclusive")[share - 1]


def _all_there(gate: Gate, workers: int, patience: float) -> Callable[[], bool]:
    """Return what says whether all have a task, or one has had one for so long that there is none left."""
    first: float | None = None

    def is_so() -> bool:
        nonlocal first
        if gate.count and first is None:
            first = time.monotonic()
        return gate.count >= workers or (first is not None and time.monotonic() - first > patience)

    return is_so


def _all_set(marks: memoryview[int], count: int) -> Callable[[], bool]:
    at = 0

    def is_so() -> bool:
        # Goes on where it stopped, so that looking takes no CPU time from the workers.
        nonlocal at
        while at < count and marks[at]:
            at += 1
        return at == count

    return is_so


MEASURES: Mapping[str, Measure] = {
    "enqueue": enqueue,
    "idle": idle,
    "drain by one": drain_one,
    "drain by two": drain_two,
    "slow": slow,
}
"""What is run for each queue in each round. The first two bring its scripts into the server, whose memory
would otherwise count for the tasks of the third.
"""
