"""Locks on files, which the kernel releases when their holder dies. Part of the guard: keep it light."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_POLL = 0.01  # seconds; flock cannot wait with a time limit, so a wait is a series of tries


def acquire(path: Path, wait: float = 0.0) -> int:
    """Lock the file *path*, made if needed, and return its descriptor.

    Holders remove their lock file before they let go of it, so a lock that was waited for may be
    that of a file which is no longer there. Such a lock excludes nobody and is taken again.

    Args:
        path: The file; its directory exists.
        wait: Seconds to wait for another holder.

    Raises:
        TimeoutError: If the file is still locked then.
    """
    deadline = time.monotonic() + wait
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor, path, deadline)
            if _is_file_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def release(descriptor: int) -> None:
    """Unlock and close. Unlocked in so many words: a child forked meanwhile has a copy of the descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether some process holds the lock of the file *path*. A file that is not there is not locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return True
    release(descriptor)
    return False


def _lock(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"another process holds {path}") from None
            time.sleep(_POLL)
        else:
            return


def _is_file_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)
