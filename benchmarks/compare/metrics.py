"""What is compared: the numbers of every workload, in which unit, and which of two is the better one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number of a queue.

    Attributes:
        workload: Its letter; None: it only explains others, and nobody is better at it.
        title: What it is, in a few words.
        unit: Of its values.
        better: Which of two values is the better one.
        nothing: Values up to this are next to nothing, and have no ratio worth telling.
    """

    workload: str | None
    title: str
    unit: str
    better: Literal["higher", "lower"] = "higher"
    nothing: float = 0.0


METRICS: Mapping[str, Metric] = {
    "enqueue_one": Metric(workload="A", title="enqueue, one awaited at a time", unit="tasks/s"),
    "enqueue_callers": Metric(workload="A", title="enqueue, 50 callers at once", unit="tasks/s"),
    "enqueue_bulk": Metric(workload="A", title="enqueue, in bulk", unit="tasks/s"),
    "drain_1": Metric(workload="B", title="drain, 1 worker process", unit="tasks/s"),
    "drain_2": Metric(workload="C", title="drain, 2 worker processes", unit="tasks/s"),
    "latency_p50": Metric(workload="D", title="latency of an idle worker, p50", unit="ms", better="lower"),
    "latency_p99": Metric(workload="D", title="latency of an idle worker, p99", unit="ms", better="lower"),
    "slow": Metric(workload="E", title="tasks of 50 ms in 200 slots", unit="s", better="lower"),
    "bytes_queued": Metric(
        workload="F", title="server memory of a queued task", unit="bytes", better="lower"
    ),
    "idle_commands": Metric(
        workload="G", title="commands of an idle worker", unit="/s", better="lower", nothing=0.5
    ),
    "idle_cpu": Metric(workload="G", title="CPU of an idle worker", unit="ms/s", better="lower", nothing=1.0),
    "rss": Metric(workload="G", title="memory of an idle worker", unit="MiB", better="lower"),
    "bytes_completed": Metric(
        workload="H", title="server memory of a completed task", unit="bytes", better="lower", nothing=10.0
    ),
    "bytes_lasting": Metric(
        workload="H", title="of that, in keys without an expiry", unit="bytes", better="lower", nothing=10.0
    ),
    "producer_cpu": Metric(workload=None, title="producer, bulk", unit="us/task", better="lower"),
    "worker_cpu": Metric(workload=None, title="worker, drain", unit="us/task", better="lower"),
    "server_cpu": Metric(workload=None, title="server, drain", unit="us/task", better="lower"),
    "enqueue_commands": Metric(workload=None, title="commands, bulk", unit="/task", better="lower"),
    "drain_commands": Metric(workload=None, title="commands, drain", unit="/task", better="lower"),
}

WORKLOADS: Mapping[str, str] = {
    "A": "How many tasks are accepted in a second?",
    "B": "How many tasks go through one worker process in a second?",
    "C": "How many through two worker processes?",
    "D": "How long from the call of enqueue to the first line of the handler?",
    "E": "How long do 2,000 tasks of 50 ms take in 200 slots? (0.5 s would be ideal)",
    "F": "How much memory of the server does a queued task take?",
    "G": "What does a worker cost that has nothing to do?",
    "H": "What is left of a completed task?",
}

Values = Mapping[str, float]
"""What one measurement found, by the key of the metric."""
