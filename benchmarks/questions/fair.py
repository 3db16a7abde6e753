"""How long do fifty small tenants wait beside one with a hundred thousand tasks?

All tasks are of one priority, and those of the large tenant came first. Counted is what no clock of the
machine disturbs: how many tasks start until the last one of a small tenant has. Under `strict` that is
all of them; under the fair policies the tenants take turns, so it is about fifty-one times ten.
"""

from __future__ import annotations

import os

from benchmarks.bench import Bench
from benchmarks.load import TYPE
from benchmarks.results import Goal, Result
from taskqueue import TaskQueue, TaskSpec
from taskqueue.store import ClaimRequest, Completion

POLICIES = ("strict", "fair_within_priority", "fair_tenants")
SMALL, EACH = 50, 10
_AT_ONCE = 20_000
_LEASE_MS = 60_000
_CLAIM = 200
_NOTHING = b"\xc0"


async def measure(bench: Bench) -> list[Result]:
    results = []
    for policy in POLICIES:
        started, micros = await _small_tenants_done(bench, policy, bench.sizes.backlog)
        # Turns of 51 tenants, ten each, and what one claim may take beyond.
        goal = None if policy == "strict" else Goal("at most", (SMALL + 1) * EACH + _CLAIM)
        case = f"{policy}: starts until {SMALL} tenants of {EACH} tasks are through"
        also = {"us/task": micros}
        results.append(
            Result(
                case=case, unit="starts", values=(started,), tasks=bench.sizes.backlog, also=also, goal=goal
            )
        )
    return results


async def _small_tenants_done(bench: Bench, policy: str, backlog: int) -> tuple[float, float]:
    """Return how many tasks start until the small tenants are through, and what a task costs meanwhile."""
    name = f"bench-fair-{os.getpid()}-{policy}"
    try:
        async with TaskQueue.connect(bench.url, name=name, policy=policy) as queue:
            for first in range(0, backlog, _AT_ONCE):
                count = min(_AT_ONCE, backlog - first)
                await queue.enqueue_many(
                    [TaskSpec(type=TYPE, payload={}, tenant="large") for _ in range(count)]
                )
            await queue.enqueue_many(
                [
                    TaskSpec(type=TYPE, payload={}, tenant=f"small-{number}")
                    for number in range(SMALL)
                    for _ in range(EACH)
                ]
            )
            with bench.probe.cost() as cost:
                started = await _run_until_through(queue)
            return float(started), cost.wall / started * 1e6
    finally:
        bench.forget(name)


async def _run_until_through(queue: TaskQueue) -> int:
    left, started, last, number = SMALL * EACH, 0, 0, 0
    done: list[Completion] = []
    while left:
        number += 1
        request = ClaimRequest("bench", f"r{number}", {TYPE: _CLAIM}, _CLAIM, _LEASE_MS)
        _, claim = await queue.store.complete(done, request)
        assert claim is not None, "it was asked for"
        done = [Completion(claimed.id, claimed.token, _NOTHING) for claimed in claim.tasks]
        for claimed in claim.tasks:
            started += 1
            if claimed.task().tenant != "large":
                left, last = left - 1, started
    await queue.store.complete(done)
    return last
