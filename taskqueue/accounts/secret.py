"""The secret of a process: what digests of API keys are made with, and never on the server.

It comes from the settings, so that all processes of a service have the same. A queue with an
embedded server needs none there: its secret is a file beside the server's data, which lives on
one machine as the server does, and is made on first use.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from taskqueue.accounts.apikeys import SHORTEST_SECRET
from taskqueue.embedded.folders import prepare
from taskqueue.embedded.layout import Layout
from taskqueue.errors import InvalidSetting, ServerUnsuitable

_RULE: Final = (
    "64 hexadecimal digits, as `openssl rand -hex 32` prints them, or 43 to 1,024 other random characters"
)

_FILE: Final = "secret"
_SETTING: Final = "TASKQUEUE_SECRET"
_HEX: Final = re.compile(r"[0-9A-Fa-f]*")
_HEX_LENGTH: Final = 2 * SHORTEST_SECRET
_SHORTEST_TEXT: Final = 43  # 256 bits in base64
_LONGEST_TEXT: Final = 1024
_FEWEST_LETTERS: Final = 8  # random text has more; a row of x that waits to be replaced has not
_READ_BY_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def load_secret(given: str | None = None, *, folder: Path | None = None) -> bytes:
    """Return the secret of this process, at least 32 bytes.

    Args:
        given: The setting `TASKQUEUE_SECRET`: 64 hexadecimal digits, or other random text of 43 to
            1,024 characters. None or empty takes the file.
        folder: Folder of the embedded server; None for a server of another kind, which processes
            on several machines may share, so that each of them must be given the secret. The file
            `secret` in it, readable by its owner only, is made if it is not there; of several
            processes that make it at once, all get the same.

    Raises:
        InvalidSetting: If nothing is given and there is no folder, or what is given is too short or
            no random text. It is not shown.
        ServerUnsuitable: If the file cannot be made or read, or others may read it.
    """
    if given:
        return _parsed(given, _SETTING)
    if folder is None:
        raise InvalidSetting(_SETTING, None, f"given where the server is not an embedded one: {_RULE}")
    prepare(Layout(folder))
    path = folder / _FILE
    try:
        if not path.exists():
            _make(path)
        return _parsed(_read(path), str(path))
    except OSError as error:
        raise _refusal(path, error.strerror or str(error)) from error


def _parsed(text: str, setting: str) -> bytes:
    text = text.strip()
    is_hex = _HEX.fullmatch(text) is not None
    shortest = _HEX_LENGTH if is_hex else _SHORTEST_TEXT
    if (
        not shortest <= len(text) <= _LONGEST_TEXT
        or len(set(text)) < _FEWEST_LETTERS
        or not text.isprintable()
    ):
        raise InvalidSetting(setting, "***", _RULE)
    return bytes.fromhex(text) if is_hex and len(text) == _HEX_LENGTH else text.encode()


def _make(path: Path) -> None:
    """Write a new secret, whole or not at all; if somebody else is faster, theirs stays."""
    own = path.with_name(f"{_FILE}.{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(SHORTEST_SECRET) + "\n")
            file.flush()
            os.fsync(descriptor)
        # A link, unlike a rename, does not replace what is there.
        with contextlib.suppress(FileExistsError):
            os.link(own, path)
    finally:
        own.unlink()


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, errors="replace") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _refusal(path, "it is not a file")
        if found.st_uid != os.geteuid():
            raise _refusal(path, f"it belongs to user {found.st_uid}, and this is user {os.geteuid()}")
        if found.st_mode & _READ_BY_OTHERS:
            raise _refusal(path, "others may read it; `chmod 600` ends that, and a new secret is safer")
        return file.read(_LONGEST_TEXT + 2)


def _refusal(path: Path, reason: str) -> ServerUnsuitable:
    return ServerUnsuitable(f"cannot keep the secret of API keys in {path}: {reason}. Or set {_SETTING}")
