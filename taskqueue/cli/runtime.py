"""Runs a command's coroutine and opens the queue that its options name."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from taskqueue.queue import TaskQueue

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* on uvloop, or on asyncio where the platform has no uvloop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


WORKER_GARBAGE, SERVICE_GARBAGE = (100_000, 50, 50), (5_000, 10, 50)
"""When the collector looks at what is young, less young, and old, as `gc.set_threshold` has it. HTTP requests
leave some twenty objects each that only it can find: 100,000 of them are a pause of 80 ms."""


def collect_garbage_seldom(when: tuple[int, int, int]) -> None:
    """Let the garbage collector of this process look rarely, and never at what is loaded by now.

    Tasks leave little garbage that only the collector can find, but make so many objects that it
    looks at everything again and again: about a fifth of a busy worker's time.

    Args:
        when: How seldom.
    """
    gc.freeze()
    gc.set_threshold(*when)


def open_queue(url: str | None, name: str | None) -> AbstractAsyncContextManager[TaskQueue]:
    """Return the queue called *name* at *url*, to be used in `async with`; None takes the settings'.

    Raises:
        InvalidSetting: If an option or an environment variable breaks its rule.
    """
    # These imports take longer than `--help` may take, so they wait until here.
    from taskqueue.queue import TaskQueue
    from taskqueue.settings import Settings

    settings = Settings.load(url=url, name=name)
    return TaskQueue.connect(settings.url, name=settings.name, max_payload=int(settings.max_payload))
