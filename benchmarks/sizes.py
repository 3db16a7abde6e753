"""How much each question puts through: enough for steady numbers, or just enough to see it run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Numbers of tasks, unless it says otherwise.

    Attributes:
        runs: How often everything is measured; the report has the median and the range.
        floor: Commands that the bare client sends.
        one: Enqueued one awaited at a time.
        concurrent: Enqueued by 50 coroutines at once.
        bulk: Enqueued in bulk.
        drain: Drained by workers.
        latency: Enqueued one by one for an idle worker.
        memory: Queued while memory is read.
        commands: Enqueued and drained while commands are counted.
        churn: Put through a queue that stays as full as it is.
        depths: How many tasks wait meanwhile, one measurement for each.
        lanes: How many lanes they wait in, one measurement for each.
        lane_depth: How many tasks wait in all lanes together.
        backlog: Tasks of a dead provider, or of one large tenant, that wait meanwhile.
        slow: Tasks that take 50 ms each.
        flight: Tasks that one worker runs at once.
        flight_seconds: How long they are watched, in seconds.
        http: HTTP requests, one task each.
        http_batches: HTTP requests with 500 tasks each.
        waiting: Clients that wait for results at once.
        idle_seconds: How long an idle worker is watched, in seconds.
    """

    runs: int = 3
    floor: int = 20_000
    one: int = 10_000
    concurrent: int = 50_000
    bulk: int = 100_000
    drain: int = 50_000
    latency: int = 500
    memory: int = 100_000
    commands: int = 20_000
    churn: int = 20_000
    depths: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    lanes: tuple[int, ...] = (1, 8, 1_000)
    lane_depth: int = 20_000
    backlog: int = 100_000
    slow: int = 2_000
    flight: int = 5_000
    flight_seconds: float = 10.0
    http: int = 10_000
    http_batches: int = 100
    waiting: int = 1_000
    idle_seconds: float = 5.0


STANDARD = Sizes()

FULL = Sizes(lanes=(1, 8, 1_000, 10_000))

QUICK = Sizes(
    floor=2_000,
    one=1_000,
    concurrent=5_000,
    bulk=10_000,
    drain=5_000,
    latency=50,
    memory=10_000,
    commands=2_000,
    churn=4_000,
    depths=(1_000, 20_000),
    lanes=(1, 8, 1_000),
    lane_depth=4_000,
    backlog=5_000,
    slow=1_000,
    flight=500,
    flight_seconds=2.0,
    http=1_000,
    http_batches=10,
    waiting=100,
    idle_seconds=2.0,
)
