"""`taskqueue worker`: runs a scheduler of yours, in this process or in several."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from taskqueue.cli import options
from taskqueue.cli.deliveries import add_deliveries, can_deliver
from taskqueue.cli.loading import queue_name
from taskqueue.cli.logs import configure_logging
from taskqueue.cli.output import say, write_json
from taskqueue.cli.providing import scheduler_for
from taskqueue.cli.runtime import WORKER_GARBAGE, collect_garbage_seldom, run
from taskqueue.cli.supervising import supervisor_of, take_url


def worker(
    target: Annotated[
        str | None,
        typer.Argument(metavar="[MODULE:ATTR]", help="Where the Scheduler is.", show_default=False),
    ] = None,
    *,
    providers: options.ProvidersFile = None,
    strict: options.Strict = False,
    processes: Annotated[
        int, typer.Option("--processes", metavar="N", min=1, help="Run so many worker processes.")
    ] = 1,
    burst: Annotated[
        bool, typer.Option("--burst", help="End when nothing is queued any more, delayed tasks included.")
    ] = False,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            metavar="N",
            help="Tasks at once in each process; else the scheduler's.",
            show_default=False,
        ),
    ] = None,
    log_level: options.LogLevel = None,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Run tasks through the handlers of a scheduler, or by providers, until a signal comes.

    SIGTERM or Ctrl-C: nothing more is claimed, running tasks may finish within the grace period,
    the rest goes back to the queue, exit code 0. A second one ends the process at once.
    --url, --queue and --concurrency beat what the scheduler was made with. A task that fails is the
    queue's business, not the worker's: it does not change the exit code.
    """
    from taskqueue.settings import Settings

    url = take_url() or url
    settings = Settings.load(
        url=url, name=queue, concurrency=concurrency, log_level=log_level, providers=providers
    )
    configure_logging(settings.log_level, as_json=settings.log_json)
    scheduler = scheduler_for(target, settings, strict=strict)
    if processes > 1:
        supervisor = supervisor_of(
            target,
            processes,
            url=url,
            queue=queue,
            providers=settings.providers,
            concurrency=concurrency,
            log_level=log_level,
            burst=burst,
        )
        raise typer.Exit(run(supervisor.run()))
    scheduler.configure(url=url, name=queue_name(scheduler, queue, settings), concurrency=concurrency)
    if can_deliver():
        add_deliveries(scheduler, settings)
    collect_garbage_seldom(WORKER_GARBAGE)
    summary = run(scheduler.run(burst=burst))
    if as_json:
        write_json(asdict(summary))
    else:
        counts = [f"{count:,} {name}" for name, count in asdict(summary).items() if count]
        say(f"worker ended: {', '.join(counts) or 'no task was claimed'}")
