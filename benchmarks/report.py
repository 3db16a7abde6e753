"""The report: a table for people while it goes on, one JSON document for everything else."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import commit, machine, software
from benchmarks.questions import Question
from benchmarks.results import Goal, Result

Pulses = tuple[float | None, float | None]
"""Before and after a question; see `pulse`."""

FORMAT = 1
_DIGITS = 3


def begin(command: str, server: Mapping[str, str], *, runs: int) -> dict[str, Any]:
    """Return a report without answers."""
    return head(command, server, runs=runs) | {"questions": {}}


def head(command: str, server: Mapping[str, str], *, runs: int) -> dict[str, Any]:
    """Return what every report begins with: when, where and with what it was made."""
    return {
        "format": FORMAT,
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "server": dict(server),
        "software": software(),
        "runs": runs,
    }


def add(
    report: dict[str, Any], name: str, question: Question, results: Sequence[Result], pulses: Pulses
) -> None:
    """Add the answer of one question."""
    report["questions"][name] = {
        "asks": question.asks,
        "pulse": [each if each is None else round(each) for each in pulses],
        "results": [each.as_json() for each in results],
    }


def write(report: Mapping[str, Any], target: str) -> None:
    """Write the report to a file; `-` is the standard output."""
    text = json.dumps(report, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        Path(target).write_text(text, encoding="utf-8")


def show_head(console: Console, report: Mapping[str, Any]) -> None:
    """Print where the numbers that follow come from."""
    for part in ("machine", "server", "software"):
        facts = ", ".join(f"{name} {value}" for name, value in report[part].items())
        console.print(f"{part}: {facts}", highlight=False, soft_wrap=True)
    where = "outside of a repository" if report["commit"] is None else f"commit {report['commit']}"
    console.print(f"{where}, {report['date']}, median of {report['runs']} runs", highlight=False)


def show(console: Console, question: Question, results: Sequence[Result], pulses: Pulses) -> None:
    """Print the answer of one question."""
    table = Table(title=question.asks, title_justify="left", title_style="bold", caption_justify="left")
    if (before := pulses[0]) is not None and (after := pulses[1]) is not None:
        table.caption = f"pulse {number(before)}/s before, {number(after)}/s after"
    table.add_column("", overflow="fold")
    for column in ("median", "lowest", "highest"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("goal", no_wrap=True)
    table.add_column("also", overflow="fold")
    for each in results:
        bounds = (each.median, min(each.values), max(each.values))
        table.add_row(each.case, *map(number, bounds), each.unit, _goal(each.goal, each.median), _also(each))
    console.print(table)


def _goal(goal: Goal | None, value: float) -> str:
    if goal is None:
        return ""
    style, word = ("green", "met") if goal.is_met_by(value) else ("red", "missed")
    return f"{goal.bound} {number(goal.limit)}: [{style}]{word}[/{style}]"


def _also(result: Result) -> str:
    return ", ".join(f"{number(value)} {name}" for name, value in result.also.items())


def number(value: float) -> str:
    """Return a number with three digits that count, and its thousands apart."""
    if abs(value) >= 10 ** (_DIGITS - 1):
        return f"{value:,.0f}"
    return f"{value:.{_DIGITS}g}"
