"""`python -m tests.chaos`: does faults to a running queue, one after the other, and judges what comes of it."""

from __future__ import annotations

import asyncio
import json as jsons
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.chaos.faults import FAULTS
from tests.chaos.laboratory import Setup
from tests.chaos.report import as_json, show
from tests.chaos.running import Outcome, forget, run_fault


def main(
    *,
    only: Annotated[str, typer.Option(help="Which faults, such as F3,F7; all by default.")] = "",
    seed: Annotated[
        int | None, typer.Option(help="Of all that is left to chance; printed if made up.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0, help="For each fault; 0 does it once.")] = 0.25,
    lease: Annotated[float, typer.Option(min=0.5, help="Of the workers, in seconds.")] = 2.0,
    rate: Annotated[float, typer.Option(min=1, help="Tasks a second.")] = 60.0,
    json: Annotated[Path | None, typer.Option(help="Write everything that was measured there.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only say which faults there are.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the histories of sound runs too.")] = False,
) -> None:
    """Do faults to a queue under load, on servers and processes of our own, and check every promise.

    Exits with 1 if one was broken. A run that is repeated with its seed does the same things in the
    same order; what is under way at that moment is up to the machine.
    """
    console = Console(width=None if sys.stdout.isatty() else 200)
    names = only.split(",") if only else list(FAULTS)
    if unknown := sorted(set(names) - set(FAULTS)):
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(FAULTS)}")
    if list_:
        for fault in FAULTS.values():
            console.print(f"{fault.name:4} {fault.title}", highlight=False)
        return
    chosen = secrets.randbelow(10**6) if seed is None else seed
    console.print(f"seed {chosen}", highlight=False)
    setup = Setup(seed=chosen, lease=lease, rate=rate)
    outcomes: list[Outcome] = []
    for name in names:
        tell = _silent if not sys.stdout.isatty() else console.print
        outcome = asyncio.run(run_fault(FAULTS[name], setup, minutes, tell))
        outcomes.append(outcome)
        if outcome.is_sound and not keep:
            forget(outcome)
        show(console, [outcome])
        if json is not None:
            json.write_text(jsons.dumps(as_json(outcomes), indent=1) + "\n")
    if len(outcomes) > 1:
        show(console, outcomes)
    if not all(outcome.is_sound for outcome in outcomes):
        raise typer.Exit(1)


def _silent(_: object) -> None:
    return


if __name__ == "__main__":
    typer.run(main)
