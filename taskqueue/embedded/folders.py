"""Which folder an embedded server lives in, and whether it is safe to."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from taskqueue.embedded.layout import Layout
from taskqueue.errors import InvalidSetting, ServerUnsuitable

_LONGEST_SOCKET_PATH = 100  # bytes; systems allow 104 to 108
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def default_folder() -> Path:
    """Return `taskqueue` in the user's data folder.

    Raises:
        InvalidSetting: If the system does not say where the user's home is.
    """
    configured = Path(os.environ.get("XDG_DATA_HOME", ""))
    if configured.is_absolute():
        return configured / "taskqueue"
    try:
        home = Path.home()
    except RuntimeError:
        raise InvalidSetting(
            "TASKQUEUE_URL", None, "set, because this user has no home folder to keep an embedded server in"
        ) from None
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "taskqueue"
    return home / ".local" / "share" / "taskqueue"


def prepare(layout: Layout) -> None:
    """Make the folder, if it is not there, for its owner only.

    Raises:
        ServerUnsuitable: If it cannot be made, or others could replace what is in it.
    """
    try:
        layout.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(layout.folder, error.strerror or str(error)) from error
    _require_safe(layout.folder)


def socket_for(layout: Layout) -> Path:
    """Return a path for the socket that is short enough for the system, in a folder that is ours alone."""
    if len(os.fsencode(layout.socket)) <= _LONGEST_SOCKET_PATH:
        return layout.socket
    digest = hashlib.sha256(os.fsencode(layout.folder)).hexdigest()[:16]
    name = f"taskqueue-{os.geteuid()}-{digest}"
    socket = Path(tempfile.gettempdir()) / name / layout.socket.name
    if len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH:
        # Whose folder it is, is checked below.
        socket = Path("/tmp") / name / layout.socket.name  # noqa: S108  # nosec B108
    try:
        socket.parent.mkdir(mode=0o700)
    except FileExistsError:
        _require_safe(socket.parent)
    return socket


def _require_safe(directory: Path) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise _refusal(directory, "it is not a folder")
    if found.st_uid != os.geteuid():
        raise _refusal(directory, f"it belongs to user {found.st_uid}, and this is user {os.geteuid()}")
    if found.st_mode & _WRITABLE_BY_OTHERS:
        raise _refusal(directory, "others may write to it; `chmod go-w` would end that")


def _refusal(directory: Path, reason: str) -> ServerUnsuitable:
    return ServerUnsuitable(
        f"cannot keep an embedded server in {directory}: {reason}. Name another folder: embedded:///folder"
    )
