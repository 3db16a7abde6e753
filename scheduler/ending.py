"""Ends asyncio tasks for sure."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

_AGAIN_AFTER = 0.1
"""Seconds until a task that was cancelled and goes on is cancelled once more."""


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and return when all of them have ended.

    Once may not be enough: up to Python 3.11 `asyncio.wait_for`, which clients of servers use, loses
    a cancellation that comes just when it has finished (python/cpython#86296). Only for tasks of
    our own: a handler may need its time to clean up.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_AGAIN_AFTER)
