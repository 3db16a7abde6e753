"""What do three nodes bring, and what do partitions cost?

Bulk enqueue and drain, of no-op tasks, with two worker processes: one queue on one node; three partitions
on the same node, which shows what the second look of each round costs; three partitions on a cluster of
three nodes. Producer, workers and all nodes share the cores of one machine, so three nodes are no more of
a machine than one: with fewer than six cores they cannot be faster.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from redis.crc import key_slot

from benchmarks.bench import Bench
from benchmarks.draining import all_started, all_stored
from benchmarks.load import TYPE, specs
from benchmarks.probe import Probe
from benchmarks.results import Result, medians
from benchmarks.workers import workers
from taskqueue import TaskQueue
from taskqueue.keys import Keys
from taskqueue.partitions import PartitionedQueue
from tests.servers import RealServer, wait_until

NODES = 3
PROCESSES = 2
_SLOTS = 16_384
_FORMING = 30.0

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a queue is, and in how many partitions; 0: it is an ordinary one."""

    case: str
    url: str
    nodes: Sequence[str]
    partitions: int


@dataclass(frozen=True, slots=True)
class _Run:
    enqueued: float
    drained: float
    also: dict[str, float]


async def measure(bench: Bench) -> list[Result]:
    with ExitStack() as stack:
        nodes = [stack.enter_context(_node()) for _ in range(NODES)]
        await asyncio.to_thread(_form, nodes)
        urls = [node.tcp_url for node in nodes]
        cluster = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        places = (
            _Place("one node", bench.url, [bench.url], 0),
            _Place(f"{NODES} partitions on one node", bench.url, [bench.url], NODES),
            _Place(f"{NODES} partitions on {NODES} nodes", cluster, urls, NODES),
        )

        async def one_round() -> list[_Run]:
            # In turn: the machine's speed changes, and ratios within a round hold best.
            return [await _run(bench, place) for place in places]

        rounds = await bench.repeat(one_round)
    return _results(bench, places, rounds)


async def _run(bench: Bench, place: _Place) -> _Run:
    tasks = bench.sizes.drain
    async with _queue(bench, place) as queue:
        await queue.pause(type=TYPE)
        made = specs(0, tasks)
        started = time.perf_counter()
        await (queue.enqueue_many(made) if place.partitions == 0 else _spread(queue, made))
        enqueued = tasks / (time.perf_counter() - started)
        with bench.marks(tasks) as marks, ExitStack() as stack:
            probes = [Probe(url) for url in place.nodes]
            running = workers(
                PROCESSES,
                place.url,
                queue.name,
                marks,
                concurrency=bench.concurrency[0],
                partitions=place.partitions,
            )
            async with running as crew:
                costs = [stack.enter_context(probe.cost()) for probe in probes]
                await queue.resume(type=TYPE)
                await all_started(marks, crew)
                await all_stored(queue)
                stack.close()
            drained = (tasks - 1) / ((marks.last_start - marks.first_start) / 1e9)
            for probe in probes:
                probe.close()
    also = {
        "worker CPU us/task": sum(worker.cpu for worker in crew) / tasks * 1e6,
        "server CPU us/task": sum(cost.server_cpu for cost in costs) / tasks * 1e6,
        "tasks/script call": tasks / sum(cost.script_calls for cost in costs),
    }
    return _Run(enqueued, drained, also)


async def _spread(queue: Any, made: Any) -> None:
    await queue.enqueue_many(made, spread=True)


@asynccontextmanager
async def _queue(bench: Bench, place: _Place) -> AsyncIterator[TaskQueue | PartitionedQueue]:
    """Yield a new queue, whose partitions are on different nodes where there are several."""
    name = _name()
    names = [name] if place.partitions == 0 else [f"{name}.{number}" for number in range(place.partitions)]
    try:
        if place.partitions == 0:
            async with TaskQueue.connect(place.url, name=name) as queue:
                yield queue
        else:
            connecting = PartitionedQueue.connect(place.url, name=name, partitions=place.partitions)
            async with connecting as partitioned:
                yield partitioned
    finally:
        if place.url == bench.url:
            for each in names:
                bench.forget(each)
        else:
            for url in place.nodes:
                probe = Probe(url)
                probe.empty()
                probe.close()


def _name() -> str:
    for number in _numbers:
        name = f"bench-{os.getpid()}-partitions-{number}"
        if len({_node_of(f"{name}.{each}") for each in range(NODES)}) == NODES:
            return name
    raise AssertionError("the numbers never end")


def _node_of(queue: str) -> int:
    return min(key_slot(Keys(queue).meta.encode()) // (_SLOTS // NODES), NODES - 1)


@contextmanager
def _node() -> Iterator[RealServer]:
    with RealServer(tcp=True, cluster_enabled="yes", cluster_config_file="nodes.conf") as server:
        yield server


def _form(nodes: Sequence[RealServer]) -> None:
    """Give each node its slots, and return when all agree."""
    size = _SLOTS // NODES
    for number, node in enumerate(nodes):
        with node.client() as client:
            last = _SLOTS - 1 if number == NODES - 1 else (number + 1) * size - 1
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * size, last)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
    wait_until(lambda: all(map(_is_formed, nodes)), "the cluster has formed", _FORMING)


def _is_formed(node: RealServer) -> bool:
    with node.client() as client:
        info: bytes = client.execute_command("CLUSTER", "INFO")
    return b"cluster_state:ok" in info and f"cluster_size:{NODES}".encode() in info


def _results(bench: Bench, places: Sequence[_Place], rounds: Sequence[Sequence[_Run]]) -> list[Result]:
    tasks = bench.sizes.drain
    results = []
    for what in ("enqueued", "drained"):
        for number, place in enumerate(places):
            runs = [each[number] for each in rounds]
            results.append(
                Result(
                    case=f"{what} in a second, {place.case}",
                    unit="tasks/s",
                    values=tuple(getattr(run, what) for run in runs),
                    tasks=tasks,
                    also=medians(run.also for run in runs) if what == "drained" else {},
                )
            )
    for what in ("enqueued", "drained"):
        ratios = tuple(getattr(runs[-1], what) / getattr(runs[0], what) for runs in rounds)
        case = f"{what}: {NODES} nodes / one"
        results.append(Result(case=case, unit="times", values=ratios, tasks=tasks))
    return results
