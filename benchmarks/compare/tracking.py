"""`python -m benchmarks ratios`: us beside the raw limits alone, quick enough to be run with every change.

Ratios to what the same machine could do at that moment move less than rates. Nothing is asserted: who reads
the files of many runs sees a change that made something slow.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import report as reports
from benchmarks.compare import rounds
from benchmarks.compare.environments import default_folder
from benchmarks.compare.roster import LIMIT, OURS, ROSTER
from benchmarks.compare.session import opened, prepare
from benchmarks.compare.showing import show_ratios
from benchmarks.compare.sizes import TINY, TRACKED
from benchmarks.compare.workloads import MEASURES
from benchmarks.own_server import Server
from taskqueue.cli.runtime import run

_MEASURED = ("enqueue", "idle", "drain by one")


def ratios(
    *,
    runs: Annotated[int | None, typer.Option(min=1, help="Rounds; else 3, and 1 with --tiny.")] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="A handful of tasks: to see it run.")] = False,
    server: Annotated[Server, typer.Option(help="Which server to start.")] = "valkey",
    json: Annotated[str | None, typer.Option(help="Write the report there; - prints it.")] = None,
) -> None:
    """Measure us beside the raw limits, in less than a minute."""
    sizes = TINY if tiny else TRACKED
    sizes = replace(sizes, runs=runs or sizes.runs)
    waiting = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    entries = [ROSTER[OURS], ROSTER[LIMIT]]
    prepared = prepare(entries, default_folder(), base=sys.executable, renew=False, say=waiting.print)
    measures = {name: MEASURES[name] for name in _MEASURED}
    with opened(entries, prepared, sizes, server) as session:
        found = run(rounds.run(session.subjects, measures, sizes.runs, waiting.print))
        report = session.report(found, prepared, sizes.runs)
    console = Console(stderr=json == "-", width=None if sys.stdout.isatty() else 160)
    reports.show_head(console, report)
    show_ratios(console, report)
    if json is not None:
        reports.write(report, json)
