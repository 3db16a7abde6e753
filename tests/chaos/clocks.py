"""Clocks that can be set: the time of day of single processes, while they run, and of nobody else."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.chaos.places import OneServer

_SOURCE = Path(__file__).parent / "shim.c"
_PAGE = 4096


class Clock:
    """How much the time of day is off, for all processes that are started with its environment."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tq-clock-"))
        self._offset = self._folder / "offset"
        self._offset.write_bytes(bytes(_PAGE))
        library = self._folder / "shim.so"
        words = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE)]
        subprocess.run(words, check=True)
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._offset)}

    def set(self, seconds: float) -> None:
        """Let the clock be so much ahead of what it would be."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("=q", round(seconds * 1_000_000)))

    def close(self) -> None:
        """Remove what it is made of; processes that have it go on with it."""
        shutil.rmtree(self._folder, ignore_errors=True)


def misses_clock() -> str:
    """Say why there is no clock that can be set here; "" if there is."""
    if sys.platform != "linux":
        return "libraries are preloaded on Linux only"
    return "" if shutil.which("gcc") else "there is no gcc"


class ServerWithClock(OneServer):
    """A server whose clock can be set."""

    def __init__(self, dice: Random) -> None:
        super().__init__(dice)
        self.clock = Clock()

    async def start(self) -> None:
        """Start the server with the clock."""
        with _environment(self.clock.environment):
            await super().start()

    async def close(self) -> None:
        """End the server."""
        await super().close()
        await asyncio.to_thread(self.clock.close)


@contextmanager
def _environment(additions: dict[str, str]) -> Iterator[None]:
    """Let processes that are started meanwhile have these variables."""
    before = {name: os.environ.get(name) for name in additions}
    os.environ.update(additions)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
