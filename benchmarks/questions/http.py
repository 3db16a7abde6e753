"""How much does the HTTP service take in a second, against an endpoint that only validates the body?"""

from __future__ import annotations

from statistics import median

from benchmarks.bench import Bench
from benchmarks.http_load import Target, send_all, send_at_rate, target
from benchmarks.results import Goal, Result

CONNECTIONS = 64
BATCH_CONNECTIONS = 4
BATCH = 500
TASK = {
    "taskType": "CHATGPT",
    "payload": {"prompt": "Which harbours of the North Sea freeze over in winter?", "country": "US"},
    "priority": 5,
}


async def measure(bench: Bench) -> list[Result]:
    runs = await bench.repeat(lambda: _run(bench))
    empty, create, batch, p99, empty_cpu, cpu = (tuple(run[at] for run in runs) for at in range(6))
    # By the server's CPU: the rates also hold what sends the requests, on the same two cores.
    ratio = tuple(theirs / ours for ours, theirs in zip(cpu, empty_cpu, strict=True))
    requests, batches = bench.sizes.http, bench.sizes.http_batches
    return [
        Result(
            case="an endpoint that only validates",
            unit="requests/s",
            values=empty,
            tasks=requests,
            also={"server CPU us/request": median(empty_cpu) * 1e6},
        ),
        Result(
            case="POST /v1/async/task",
            unit="requests/s",
            values=create,
            tasks=requests,
            also={"server CPU us/request": median(cpu) * 1e6},
        ),
        Result(
            case="requests for the same CPU, second / first",
            unit="times",
            values=ratio,
            tasks=requests,
            goal=Goal("at least", 0.6),
        ),
        Result(
            case=f"batches of {BATCH}",
            unit="tasks/s",
            values=batch,
            tasks=batches * BATCH,
            goal=Goal("at least", 25_000),
        ),
        Result(
            case="p99 of one task, at half of the load that it takes",
            unit="ms",
            values=p99,
            tasks=requests,
            goal=Goal("at most", 10),
        ),
    ]


async def _run(bench: Bench) -> tuple[float, ...]:
    async with bench.queue() as queue:
        name = f"{queue.name}-http"
    count = bench.sizes.http
    async with target("empty", bench.url, name) as server:
        empty, empty_cpu = await _rate(server, count)
    try:
        async with target("service", bench.url, name) as server:
            create, cpu = await _rate(server, count)
            late = await send_at_rate(
                server.port, [server.post("/v1/async/task", TASK)] * count, create / 2, CONNECTIONS
            )
            batches = bench.sizes.http_batches
            whole = [server.post("/v1/async/task/batch", [TASK] * BATCH)] * batches
            seconds, _ = await send_all(server.port, whole, BATCH_CONNECTIONS)
    finally:
        bench.forget(name)
    p99 = sorted(late)[int(len(late) * 0.99)] * 1000
    return empty, create, batches * BATCH / seconds, p99, empty_cpu, cpu


async def _rate(server: Target, count: int) -> tuple[float, float]:
    """Return requests a second, and the seconds of the server's CPU for each."""
    requests = [server.post("/v1/async/task", TASK)] * count
    await send_all(server.port, requests[: count // 10], CONNECTIONS)
    before = server.cpu()
    seconds, _ = await send_all(server.port, requests, CONNECTIONS)
    return count / seconds, (server.cpu() - before) / count
