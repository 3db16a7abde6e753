"""What does a task cost when the others wait in 1, 8, 1,000 lanes?

As for `depth`, with the same number of waiting tasks spread over lanes: up to eight types, and as
many tenants as it takes. Every call brings and takes tasks of many lanes.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.churn import churn
from benchmarks.questions.depth import costs
from benchmarks.results import Result


async def measure(bench: Bench) -> list[Result]:
    sizes = bench.sizes
    results: list[Result] = []
    for lanes in sizes.lanes:
        runs = await churn(bench, max(sizes.lane_depth, lanes), lanes)
        results += costs(f"{lanes:,} lane{'s' * (lanes > 1)}", sizes.churn, runs)
    return results
