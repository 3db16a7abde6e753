"""What a benchmark found: values of several runs, and what they should reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """What a median should reach on two cores of a cloud machine."""

    bound: Literal["at least", "at most"]
    limit: float

    def is_met_by(self, value: float) -> bool:
        """Whether *value* is good enough."""
        return value >= self.limit if self.bound == "at least" else value <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One number that was measured several times.

    Attributes:
        case: What was measured, in a few words.
        unit: Of the values.
        values: One for each run.
        tasks: How many tasks a run had.
        also: What else was measured in the same runs, medians by name and unit.
        goal: What the median should reach, if anything.
    """

    case: str
    unit: str
    values: tuple[float, ...]
    tasks: int
    also: Mapping[str, float] = field(default_factory=dict)
    goal: Goal | None = None

    @property
    def median(self) -> float:
        """The value of the run in the middle."""
        return median(self.values)

    def as_json(self) -> dict[str, Any]:
        """Return everything, as JSON can carry it."""
        goal = None
        if self.goal is not None:
            is_met = self.goal.is_met_by(self.median)
            goal = {"bound": self.goal.bound, "limit": self.goal.limit, "is_met": is_met}
        return {
            "case": self.case,
            "unit": self.unit,
            "median": round(self.median, 4),
            "lowest": round(min(self.values), 4),
            "highest": round(max(self.values), 4),
            "values": [round(value, 4) for value in self.values],
            "tasks": self.tasks,
            "also": {name: round(value, 4) for name, value in self.also.items()},
            "goal": goal,
        }


def medians(runs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each name over several runs; a name that a run lacks counts as 0."""
    listed = list(runs)
    names = dict.fromkeys(name for run in listed for name in run)
    return {name: median(run.get(name, 0.0) for run in listed) for name in names}
