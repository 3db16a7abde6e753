"""Runs the tests on a copy of the project in which one script is changed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tests.mutation.mutants import Mutant

ROOT = Path(__file__).parents[2]
Verdict = Literal["killed", "survived", "hung"]

_COPIED = ("taskqueue", "scheduler", "tests", "benchmarks", "docs", "examples", "pyproject.toml", "README.md")
_IGNORED = shutil.ignore_patterns("__pycache__", ".hypothesis")
_FAILED = 1  # of pytest: some tests failed
_ERRORS = (2, 3, 4)  # interrupted by an error, for instance in a fixture of a whole folder


class Copy:
    """A copy of the project.

    Args:
        folder: An empty one.
        tests: What pytest runs, the likeliest to notice first.
        patience: Seconds until the tests count as hung; several times what they take.
    """

    def __init__(self, folder: Path, tests: Sequence[str], patience: float) -> None:
        self._folder = folder
        self._tests = tests
        self._patience = patience
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=_IGNORED)
            else:
                shutil.copy(source, folder / name)

    def scripts(self) -> list[Path]:
        """Return the files with Lua, in order of their names."""
        return sorted((self._folder / "taskqueue" / "lua").glob("*.lua"))

    def try_mutant(self, part: str, mutant: Mutant) -> Verdict:
        """Return what the tests say of a mutant of the script *part*."""
        file = self._folder / "taskqueue" / "lua" / f"{part}.lua"
        sound = file.read_text(encoding="utf-8")
        file.write_text(mutant.source, encoding="utf-8")
        try:
            return self._run()
        finally:
            file.write_text(sound, encoding="utf-8")

    def is_sound(self) -> bool:
        """Whether the tests pass as long as nothing is changed."""
        return self._run() == "survived"

    def _run(self) -> Verdict:
        # The folder it runs in comes first on the path, before the project that is installed.
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            *self._tests,
        ]
        process = subprocess.Popen(
            words,
            cwd=self._folder,
            env=os.environ | {"CI": "true", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            status = process.wait(self._patience)
        except subprocess.TimeoutExpired:
            # Its servers, too, which are in its group.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "hung"
        if status == 0:
            return "survived"
        if status == _FAILED or status in _ERRORS:
            return "killed"
        raise RuntimeError(f"pytest ended with status {status}: {' '.join(words)}")
