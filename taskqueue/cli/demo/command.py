"""`taskqueue demo`."""

from __future__ import annotations

import typer

from taskqueue.cli import options
from taskqueue.cli.exits import ExitCode
from taskqueue.cli.output import write_json
from taskqueue.cli.runtime import run


def demo(*, as_json: options.AsJson = False) -> None:
    """Watch 200 tasks of mixed priority go through a real server in the right order.

    Needs no configuration: the server is started in a temporary folder and gone at the end, after
    some seconds. The providers are simulated. Exit code 0 only if everything came out as promised.
    """
    # The server and the scheduler come with heavy imports, which --help must not wait for.
    from taskqueue.cli.demo import report
    from taskqueue.cli.demo.play import play
    from taskqueue.cli.demo.watch import watching

    with watching() as audience:
        audience.note("taskqueue demo: real tasks, real server, simulated providers")
        outcome = run(play(audience))
    if as_json:
        write_json(report.document(outcome))
    else:
        report.show(outcome)
    raise typer.Exit(ExitCode.OK if outcome.ok else ExitCode.NEGATIVE)
