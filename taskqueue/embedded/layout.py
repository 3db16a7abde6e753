"""Where everything of an embedded server lies inside its folder. Part of the guard: keep it light."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_LONGEST_PID: Final = 10  # digits


class Layout:
    """The files of one folder.

    Attributes:
        data: The server's own directory; all that remains when nothing runs.
        users: One locked file for each process that uses the server.
        door: Locked while somebody starts the guard, or the guard ends.
        guard: Locked as long as the guard lives; its text is the guard's pid and the socket.
        server: Locked as long as the server lives, whatever became of its guard; its text is a pid.
        log: What guard and server have to say; removed when a run ended without trouble.
        socket: The server's socket, as long as the folder's own path is short enough.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.users = folder / "users"
        self.door = folder / "door.lock"
        self.guard = folder / "guard.lock"
        self.server = folder / "server.lock"
        self.log = folder / "embedded.log"
        self.socket = folder / "server.sock"

    def read_guard(self) -> tuple[int, str] | None:
        """Return the pid of the guard and the socket of its server; None while that is not written."""
        try:
            text = os.fsdecode(self.guard.read_bytes())
        except FileNotFoundError:
            return None
        pid, _, socket = text.partition("\n")
        # Without its last newline it is a file that is being written just now.
        is_pid = pid.isascii() and pid.isdecimal() and len(pid) <= _LONGEST_PID
        return (int(pid), socket[:-1]) if is_pid and socket.endswith("\n") else None


def write_text(descriptor: int, text: str) -> None:
    """Replace what is in the open, locked file by *text*."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, os.fsencode(text), 0)
