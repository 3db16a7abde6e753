"""What was measured, as a table for people and as JSON for programs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos.running import Outcome, complaints

_COLUMNS = (
    "fault", "times", "s", "accepted", "lost", "twice", "order", "of", "runs", "repeats", "unexplained",
    "back s", "again s", "verdict",
)  # fmt: skip


def table_of(outcomes: Sequence[Outcome]) -> Table:
    """Return the table."""
    table = Table(*_COLUMNS)
    for outcome in outcomes:
        table.add_row(*_row(outcome))
    return table


def _row(outcome: Outcome) -> list[str]:
    title = f"{outcome.fault} {outcome.title}" + (f", {outcome.unasked} unasked" if outcome.unasked else "")
    if outcome.skipped:
        return [title, *["-"] * (len(_COLUMNS) - 2), f"skipped: {outcome.skipped}"]
    if outcome.verdict is None:
        return [title, str(outcome.times), *["-"] * (len(_COLUMNS) - 3), "FAILED"]
    counts, broken = outcome.verdict.counts, outcome.broken
    lost = f"{broken['lost']} + {counts.excused}" if counts.excused else str(broken["lost"])
    return [
        title,
        str(outcome.times),
        f"{outcome.seconds:.0f}",
        str(counts.accepted),
        lost,
        str(broken["twice"] + broken["stale"]),
        str(broken["fifo"] + broken["inversion"]),
        str(counts.contested),
        str(counts.runs),
        str(counts.repeats),
        str(broken["repeat"]),
        f"{max(outcome.back, default=0):.1f}",
        f"{max(outcome.again):.1f} of {len(outcome.again)}" if outcome.again else "-",
        "sound" if outcome.is_sound else "BROKEN",
    ]


def show(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print the table, and what is wrong."""
    console.print(table_of(outcomes))
    for outcome in outcomes:
        for line in complaints(outcome):
            console.print(f"{outcome.fault}: {line}", markup=False, highlight=False, soft_wrap=True)
        if not outcome.is_sound:
            console.print(f"{outcome.fault}: its history is in {outcome.folder}", markup=False)


def as_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return everything that was measured."""
    return {
        "command": shlex.join(["python", "-m", "tests.chaos", *sys.argv[1:]]),
        "python": sys.version.split()[0],
        "faults": [
            {**asdict(outcome), "sound": outcome.is_sound, "complaints": complaints(outcome)}
            for outcome in outcomes
        ],
    }
