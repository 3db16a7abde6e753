"""One virtual environment for each peer, made when it is first needed and kept for later runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare.roster import Entry

_STAMP = "installed.json"
_PATIENCE = 900.0
_TOLD = ("redis", "hiredis", "coredis", "uvloop", "orjson")
"""Packages that decide about speed: their versions stand beside that of the peer, where it uses them."""

_NEWEST_MINOR = 14
_ASK = """
import importlib.metadata, json, platform
found = {each.name.lower(): each.version for each in importlib.metadata.distributions() if each.name}
print(json.dumps(found | {"python": platform.python_version()}))
"""


class InstallFailed(Exception):
    """A peer could not be installed; the message is the last line that pip wrote."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a queue runs.

    Attributes:
        python: The interpreter.
        versions: What is installed there, as far as it matters.
    """

    python: str
    versions: Mapping[str, str]


def default_folder() -> Path:
    """Return where environments are kept: below the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():
        cache = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return cache / "taskqueue-benchmarks"


def environment_of(
    entry: Entry, folder: Path, *, base: str = sys.executable, renew: bool = False
) -> Environment:
    """Return the environment of a queue, and make it first if it is not there as it should be.

    Args:
        entry: The queue; one without packages runs in the environment of this program.
        folder: Where environments are kept, one folder a version of Python.
        base: The Python that environments are made of; a newer one where a peer needs it.
        renew: Install the newest versions, whatever is there.

    Raises:
        InstallFailed: If there is no Python for it, or its packages cannot be installed.
    """
    if not entry.packages:
        return Environment(sys.executable, versions_in(sys.executable, ("taskqueue-engine", *_TOLD)))
    base, version = _base_for(entry, base)
    place = folder / f"python{version}" / entry.module
    python, stamp = place / "bin" / "python", place / _STAMP
    wanted = list(entry.packages)
    if renew or not python.exists() or _installed(stamp) != wanted:
        stamp.unlink(missing_ok=True)
        _build(base, place, python, wanted)
        stamp.write_text(json.dumps(wanted), encoding="utf-8")
    return Environment(str(python), versions_in(str(python), (*entry.names, *_TOLD)))


def versions_in(python: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those packages that an environment has."""
    done = subprocess.run([python, "-I", "-c", _ASK], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return {name: found[name] for name in (*names, "python") if name in found}


def _installed(stamp: Path) -> list[str] | None:
    try:
        found: list[str] = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _base_for(entry: Entry, base: str) -> tuple[str, str]:
    """Return a Python that is new enough for a queue, and its version: *base*, or else the next newer one."""
    least = entry.least_python
    newer = [f"python3.{minor}" for minor in range(least[1], _NEWEST_MINOR + 1)]
    for candidate in (base, *newer, *_of_pyenv(newer)):
        version = _version_of(candidate)
        if version is not None and version >= least:
            return candidate, f"{version[0]}.{version[1]}"
    raise InstallFailed(f"it needs Python {least[0]}.{least[1]}, which is not here: name one with --python")


def _of_pyenv(names: Sequence[str]) -> Iterator[str]:
    """Yield those that pyenv has: what it puts on the PATH does not run unless it was chosen."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for name in names:
        yield from map(str, sorted(versions.glob(f"*/bin/{name}")))


def _version_of(python: str) -> tuple[int, int] | None:
    try:
        done = subprocess.run(
            [python, "-I", "-c", "import sys; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    if done.returncode:
        return None
    major, minor = map(int, done.stdout.split())
    return major, minor


def _build(base: str, place: Path, python: Path, packages: list[str]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    # Our own pip installs there: one for each environment would take longer than most peers do.
    _run([base, "-m", "venv", "--clear", "--without-pip", str(place)])
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    _run([*pip, "--quiet", "--disable-pip-version-check", "--no-input", *packages])


def _run(words: list[str]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        raise InstallFailed(f"{words[2]} did not end within {_PATIENCE:g} s") from None
    if done.returncode:
        raise InstallFailed(last_line(done.stderr or done.stdout))


def last_line(text: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"
