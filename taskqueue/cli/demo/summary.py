"""Counts and times of groups of tasks. Pure: records in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from taskqueue.task import Task, TaskState


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a group of tasks; times in seconds.

    Attributes:
        group: What they have in common: a priority or a type.
        count: How many there are.
        failed: How many did not end as COMPLETED.
        wait_p50: Median of the time from when a task could run to its first claim.
        wait_p99: 99 of 100 waited no longer.
        run_p50: Median of the time from the first claim to the end, retries included.
    """

    group: int | str
    count: int
    failed: int
    wait_p50: float
    wait_p99: float
    run_p50: float


def summarize(
    submitted: Iterable[Task], ended: Mapping[str, Task], group_of: Callable[[Task], int | str]
) -> dict[int | str, Summary]:
    """Return a summary for each group.

    Args:
        submitted: The tasks as they were accepted, with the instants before which they must not run.
        ended: Task id -> its record at the end.
        group_of: Names the group of a task.
    """
    groups: dict[int | str, list[tuple[Task, Task]]] = {}
    for task in submitted:
        groups.setdefault(group_of(task), []).append((task, ended[task.id]))
    return {group: _summary(group, pairs) for group, pairs in groups.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least *share* of the values do not exceed; 0 if there are none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _summary(group: int | str, pairs: Sequence[tuple[Task, Task]]) -> Summary:
    waits = [
        (end.started_ms - (start.not_before_ms or start.created_ms)) / 1000
        for start, end in pairs
        if end.started_ms is not None
    ]
    runs = [end.latency.total_seconds() for _, end in pairs if end.latency is not None]
    return Summary(
        group,
        len(pairs),
        sum(end.state is not TaskState.COMPLETED for _, end in pairs),
        percentile(waits, 0.50),
        percentile(waits, 0.99),
        percentile(runs, 0.50),
    )
