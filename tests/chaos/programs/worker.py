"""A worker of the laboratory: it takes the time that a payload says, or behaves as badly as it says.

It writes down what it asks, what it is answered and what its handlers do. Its imports are those that
every version of the package has, because it also runs with the package of earlier commits.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import re
import resource
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from scheduler import Context, Retry, Scheduler
from tests.chaos.controls import take_guard_away
from tests.chaos.history import Recorder
from tests.chaos.recording import record_worker

TYPES = ("NOTE", "OTHER")
DIED = 137
_MEGABYTE = 1024 * 1024
_LEAK = 32 * _MEGABYTE
_TIRESOME = re.compile(r"(a+)+$")
_TRIED = 18  # letters, for a first impression; each one more takes twice as long


def main() -> None:
    """Run the worker that the command line describes until a signal ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("queue")
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--lease", type=float, required=True)
    parser.add_argument("--grace", type=float, default=5.0)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--types", default=",".join(TYPES), help="with commas; POISON behaves badly")
    parser.add_argument("--die-at", default="", help="a named point at which it exits")
    parser.add_argument("--die-after", type=int, default=1, help="how often it passes that point before")
    parser.add_argument("--deliver", action="store_true", help="deliver webhooks too")
    parser.add_argument("--memory", type=int, default=0, help="MB that it may use beyond what it has")
    parser.add_argument("--without", default="", help="a guard that is taken away")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if options.without:
        take_guard_away(options.without)
    if options.memory:
        limit_memory(options.memory * _MEGABYTE)
    recorder = Recorder(options.folder, options.name)
    passing = death(options.die_at, options.die_after)
    record_worker(recorder, passing)
    asyncio.run(make_scheduler(options, recorder, passing).run())


def death(point: str, after: int) -> Callable[[str], None]:
    """Return what ends the process when it passes a point for the nth time."""
    left = after

    def passing(name: str) -> None:
        nonlocal left
        if name == point:
            left -= 1
            if left <= 0:
                os._exit(DIED)

    return passing


def make_scheduler(
    options: argparse.Namespace, recorder: Recorder, passing: Callable[[str], None]
) -> Scheduler:
    """Return a scheduler with a handler for each type that was asked for."""
    scheduler = Scheduler(
        options.url,
        name=options.queue,
        lease=options.lease,
        grace=options.grace,
        concurrency=options.concurrency,
    )
    kinds: dict[str, Callable[..., Any]] = dict.fromkeys(TYPES, work) | {"POISON": misbehave}
    for type_ in options.types.split(","):
        add(scheduler, type_, kinds[type_], recorder, passing)
    if options.deliver:
        from taskqueue.cli.deliveries import add_deliveries
        from taskqueue.settings import Settings

        add_deliveries(scheduler, Settings())
    return scheduler


def add(
    scheduler: Scheduler,
    type_: str,
    what: Callable[..., Any],
    recorder: Recorder,
    passing: Callable[[str], None],
) -> None:
    """Add a handler that writes down when it begins and when it ends."""

    @scheduler.handler(type_, timeout=timedelta(seconds=20), max_attempts=5)
    async def handle(payload: dict[str, Any], context: Context) -> dict[str, Any]:
        # The token is nothing that handlers need; whoever judges a run does.
        told = {"task": context.task.id, "token": context._run.token}
        recorder.note("start", **told, fence=context.fence)
        outcome = "cancelled"
        try:
            await what(payload, context)
            outcome = "done"
        except Retry:
            outcome = "retry"
            raise
        finally:
            recorder.note("end", **told, outcome=outcome, charge=payload.get("charge"))
            passing("after_effect")
        return {"by": recorder.process}


async def work(payload: dict[str, Any], context: Context) -> None:
    """Take some time; fail as often as the payload says; charge what it says."""
    await asyncio.sleep(payload["seconds"])
    if context.attempt <= payload.get("fails", 0):
        raise Retry(after=timedelta(milliseconds=Random().randint(0, 100)), reason="as it was asked to")
    if payload.get("charge") is not None:
        context.charge(payload["charge"])


async def misbehave(payload: dict[str, Any], context: Context) -> None:
    """Do what no handler should."""
    match payload["do"]:
        case "exit":
            os._exit(DIED)
        case "system exit":
            raise SystemExit(3)
        case "block":
            # The event loop stands still; the heartbeat, in a thread of its own, does not.
            time.sleep(payload["seconds"])
        case "hold the interpreter":
            hold_interpreter(payload["seconds"])
        case "leak":
            kept = []
            while True:
                kept.append(bytearray(_LEAK))
        case "ignore":
            await ignore_cancels(payload["seconds"])


def hold_interpreter(seconds: float) -> None:
    """Match a regular expression for about so long: meanwhile no other thread of the process runs."""
    begun = time.monotonic()
    _TIRESOME.match("a" * _TRIED + "b")
    more = max(0, math.ceil(math.log2(seconds / (time.monotonic() - begun))))
    _TIRESOME.match("a" * (_TRIED + more) + "b")


def limit_memory(more: int) -> None:
    """Let the process have so many bytes more than it has now, and no others."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


async def ignore_cancels(seconds: float) -> None:
    """Go on for so long, whoever asks to stop."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            await asyncio.sleep(until - time.monotonic())
        except asyncio.CancelledError:
            continue


if __name__ == "__main__":
    main()
