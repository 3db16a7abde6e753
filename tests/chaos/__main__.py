"""`python -m tests.chaos`: does faults to a running queue, one by one, and judges what comes of it."""

from __future__ import annotations

import asyncio
import json as jsons
import os
import secrets
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.chaos.controls import GUARDS
from tests.chaos.faults import FAULTS
from tests.chaos.laboratory import Setup
from tests.chaos.report import as_json, show
from tests.chaos.running import Outcome, forget, run_fault
from tests.servers import ONLY_SERVER, available_servers


def main(
    *,
    only: Annotated[str, typer.Option(help="Which faults, such as F3,F7; all by default.")] = "",
    seed: Annotated[
        int | None, typer.Option(help="Of all that is left to chance; printed if made up.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0, help="For each fault; 0 does it once.")] = 0.25,
    lease: Annotated[float, typer.Option(min=0.5, help="Of the workers, in seconds.")] = 2.0,
    rate: Annotated[float, typer.Option(min=1, help="Tasks a second.")] = 60.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Slots of a worker; more take a higher rate.")] = 4,
    server: Annotated[str, typer.Option(help="valkey or redis; else what there is.")] = "",
    json: Annotated[Path | None, typer.Option(help="Write everything that was measured there.")] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Take one guard away at a time: the checker must notice.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Only say which faults there are.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the histories of sound runs too.")] = False,
) -> None:
    """Do faults to a queue under load, on servers and processes of our own, and check every promise.

    Exits with 1 if one was broken. A run that is repeated with its seed does the same things in the
    same order; what is under way at that moment is up to the machine.
    """
    if server:
        os.environ[ONLY_SERVER] = server
    if not available_servers():
        raise typer.BadParameter(f"--server {server}: there is none on this machine")
    # Whoever is told to end ends everything that was started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else 200)
    names = _chosen(only)
    if list_:
        for fault in FAULTS.values():
            console.print(f"{fault.name:4} {fault.title}", highlight=False)
        return
    chosen = secrets.randbelow(10**6) if seed is None else seed
    console.print(f"seed {chosen}", highlight=False)
    setup = Setup(seed=chosen, lease=lease, rate=rate, concurrency=concurrency)
    if controls:
        noticed = [_control(console, name, setup, minutes) for name in GUARDS]
        raise typer.Exit(0 if all(noticed) else 1)
    outcomes: list[Outcome] = []
    for name in names:
        outcomes.append(asyncio.run(run_fault(FAULTS[name], setup, minutes, _teller(console))))
        if outcomes[-1].is_sound and not keep:
            forget(outcomes[-1])
        show(console, outcomes[-1:])
        if json is not None:
            json.write_text(jsons.dumps(as_json(outcomes), indent=1) + "\n")
    if len(outcomes) > 1:
        show(console, outcomes)
    raise typer.Exit(0 if all(outcome.is_sound for outcome in outcomes) else 1)


def _chosen(only: str) -> list[str]:
    names = only.split(",") if only else list(FAULTS)
    if unknown := sorted(set(names) - set(FAULTS)):
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(FAULTS)}")
    return names


def _control(console: Console, name: str, setup: Setup, minutes: float) -> bool:
    """Run without a guard; say what the checker noticed, and return whether it was the right thing."""
    guard = GUARDS[name]
    without = replace(setup, without=name)
    outcome = asyncio.run(run_fault(FAULTS[guard.fault], without, minutes, _teller(console)))
    broken, has_noticed = dict(outcome.broken), bool(guard.breaks & outcome.broken.keys())
    verdict = "noticed" if has_noticed else "NOT NOTICED"
    console.print(f"without {name!r} under {guard.fault}: {verdict}: {broken} {outcome.failed}", markup=False)
    forget(outcome)
    return has_noticed


def _teller(console: Console) -> Callable[[str], None]:
    return console.print if sys.stdout.isatty() else _silent


def _silent(_: str) -> None:
    return


if __name__ == "__main__":
    typer.run(main)
