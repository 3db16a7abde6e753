"""A worker as users write one, whose handlers leave their traces outside of the server.

Each event is one line, appended to a file in one write: whatever is killed, what was written stays.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from scheduler import Context, Scheduler

Note = Callable[[str, Context], None]


def main() -> None:
    """Run the worker that the command line describes until a signal ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("queue")
    parser.add_argument("journal")
    parser.add_argument("--lease", type=float, default=15.0)
    parser.add_argument("--grace", type=float, default=10.0)
    parser.add_argument("--concurrency", type=int, default=20)
    parser.add_argument("--types", default="NOTE", help="of NOTE, KILLER; with commas")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    asyncio.run(make_scheduler(options).run())


def make_scheduler(options: argparse.Namespace) -> Scheduler:
    """Return a scheduler with the handlers that were asked for."""
    scheduler = Scheduler(
        options.url,
        name=options.queue,
        lease=options.lease,
        grace=options.grace,
        concurrency=options.concurrency,
    )
    note = journal(options.journal)
    types = options.types.split(",")
    if "NOTE" in types:
        add_note(scheduler, note)
    if "KILLER" in types:
        add_killer(scheduler, note)
    return scheduler


def add_note(scheduler: Scheduler, note: Note) -> None:
    """Add a handler that takes the time that its payload says."""

    @scheduler.handler("NOTE")
    async def take_time(payload: dict[str, Any], context: Context) -> dict[str, Any]:
        note("start", context)
        try:
            await asyncio.sleep(payload["seconds"])
        except asyncio.CancelledError:
            note("cancel", context)
            raise
        note("end", context)
        return {"pid": os.getpid(), "delivery": context.deliveries}


def add_killer(scheduler: Scheduler, note: Note) -> None:
    """Add a handler that takes its whole process with it."""

    @scheduler.handler("KILLER")
    async def kill(payload: dict[str, Any], context: Context) -> None:
        note("start", context)
        os._exit(9)


def journal(path: str) -> Note:
    """Return what appends an event to the file."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def note(event: str, context: Context) -> None:
        line = {
            "event": event,
            "task": context.task.id,
            "delivery": context.deliveries,
            "pid": os.getpid(),
            "at": time.monotonic(),
        }
        os.write(file, json.dumps(line).encode() + b"\n")

    return note


if __name__ == "__main__":
    main()
