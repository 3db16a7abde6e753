"""`python -m benchmarks compare`: us, our peers and the raw limits, side by side in one run on one server."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import report as reports
from benchmarks.compare import plots, rounds
from benchmarks.compare.environments import default_folder
from benchmarks.compare.roster import UnknownQueue, chosen
from benchmarks.compare.session import Session, opened, prepare
from benchmarks.compare.showing import show_ratios
from benchmarks.compare.sizes import QUICK, STANDARD, TINY
from benchmarks.compare.tables import as_markdown
from benchmarks.compare.workloads import MEASURES
from benchmarks.own_server import Server
from taskqueue.cli.runtime import run


def compare(
    *,
    only: Annotated[
        str | None, typer.Option(metavar="A,B", help="These peers, beside us and the raw limit.")
    ] = None,
    variants: Annotated[
        bool, typer.Option("--variants", help="Also peers' other configurations: those that store results.")
    ] = False,
    blocking: Annotated[
        bool, typer.Option("--blocking", help="We run with handlers in threads and blocking calls.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer tasks, and the fastest three peers.")] = False,
    tiny: Annotated[bool, typer.Option("--tiny", help="A handful of tasks: to see it run.")] = False,
    runs: Annotated[int | None, typer.Option(min=1, help="Rounds; else 3, and 1 with --tiny.")] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Look for each peer's best number of slots.")
    ] = False,
    server: Annotated[Server, typer.Option(help="Which server to start.")] = "valkey",
    output: Annotated[Path, typer.Option(help="Folder for JSON, Markdown and plots.")] = Path("comparison"),
    environments: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the peers' environments.", envvar="TASKQUEUE_BENCH_VENVS", show_default=False
        ),
    ] = None,
    python: Annotated[
        str, typer.Option(help="The Python of the peers; newer where one needs it.", show_default=False)
    ] = sys.executable,
    renew: Annotated[bool, typer.Option("--renew", help="Install the newest versions again.")] = False,
) -> None:
    """Measure us, our peers and the raw limits side by side, in one run on one server."""
    try:
        entries = chosen(only, quick=quick, variants=variants, blocking=blocking)
    except UnknownQueue as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    sizes = TINY if tiny else QUICK if quick else STANDARD
    sizes = replace(sizes, runs=runs or sizes.runs)
    # What goes on is for people who wait; the standard output is for what came out.
    waiting = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    prepared = prepare(entries, environments or default_folder(), base=python, renew=renew, say=waiting.print)
    with opened(entries, prepared, sizes, server) as session:
        found = run(_measured(session, sizes.runs, is_swept=sweep, console=waiting))
        report = session.report(found, prepared, sizes.runs)
    reports.show_head(waiting, report)
    show_ratios(Console(width=None if sys.stdout.isatty() else 160), report)
    output.mkdir(parents=True, exist_ok=True)
    (output / "comparison.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (output / "comparison.md").write_text(as_markdown(report), encoding="utf-8")
    try:
        plots.draw(report, output)
    except plots.NoMatplotlib as error:
        waiting.print(str(error))
    waiting.print(f"written to {output}")


async def _measured(session: Session, runs: int, *, is_swept: bool, console: Console) -> rounds.Found:
    swept: dict[str, dict[int, float]] = {}
    if is_swept:
        session.subjects[:] = [await rounds.sweep(each, swept, console.print) for each in session.subjects]
    found = await rounds.run(session.subjects, MEASURES, runs, console.print)
    found.swept = swept
    return found
