"""What do a thousand clients cost that wait for their results, each on a synchronous request?

Nobody runs their tasks meanwhile. Measured is the CPU time of the server process in a second, with none,
with a tenth and with all of them waiting; and how long it takes until the last has its answer once a
worker comes.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from benchmarks.bench import Bench
from benchmarks.http_load import Target, target
from benchmarks.results import Result
from scheduler import Scheduler

PATH = "/v1/monitor/chatgpt"
PAYLOAD = {"prompt": "Which harbours of the North Sea freeze over in winter?", "country": "US"}
_SLOTS = 1_000

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def measure(bench: Bench) -> list[Result]:
    clients = bench.sizes.waiting
    runs = await bench.repeat(lambda: _run(bench, clients))
    none, tenth, all_, last = (tuple(run[at] for run in runs) for at in range(4))
    cases = (("nobody", none), (f"{clients // 10:,} clients", tenth), (f"{clients:,} clients", all_))
    return [
        *(
            Result(case=f"server CPU while {who} wait", unit="ms/s", values=values, tasks=clients)
            for who, values in cases
        ),
        Result(
            case=f"from the first claim until {clients:,} have their answers",
            unit="ms",
            values=last,
            tasks=clients,
        ),
    ]


async def _run(bench: Bench, count: int) -> tuple[float, ...]:
    async with bench.queue() as queue:
        name = f"{queue.name}-waiting"
    clients: list[Client] = []
    try:
        async with target("service", bench.url, name) as server:
            costs = []
            for wanted in (0, count // 10, count):
                clients += await asyncio.gather(*(_ask(server) for _ in range(wanted - len(clients))))
                costs.append(await _cpu(server, bench.sizes.idle_seconds))
            last = await _answered(bench.url, name, clients)
    finally:
        for _, writer in clients:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        bench.forget(name)
    return *costs, last


async def _ask(server: Target) -> Client:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(server.post(PATH, PAYLOAD))
    await writer.drain()
    return reader, writer


async def _cpu(server: Target, seconds: float) -> float:
    """Return ms of CPU that the server process uses in a second, once it has nothing new to do."""
    await asyncio.sleep(1)
    before, began = server.cpu(), time.perf_counter()
    await asyncio.sleep(seconds)
    return (server.cpu() - before) / (time.perf_counter() - began) * 1000


async def _answered(url: str, name: str, clients: list[Client]) -> float:
    scheduler = Scheduler(url, name=name, concurrency=_SLOTS)
    claimed: list[float] = []

    @scheduler.handler("CHATGPT")
    async def answer(_: dict[str, str]) -> dict[str, str]:
        claimed.append(time.perf_counter())
        return {"text": "Few."}

    async with scheduler:
        heads = await asyncio.gather(*(reader.readuntil(b"\r\n\r\n") for reader, _ in clients))
    assert all(head.startswith(b"HTTP/1.1 200 ") for head in heads), heads[0]
    return (time.perf_counter() - min(claimed)) * 1000
