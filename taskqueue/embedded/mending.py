"""What a crash has torn is cut off before the server starts again. Part of the guard: keep it light.

A power failure may leave half a transaction, which is what a script writes, at the end of the append-only
file. The server ignores it, and keeps its first commands (Redis 7.0, Valkey 8.1): the transaction that is
written next is appended to them, and from the next start on both are read as one. So a second crash would
bring half of a lost write back, and a task would stand in no lane. The server's own tool cuts the
transaction off whole.
"""

from __future__ import annotations

import os
from pathlib import Path

_TOOL = "redis-check-aof"
"""The name under which a server's program, of Redis or Valkey, is that tool."""
_YES = b"y\n"  # it asks before it cuts


def mend(data: Path, binary: str) -> int:
    """Cut off what is unfinished at the end of the append-only file; return how many bytes it was.

    Does nothing if there is no such file. A file that cannot be mended stays as it is: the server says
    what is wrong with it.

    Args:
        data: The server's folder. No server has it open.
        binary: The server's program.
    """
    size = _size(data)
    for manifest in data.glob("appendonlydir/*.manifest"):
        _run(binary, [_TOOL, "--fix", os.fspath(manifest)])
    return size - _size(data)


def _size(data: Path) -> int:
    return sum(file.stat().st_size for file in data.glob("appendonlydir/*.aof"))


def _run(binary: str, words: list[str]) -> None:
    reading, writing = os.pipe()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.write(writing, _YES)
        os.close(writing)
        redirected = [
            (os.POSIX_SPAWN_DUP2, reading, 0),
            (os.POSIX_SPAWN_DUP2, nowhere, 1),
            (os.POSIX_SPAWN_DUP2, nowhere, 2),
        ]
        pid = os.posix_spawn(binary, words, os.environ, file_actions=redirected)
    finally:
        os.close(reading)
        os.close(nowhere)
    os.waitpid(pid, 0)
