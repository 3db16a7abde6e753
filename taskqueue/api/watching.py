"""Waiting for a task on behalf of a client that may go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Receive


async def until_gone(receive: Receive) -> None:
    """Return when the client has closed its connection; its body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def running(*works: Coroutine[Any, Any, Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Run *works* side by side; what has not ended is cancelled on exit, and has ended after it."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        # Also takes what they raised: whoever wants it has looked.
        await asyncio.gather(*tasks, return_exceptions=True)
