"""What the benchmarks enqueue: no-op tasks with a payload of about 150 bytes as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from benchmarks.payloads import payload
from taskqueue import TaskQueue, TaskSpec

TYPE = "noop"
PRIORITIES = 10

_AT_ONCE = 50_000
"""Specifications held in memory while a queue is filled."""


def specs(first: int, count: int) -> list[TaskSpec]:
    """Tasks of one type, one tenant and one priority, numbered from *first*."""
    return [TaskSpec(type=TYPE, payload=payload(number)) for number in range(first, first + count)]


def lane_names(lanes: int) -> list[tuple[str, str]]:
    """The (type, tenant) of each lane: up to eight types, and as many tenants as it takes."""
    types = min(lanes, 8)
    return [(f"{TYPE}{number % types}", f"tenant{number // types}") for number in range(lanes)]


def mixed_specs(count: int, lanes: int, chance: Random) -> Iterator[TaskSpec]:
    """Tasks of random priorities, spread evenly over so many lanes."""
    names = lane_names(lanes)
    for number in range(count):
        type_, tenant = names[number % lanes]
        priority = chance.randint(1, PRIORITIES)
        yield TaskSpec(type=type_, tenant=tenant, priority=priority, payload=payload(number))


async def fill(queue: TaskQueue, count: int, lanes: int, chance: Random) -> None:
    """Enqueue so many tasks of random priorities."""
    for first in range(0, count, _AT_ONCE):
        await queue.enqueue_many(mixed_specs(min(_AT_ONCE, count - first), lanes, chance))
