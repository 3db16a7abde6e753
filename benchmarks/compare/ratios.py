"""Turns what was measured in rounds into medians, ranges and ratios. Knows nothing of how it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.compare.metrics import METRICS, Metric, Values

Rounds = Sequence[Values]
"""What one queue gave, round after round; a value that could not be measured is not there."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A number that was measured several times."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value in the middle."""
        return median(self.values)

    @property
    def lowest(self) -> float:
        """The least of them."""
        return min(self.values)

    @property
    def highest(self) -> float:
        """The greatest of them."""
        return max(self.values)

    def as_json(self) -> dict[str, Any]:
        """Return everything, as JSON can carry it."""
        return {
            "median": round(self.median, 4),
            "lowest": round(self.lowest, 4),
            "highest": round(self.highest, 4),
            "values": [round(value, 4) for value in self.values],
        }


def spread(rounds: Rounds, key: str) -> Spread | None:
    """Return the values of a metric over the rounds; None if there is none."""
    values = tuple(found[key] for found in rounds if key in found)
    return Spread(values) if values else None


def ratio(ours: Rounds, theirs: Rounds, key: str) -> Spread | None:
    """Return how many times as good ours is, above 1 if it is better: one value for each round that has both.

    Two measurements of one round stand minutes apart, those of different rounds may not be alike at all:
    so the median is that of the rounds' ratios, not the ratio of the medians.
    """
    metric = METRICS[key]
    pairs = [
        (mine[key], other[key])
        for mine, other in zip(ours, theirs, strict=False)
        if key in mine and key in other
    ]
    found = tuple(
        times_as_good(mine, other, metric) for mine, other in pairs if min(mine, other) > metric.nothing
    )
    return Spread(found) if found else None


def times_as_good(ours: float, theirs: float, metric: Metric) -> float:
    """Return how many times as good *ours* is."""
    return ours / theirs if metric.better == "higher" else theirs / ours


def best(queues: Mapping[str, Rounds], key: str) -> str | None:
    """Return the queue with the best median, None if nobody has one."""
    medians = {
        name: found.median for name, rounds in queues.items() if (found := spread(rounds, key)) is not None
    }
    if not medians:
        return None
    choose = max if METRICS[key].better == "higher" else min
    return choose(medians, key=lambda name: medians[name])


def compared(metrics: Mapping[str, Metric] = METRICS) -> list[str]:
    """Return the keys of the metrics in which one queue can be better than another."""
    return [key for key, metric in metrics.items() if metric.workload is not None]
