"""How many commands does a task cost? Calls of scripts, and the commands that they run inside."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import Bench
from benchmarks.draining import drain
from benchmarks.probe import Cost
from benchmarks.questions.enqueue import Enqueue, in_bulk, many_at_once, one_at_a_time
from benchmarks.results import Result, medians

_NAMED = 0.01
"""Commands that a task needs less often than this are not listed one by one."""


async def measure(bench: Bench) -> list[Result]:
    tasks = bench.sizes.commands
    ways = {"one at a time": one_at_a_time, "50 at once": many_at_once, "in bulk": in_bulk}
    results = []
    for way, enqueue in ways.items():
        costs = await bench.repeat(partial(_enqueued, bench, enqueue, tasks))
        results += _counted(f"enqueue, {way}", tasks, costs)
    drained = await bench.repeat(lambda: drain(bench, tasks))
    results += _counted("drain, 1 worker process", tasks, [run.cost for run in drained])
    return results


async def _enqueued(bench: Bench, enqueue: Enqueue, tasks: int) -> Cost:
    async with bench.queue() as queue:
        with bench.probe.cost() as cost:
            await enqueue(queue, tasks)
    return cost


def _counted(case: str, tasks: int, costs: list[Cost]) -> list[Result]:
    inner = medians(
        {name: calls / tasks for name, calls in cost.inner.most_common() if calls / tasks >= _NAMED}
        for cost in costs
    )
    calls = tuple(cost.script_calls / tasks for cost in costs)
    commands = tuple(cost.inner.total() / tasks for cost in costs)
    return [
        Result(case=f"{case}: script calls", unit="/task", values=calls, tasks=tasks),
        Result(case=f"{case}: commands inside", unit="/task", values=commands, tasks=tasks, also=inner),
    ]
