"""A worker whose tasks cost credits, and which takes the deliveries of webhooks itself.

What its handlers do stands in the journal, as of `noting_worker`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from typing import Any

from scheduler import Context, Scheduler
from taskqueue.names import WEBHOOK_TYPE
from tests.crash.programs.noting_worker import journal


def main() -> None:
    """Run the worker that the command line describes until a signal ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("queue")
    parser.add_argument("journal")
    parser.add_argument("--lease", type=float, default=1.0)
    parser.add_argument("--concurrency", type=int, default=10)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    asyncio.run(make_scheduler(options).run())


def make_scheduler(options: argparse.Namespace) -> Scheduler:
    """Return a scheduler with a handler for tasks that cost something, and one for deliveries."""
    scheduler = Scheduler(
        options.url, name=options.queue, lease=options.lease, concurrency=options.concurrency
    )
    note = journal(options.journal)

    @scheduler.handler("PAID")
    async def work(payload: dict[str, Any], context: Context) -> None:
        note("start", context)
        if payload["charge"] is not None:
            context.charge(payload["charge"])
        await asyncio.sleep(payload["seconds"])
        note("end", context)

    @scheduler.handler(WEBHOOK_TYPE)
    async def deliver(_: dict[str, Any], context: Context) -> None:
        note("deliver", context)

    return scheduler


if __name__ == "__main__":
    main()
