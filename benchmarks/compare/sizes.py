"""How much each workload of a comparison puts through."""

from __future__ import annotations

from dataclasses import dataclass, replace

SLOW_TASKS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Numbers of tasks, unless it says otherwise.

    Attributes:
        runs: Rounds; in each, every queue is measured once.
        one: Enqueued one awaited at a time.
        callers: Enqueued by 50 coroutines at once.
        drain: Enqueued in bulk and drained; of a slow queue less, as the roster says.
        latency: Enqueued one by one for an idle worker.
        latency_seconds: After so many seconds no further one is.
        idle_seconds: How long an idle worker is watched, in seconds.
        slow: Tasks that take 50 ms each.
        floor: Commands that the bare clients send.
        gathering: Seconds after which a worker waits no longer for another to have a task too.
        settle: Seconds that a queue gets for what it does after its last handler has started.
    """

    runs: int = 3
    one: int = 5_000
    callers: int = 10_000
    drain: int = 50_000
    latency: int = 300
    latency_seconds: float = 8.0
    idle_seconds: float = 5.0
    slow: int = SLOW_TASKS
    floor: int = 10_000
    gathering: float = 10.0
    settle: float = 0.5


STANDARD = Sizes()

QUICK = Sizes(
    one=500,
    callers=1_000,
    drain=8_000,
    latency=40,
    latency_seconds=2.0,
    idle_seconds=0.5,
    floor=2_000,
    settle=0.2,
)

TRACKED = replace(QUICK, one=1_000, callers=5_000, latency=100)
"""For every change: us and the raw limits in less than a minute."""

TINY = Sizes(
    runs=1,
    one=20,
    callers=60,
    drain=300,
    latency=3,
    latency_seconds=1.0,
    idle_seconds=0.2,
    slow=20,
    floor=100,
    gathering=2.0,
    settle=0.1,
)
