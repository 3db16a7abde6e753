"""Tells the claim loop that there is something to do, or that it cannot go on."""

from __future__ import annotations

import asyncio


class Bell:
    """Rung by everything that gives the claim loop work; belongs to one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._error: BaseException | None = None
        self.ring = self._event.set

    def crash(self, error: BaseException) -> None:
        """Let the claim loop raise *error*: a part of the scheduler cannot go on. The first one counts."""
        self._error = self._error or error
        self._event.set()

    def silence(self) -> None:
        """Forget that it rang: what it rang for is about to be looked at."""
        self._event.clear()

    def check(self) -> None:
        """Raise what a part has crashed with, if one has."""
        if self._error is not None:
            raise self._error

    async def wait(self) -> None:
        """Return as soon as it rings; at once if it has rung since it was silenced."""
        await self._event.wait()
