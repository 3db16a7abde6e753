"""Runs the tests on a copy of the project in which one script is changed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tests.mutation.mutants import Mutant

ROOT = Path(__file__).parents[2]
Verdict = Literal["killed", "survived", "hung"]

_COPIED = ("taskqueue", "scheduler", "tests", "benchmarks", "docs", "examples", "pyproject.toml", "README.md")
_IGNORED = shutil.ignore_patterns("__pycache__", ".hypothesis")
_FAILED = 1  # of pytest: some tests failed
_KILLER = re.compile(rb"^(?:FAILED|ERROR) ([^\s:]+)", re.MULTILINE)
_ERRORS = (2, 3, 4)  # interrupted by an error, for instance in a fixture of a whole folder


class Order:
    """In which order files of tests are run: what noticed mutants of a script before comes first.

    Args:
        tests: Files and folders, the likeliest to notice first.
    """

    def __init__(self, tests: Sequence[str]) -> None:
        self._files: list[str] = []
        for test in tests:
            path = ROOT / test
            found = sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
            self._files += [str(file.relative_to(ROOT)) for file in found]
        self._killed: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def of(self, part: str) -> list[str]:
        """Return the files for a mutant of a script; before any has noticed, those with its name first."""
        killed, name = self._killed[part], part.strip("_")
        return sorted(self._files, key=lambda file: (-killed[file], f"_{name}" not in file))

    def noticed(self, part: str, output: bytes) -> None:
        """Remember which file failed."""
        if (found := _KILLER.search(output)) is not None:
            self._killed[part][found[1].decode()] += 1


class Copy:
    """A copy of the project.

    Args:
        folder: An empty one.
        order: What pytest runs.
        patience: Seconds until the tests count as hung; several times what they take.
    """

    def __init__(self, folder: Path, order: Order, patience: float) -> None:
        self._folder = folder
        self._order = order
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
            return self._run(part)
        finally:
            file.write_text(sound, encoding="utf-8")

    def is_sound(self) -> bool:
        """Whether the tests pass as long as nothing is changed."""
        return self._run("") == "survived"

    def _run(self, part: str) -> Verdict:
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
            "-p",
            "no:randomly",
            *self._order.of(part),
        ]
        process = subprocess.Popen(
            words,
            cwd=self._folder,
            env=os.environ | {"CI": "true", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=self._patience)
        except subprocess.TimeoutExpired:
            # Its servers, too, which are in its group.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return "hung"
        status = process.returncode
        if status == 0:
            return "survived"
        if status == _FAILED or status in _ERRORS:
            self._order.noticed(part, output)
            return "killed"
        raise RuntimeError(f"pytest ended with status {status}: {' '.join(words)}")
