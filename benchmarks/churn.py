"""Tasks that go through a queue in which others wait: as many are claimed as come in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

from benchmarks.bench import Bench
from benchmarks.lending import Lending
from benchmarks.load import fill, lane_names, mixed_specs
from taskqueue import TaskQueue, TaskSpec

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Churned:
    """What one task cost on its whole way, in microseconds.

    Attributes:
        wall: Time that passed.
        server: CPU time of the server.
    """

    wall: float
    server: float


async def churn(bench: Bench, waiting: int, lanes: int) -> list[Churned]:
    """Fill a queue with *waiting* tasks in so many lanes, and measure as often as was asked for.

    Every task is enqueued, claimed and completed, 200 of them in a call.
    """
    chance = Random(1)
    types = sorted({type_ for type_, _ in lane_names(lanes)})
    async with bench.queue() as queue:
        await fill(queue, waiting, lanes, chance)
        lending = Lending(queue, types, _BATCH)
        # One round first: the connection, the scripts and their code are warm then.
        await _pass_through(queue, lending, mixed_specs(_BATCH, lanes, chance))

        async def measure() -> Churned:
            tasks = bench.sizes.churn
            coming = mixed_specs(tasks, lanes, chance)
            with bench.probe.cost() as cost:
                done = await _pass_through(queue, lending, coming)
            assert done == tasks, f"{done:,} of {tasks:,} tasks went through"
            return Churned(cost.wall / tasks * 1e6, cost.server_cpu / tasks * 1e6)

        return await bench.repeat(measure)


async def _pass_through(queue: TaskQueue, lending: Lending, coming: Iterator[TaskSpec]) -> int:
    done = 0
    while batch := list(islice(coming, _BATCH)):
        await queue.enqueue_many(batch)
        done += await lending.step()
    await lending.finish()
    return done
