"""Who uses the server: one locked file for each. Part of the guard: keep it light.

A file is called `<pid>-<random>.<fsync>`; what its owner asked of `appendfsync` is in the name, so
that a server which is started again keeps the strictest promise that any of its users was given.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from taskqueue.embedded.locks import is_held


def register(directory: Path, fsync: str) -> tuple[Path, int]:
    """Make and lock a file for the calling process; return its path and descriptor. Hold the door."""
    path = directory / f"{os.getpid()}-{os.urandom(4).hex()}.{fsync}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    # It may have to wait, for microseconds, for a guard that looks whether the file is locked.
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return path, descriptor


def are_present(directory: Path) -> bool:
    """Whether any process uses the server."""
    return any(is_held(path) for path in _files(directory))


def sweep(directory: Path) -> None:
    """Remove the files of users who died. Hold the door, or a file may be one that is being made."""
    for path in _files(directory):
        if not is_held(path):
            path.unlink(missing_ok=True)


def strictest_fsync(directory: Path) -> str:
    """Return `"always"` if any user asked for it, else `"everysec"`."""
    return "always" if any(path.suffix == ".always" for path in _files(directory)) else "everysec"


def _files(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []
