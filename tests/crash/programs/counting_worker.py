"""A worker as users run it, for tests that kill it.

    python counting_worker.py URL QUEUE EFFECTS LEASE_SECONDS

Every handler call appends one line to the file EFFECTS, outside of the server: what was done is not
told by whoever is under test.
"""

import asyncio
import logging
import os
import sys
import time

from scheduler import Context, Scheduler

url, name, effects, lease = sys.argv[1:5]
scheduler = Scheduler(url, name=name, concurrency=20, lease=float(lease), grace=1.0)
journal = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def record(what: str, context: Context) -> None:
    """Append one line in one write, which other processes cannot tear."""
    os.write(journal, f"{what} {context.task.id} {context.attempt} {os.getpid()} {time.time()}\n".encode())


@scheduler.handler("EFFECT", concurrency=20)
async def effect(payload: dict, context: Context) -> dict:
    """Do something that can be counted."""
    record("ran", context)
    return {"by": os.getpid(), "n": payload["n"]}


@scheduler.handler("SLEEP", concurrency=10, max_attempts=5)
async def sleep(payload: dict, context: Context) -> dict:
    """Take some time."""
    record("began", context)
    await asyncio.sleep(payload["seconds"])
    record("ended", context)
    return {"by": os.getpid()}


@scheduler.handler("DIE", concurrency=1)
async def die(payload: dict, context: Context) -> None:
    """Bring the whole process down."""
    record("died", context)
    os._exit(9)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    asyncio.run(scheduler.run())
