"""Starts the guard of a folder and waits until its server is ready."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from taskqueue.embedded.binary import find_server_binary
from taskqueue.embedded.guard import FAILED
from taskqueue.embedded.layout import Layout
from taskqueue.errors import ServerUnavailable, ServerUnsuitable

_SCRIPT = Path(__file__).with_name("guard_main.py")
_LARGEST_LOG = 1024 * 1024  # bytes; a longer one is started anew
_SHOWN_LINES = 8


def start_guard(layout: Layout, socket: Path, linger: float, deadline: float) -> None:
    """Start a guard and return when its server answers, or another guard was quicker. Hold the door.

    Args:
        layout: The folder; it exists.
        socket: Where the server shall listen.
        linger: Seconds that the server stays after its last user.
        deadline: When to give up waiting, on the monotonic clock; the guard goes on even so.

    Raises:
        ServerUnsuitable: If there is no server program, or no Python to run the guard with.
        ServerUnavailable: If the server could not be started, or is not ready in time.
    """
    binary = find_server_binary()
    if not sys.executable:
        raise ServerUnsuitable(
            "the embedded server needs to know the Python interpreter, and sys.executable does not say it: "
            "set TASKQUEUE_URL to a server that is running elsewhere"
        )
    log = os.open(layout.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    reader, writer = os.pipe()
    try:
        if os.fstat(log).st_size > _LARGEST_LOG:
            os.ftruncate(log, 0)
        log_began = os.fstat(log).st_size
        _run([str(layout.folder), binary, str(socket), repr(linger)], log, writer)
        said = _read_line(reader, deadline)
    finally:
        os.close(log)
        os.close(reader)
    if said in ("", FAILED):
        raise ServerUnavailable(
            f"the embedded server in {layout.folder} could not be started with {binary}. Its log, "
            f"{layout.log}, ends with:\n{_tail(layout.log, log_began)}"
        )
    if said is None:
        raise ServerUnavailable(
            f"the embedded server in {layout.folder} was started but is not ready yet: it may be loading its "
            f"data; try again, or look into {layout.log}"
        )


def _run(arguments: list[str], log: int, writer: int) -> None:
    """Start the script; it returns at once and leaves the guard behind, which holds the pipe's other end."""
    # -I -S: nothing that the user's environment or site-packages would add, in a tenth of the time.
    words = [sys.executable, "-I", "-S", str(_SCRIPT), *arguments, str(writer)]
    try:
        subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[writer],
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(writer)


def _read_line(reader: int, deadline: float) -> str | None:
    """Return the line that comes through the pipe, `""` if it was closed first, None if none came in time."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    line = b""
    while not line.endswith(b"\n"):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return None
        received = os.read(reader, 100)
        if not received:
            return ""
        line += received
    return line.decode().strip()


def _tail(path: Path, begin: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(begin)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError as error:
        return f"(cannot be read: {error})"
    return "\n".join(f"    {line}" for line in lines[-_SHOWN_LINES:]) or "    (nothing)"
