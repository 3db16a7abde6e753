"""Worker processes of the command line: what each is started with, and what it finds there.

The address of the server may hold a password, and every user of the machine can read the options
of a process. So it goes by the environment, where only the same user can.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scheduler.processes import Supervisor

URL_VARIABLE = "TASKQUEUE_WORKER_URL"
"""Where a worker process finds what `--url` says to others; set for it alone."""


def supervisor_of(
    target: str | None,
    processes: int,
    *,
    url: str | None = None,
    queue: str | None = None,
    providers: str | None = None,
    concurrency: int | None = None,
    log_level: str | None = None,
    burst: bool = False,
    endless: bool = False,
) -> Supervisor:
    """Return what runs `taskqueue worker TARGET` in several processes.

    Args:
        target: MODULE:ATTR; None: only providers do the work.
        processes: How many.
        url: As the worker's option, as the next ones; None leaves it to the scheduler's code and the
            environment.
        queue: Name of the queue.
        providers: File with the providers.
        concurrency: Tasks at once in each process.
        log_level: Least important level that is shown.
        burst: Whether they end when nothing is queued any more.
        endless: Whether one that ended well without having been asked is started again.
    """
    from scheduler.processes import Supervisor

    arguments = [*([] if target is None else [target]), *(["--burst"] if burst else [])]
    for option, value in (
        ("--queue", queue),
        ("--providers", providers),
        ("--concurrency", concurrency),
        ("--log-level", log_level),
    ):
        arguments += [] if value is None else [option, str(value)]
    environment = {} if url is None else {URL_VARIABLE: url}
    return Supervisor(arguments, processes, environment=environment, endless=endless)


def take_url() -> str | None:
    """Return the address that this worker process was given, if it was; its own children find none."""
    return os.environ.pop(URL_VARIABLE, None)
