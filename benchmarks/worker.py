"""The worker process of the benchmarks: a Scheduler whose handler only notes when it was called.

It prints `ready` when it is about to claim, works until its input is closed (also by the death of
whoever started it), and prints what it used. The server comes from TASKQUEUE_URL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.load import TYPE
from benchmarks.marks import Marks, now
from scheduler import Scheduler
from taskqueue.cli.runtime import WORKER_GARBAGE, collect_garbage_seldom, run

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, bool]]]

_RESULT = {"ok": True}


def _handler(marks: Marks, seconds: float) -> Handler:
    starts, ends = marks.starts, marks.ends

    async def at_once(payload: dict[str, Any]) -> dict[str, bool]:
        starts[payload["i"]] = now()
        return _RESULT

    async def slowly(payload: dict[str, Any]) -> dict[str, bool]:
        starts[payload["i"]] = now()
        await asyncio.sleep(seconds)
        ends[payload["i"]] = now()
        return _RESULT

    return slowly if seconds else at_once


async def _work(options: argparse.Namespace, marks: Marks) -> None:
    scheduler = Scheduler(
        name=options.name, concurrency=options.concurrency, partitions=options.partitions or None
    )
    scheduler.handler(TYPE)(_handler(marks, options.seconds))
    async with scheduler:
        print("ready", flush=True)
        before = time.process_time()
        await _input_closed()
        cpu = time.process_time() - before
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"cpu": cpu, "peak_memory": peak}), flush=True)


async def _input_closed() -> None:
    closed = asyncio.Event()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            closed.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), read)
    try:
        await closed.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--marks", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--partitions", type=int, default=0)
    options = parser.parse_args()
    # The server of a benchmark may well have its append-only file off; once is enough to say so.
    logging.getLogger("taskqueue").setLevel(logging.ERROR)
    with Marks(options.marks) as marks:
        collect_garbage_seldom(WORKER_GARBAGE)
        run(_work(options, marks))


if __name__ == "__main__":
    main()
