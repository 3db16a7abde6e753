"""The questions, one a file, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.questions import (
    commands,
    dead,
    depth,
    drain,
    enqueue,
    fair,
    flight,
    floor,
    http,
    idle,
    lanes,
    latency,
    memory,
    partitions,
    slow,
    waiting,
)
from benchmarks.results import Result


@dataclass(frozen=True, slots=True)
class Question:
    """Something to be measured.

    Attributes:
        asks: The question, in words.
        measure: Answers it.
    """

    asks: str
    measure: Callable[[Bench], Awaitable[list[Result]]]


QUESTIONS: Mapping[str, Question] = {
    "floor": Question("What can this machine and this server do at all?", floor.measure),
    "enqueue": Question("How many tasks are accepted in a second?", enqueue.measure),
    "drain": Question("How many tasks go through worker processes in a second?", drain.measure),
    "latency": Question("How long from enqueue() to the handler of an idle worker?", latency.measure),
    "memory": Question("How much memory of the server does a task take?", memory.measure),
    "commands": Question("How many commands does a task cost?", commands.measure),
    "depth": Question("What does a task cost when many others wait?", depth.measure),
    "lanes": Question("What does a task cost when the others wait in many lanes?", lanes.measure),
    "dead": Question("What do others lose to a dead provider's backlog?", dead.measure),
    "fair": Question("How long do small tenants wait beside a large one?", fair.measure),
    "slow": Question("How well are slots used by tasks that take their time?", slow.measure),
    "flight": Question("What does a worker cost while thousands of tasks run?", flight.measure),
    "partitions": Question("What do three nodes bring, and partitions cost?", partitions.measure),
    "http": Question("How much does the HTTP service take in a second?", http.measure),
    "waiting": Question("What do a thousand clients cost that wait for results?", waiting.measure),
    "idle": Question("What does a worker cost that has nothing to do?", idle.measure),
}
