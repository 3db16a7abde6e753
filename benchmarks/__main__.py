"""`python -m benchmarks`: asks all questions, or some, and reports the answers."""

from __future__ import annotations

import logging
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import report as reports
from benchmarks.bench import Bench
from benchmarks.compare.command import compare
from benchmarks.compare.tracking import ratios
from benchmarks.own_server import AppendOnly, Server, Socket, own_server
from benchmarks.probe import Probe
from benchmarks.pulse import pulse
from benchmarks.questions import QUESTIONS
from benchmarks.sizes import FULL, QUICK, STANDARD, Sizes
from taskqueue.cli.runtime import run
from taskqueue.connect import Connector

_PROGRAMS: Mapping[str, Callable[..., None]] = {"compare": compare, "ratios": ratios}
"""What the first word can also be; each has options of its own."""

_SCHEMES = ("redis://", "rediss://", "unix://")


async def ask(bench: Bench, names: Sequence[str], report: dict[str, Any], console: Console) -> None:
    """Ask questions one after the other, and add the answers to the report."""
    for name in names:
        question = QUESTIONS[name]
        before = pulse(bench.url)
        results = await question.measure(bench)
        pulses = (before, pulse(bench.url))
        reports.add(report, name, question, results, pulses)
        reports.show(console, question, results, pulses)


def main(
    questions: Annotated[
        list[str] | None, typer.Argument(help=f"Which ones: {', '.join(QUESTIONS)}. All, if none is named.")
    ] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the tasks: to see it run.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Also 10,000 lanes.")] = False,
    runs: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = STANDARD.runs,
    concurrency: Annotated[
        list[int] | None, typer.Option(min=1, help="Slots of a worker; give several to compare drains.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="A server that runs already. Nothing else should use it meanwhile.")
    ] = None,
    server: Annotated[Server, typer.Option(help="Which server to start.")] = "valkey",
    appendonly: Annotated[AppendOnly, typer.Option(help="When it writes to disk.")] = "no",
    socket: Annotated[Socket, typer.Option(help="How it is reached.")] = "tcp",
    json: Annotated[str | None, typer.Option(help="Write the report there, as JSON; - prints it.")] = None,
) -> None:
    """Measure how fast, how small and how steady the engine is.

    `compare` measures peers and the raw limits beside it, `ratios` the raw limits alone: add --help to
    either.
    """
    names = questions or list(QUESTIONS)
    if unknown := sorted(set(names) - set(QUESTIONS)):
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(QUESTIONS)}")
    if url is not None and not url.startswith(_SCHEMES):
        raise typer.BadParameter(f"--url must start with one of {', '.join(_SCHEMES)}")
    sizes: Sizes = replace(QUICK if quick else FULL if full else STANDARD, runs=runs)
    # The table is for people; a report on the standard output must stay alone there.
    console = Console(stderr=json == "-", width=None if sys.stdout.isatty() else 160)
    for name in ("taskqueue", "scheduler"):
        logging.getLogger(name).setLevel(logging.CRITICAL if name == "scheduler" else logging.ERROR)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tq-bench-")))
        where = url or stack.enter_context(own_server(server, appendonly, socket))
        probe = Probe(where)
        stack.callback(probe.close)
        bench = Bench(
            url=where,
            probe=probe,
            folder=folder,
            owns_server=url is None,
            sizes=sizes,
            concurrency=concurrency or [200],
        )
        facts = probe.facts() | {"reached by": where.partition(":")[0]}
        report = reports.begin(_command(url), facts, runs=runs)
        reports.show_head(console, report)
        run(ask(bench, names, report, console))
        if json is not None:
            reports.write(report, json)


def _command(url: str | None) -> str:
    """Return how this was started, without the password that the server's address may have."""
    words = ["python", "-m", "benchmarks", *sys.argv[1:]]
    if url is not None:
        shown = Connector.parse(url).url_shown
        words = [word.replace(url, shown) for word in words]
    return shlex.join(words)


def start() -> None:
    """Run the program that the first word names; without one, the questions."""
    words = sys.argv[1:]
    program = _PROGRAMS.get(words[0]) if words else None
    if program is None:
        typer.run(main)
        return
    app = typer.Typer(add_completion=False)
    app.command()(program)
    app(args=words[1:], prog_name=f"python -m benchmarks {words[0]}")


if __name__ == "__main__":
    start()
