"""Processes of a run: started with a log and a name, ended by their own ids."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "programs"


class LaboratoryError(Exception):
    """The laboratory could not do what it was to do: nothing is said of the queue."""


async def until(predicate: Callable[[], object], description: str, timeout: float) -> None:
    """Return once *predicate* is true.

    Raises:
        LaboratoryError: With *description*, if it is not within *timeout* seconds.
    """
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > deadline:
            raise LaboratoryError(f"not within {timeout:g} s: {description}")
        await asyncio.sleep(0.02)


class Process:
    """One program of the laboratory in a process of its own.

    Args:
        program: Its file in the folder of programs, without the ending.
        name: Its name in the history.
        words: Its command line.
        folder: Where its log goes.
        environment: What it has besides our own.
        ready: What its log says when it has begun.
    """

    def __init__(
        self,
        program: str,
        name: str,
        words: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        ready: str,
    ) -> None:
        self.name = name
        self._ready = ready
        self._log = folder / f"{name}.log"
        paths = (environment or {}).get("PYTHONPATH")
        path = str(ROOT) if paths is None else f"{paths}{os.pathsep}{ROOT}"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAMS / f"{program}.py"), *words],
                cwd=folder,
                env=os.environ | dict(environment or {}) | {"PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.pid = self._process.pid

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    async def ready(self, timeout: float = 30.0) -> None:
        """Return when it is at work."""

        def is_ready() -> bool:
            # In this order: one that is to die may have begun, and died already.
            if not self.is_running and self._ready not in self.log:
                raise LaboratoryError(f"{self.name} ended: {self.log[-2000:]}")
            return self._ready in self.log

        await until(is_ready, f"{self.name} is ready", timeout)

    def kill9(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it in its tracks."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    async def ended(self, timeout: float = 30.0) -> int:
        """Return its status when it has ended by itself."""
        await until(lambda: not self.is_running, f"{self.name} ends", timeout)
        return self._process.wait()
