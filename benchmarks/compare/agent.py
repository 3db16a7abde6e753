"""The program that runs a queue in the environment of its library: as a producer, or as a worker.

`python -m benchmarks.compare.agent produce|work MODULE VARIANT SLOTS`, with the server, the marks and the
gate in the environment variables of `noting`. SLOTS may be `default`.

A producer says when it is ready, then does what each line of its input says and answers with a line; what
other lines a library prints is ignored. Both end with their input, so that none outlives the harness.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any, cast

from benchmarks.compare.noting import MARKS, NOOP, URL
from benchmarks.compare.producing import BULK, CALLERS, Producer, Queue, Setup, at_once
from benchmarks.marks import Marks, now
from benchmarks.payloads import payload

ANSWER = "BENCH "
"""How a line begins that is meant for the harness."""

WARM_UP = CALLERS
_GAP = (0.005, 0.010)
_LOOK = 0.0005
_UNCOUNTED = 10
_PATIENCE = 20.0


def main() -> None:
    role, module, variant, slots = sys.argv[1:]
    queue = cast("Queue", importlib.import_module(f"benchmarks.compare.queues.{module}"))
    setup = Setup(url=os.environ[URL], variant=variant, slots=None if slots == "default" else int(slots))
    if role == "work":
        threading.Thread(target=_end_with_input, daemon=True).start()
        queue.work(setup)
    else:
        run_fast(_produce(queue.producer(setup)))


def run_fast(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop where that is installed."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    # The harness made this process the leader of a group, in which all of its children are.
    os.killpg(0, signal.SIGKILL)


def _answer(**facts: Any) -> None:
    print(ANSWER + json.dumps(facts), flush=True)


async def _produce(producer: Producer) -> None:
    await producer.open()
    # As many callers as later, so that a pool has its connections.
    await at_once((producer.enqueue, NOOP), [payload(-1)] * WARM_UP, producer.callers)
    _answer(callers=producer.callers)
    # Read in a thread, so that what a library does in the background goes on meanwhile.
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        gc.collect()
        if order["do"] == "latency":
            _answer(milliseconds=await _latencies(producer, order["count"], order["seconds"]))
        else:
            seconds, cpu = await _timed(producer, order["do"], order["task"], order["count"])
            _answer(seconds=seconds, cpu=cpu)
    await producer.close()


async def _timed(producer: Producer, way: str, task: str, count: int) -> tuple[float, float]:
    """Enqueue so many tasks; making their payloads counts."""
    cpu, started = time.process_time(), time.perf_counter()
    if way == "one":
        for number in range(count):
            await producer.enqueue(task, payload(number))
    elif way == "callers":
        await at_once((producer.enqueue, task), map(payload, range(count)), producer.callers)
    else:
        for first in range(0, count, BULK):
            await producer.enqueue_many(task, [payload(i) for i in range(first, min(first + BULK, count))])
    return time.perf_counter() - started, time.process_time() - cpu


async def _latencies(producer: Producer, count: int, seconds: float) -> list[float]:
    """Return milliseconds from the call of each enqueue to the first line of the handler.

    One task at a time, with a random gap in which everything falls asleep; nothing polls meanwhile. Ends
    early after so many seconds. The first ones do not count: some workers sleep for long when they have been
    idle for long.
    """
    chance, ends_at, found = Random(1), time.monotonic() + seconds, []
    with Marks(Path(os.environ[MARKS])) as marks:
        for number in (*[0] * _UNCOUNTED, *range(count)):
            marks.starts[number] = 0
            called = now()
            await producer.enqueue(NOOP, payload(number))
            await asyncio.sleep(chance.uniform(*_GAP))
            async with asyncio.timeout(_PATIENCE):
                while not marks.starts[number]:  # noqa: ASYNC110  another process sets it
                    await asyncio.sleep(_LOOK)
            found.append((marks.starts[number] - called) / 1e6)
            if time.monotonic() > ends_at:
                break
    return found[min(_UNCOUNTED, len(found) - 1) :]


if __name__ == "__main__":
    main()
