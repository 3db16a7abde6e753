"""What does a task cost when a thousand, a hundred thousand, a million others wait?

From enqueue to the stored result, 200 to a call, priorities at random, in one lane.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.churn import Churned, churn
from benchmarks.results import Goal, Result


async def measure(bench: Bench) -> list[Result]:
    tasks = bench.sizes.churn
    measured = {depth: await churn(bench, depth, lanes=1) for depth in bench.sizes.depths}
    results = [
        result for depth, runs in measured.items() for result in costs(f"{depth:,} waiting", tasks, runs)
    ]
    (least, few), (most, many) = min(measured.items()), max(measured.items())
    times = min(run.wall for run in many) / min(run.wall for run in few)
    cpu = min(run.server for run in many) / min(run.server for run in few)
    for what, ratio in (("time", times), ("server CPU", cpu)):
        # Of the lowest: minutes lie between the two, and a slow minute is not what is asked about.
        case = f"lowest {what} at {most:,} / at {least:,} waiting"
        results.append(
            Result(case=case, unit="times", values=(ratio,), tasks=tasks, goal=Goal("at most", 1.3))
        )
    return results


def costs(case: str, tasks: int, runs: list[Churned]) -> list[Result]:
    """Return what several runs say of the time and of the server's CPU time that a task takes."""
    return [
        Result(case=f"{case}: time", unit="us/task", values=tuple(run.wall for run in runs), tasks=tasks),
        Result(
            case=f"{case}: server CPU", unit="us/task", values=tuple(run.server for run in runs), tasks=tasks
        ),
    ]
