"""Which globals a piece of Lua uses, by its bytecode: exact, on every path, without running it.

Lua compiles each use of a global to GETGLOBAL or SETGLOBAL with the name as a constant. The layout
of a dumped function is that of Lua 5.1, the version that servers embed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

_GETGLOBAL, _SETGLOBAL = 5, 7
_HEADER = b"\x1bLua\x51\x00\x01\x04\x08\x04\x08\x00"


@dataclass
class Globals:
    """Names of globals that are read, and of those that are written."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)


def lua_runtime() -> Any:
    """Return a fresh Lua 5.1."""
    return import_module("lupa.lua51").LuaRuntime(encoding=None, unpack_returned_tuples=True)


def compiled(source: str) -> bytes:
    """Return the bytecode of a script; an error in its syntax fails here."""
    lua = lua_runtime()
    chunk, problem = lua.eval(b"function(text) return loadstring(text) end")(source.encode()), None
    if isinstance(chunk, tuple):
        chunk, problem = chunk
    assert chunk is not None, problem
    dumped: bytes = lua.eval(b"string.dump")(chunk)
    return dumped


def globals_of(source: str) -> Globals:
    """Return the globals of a script, those of its inner functions included."""
    data = compiled(source)
    assert data.startswith(_HEADER), f"bytecode of another machine: {data[:12]!r}"
    found = Globals()
    _Reader(data, len(_HEADER)).function(found)
    return found


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def function(self, found: Globals) -> None:
        self._text()
        self._skip(4 + 4 + 4)
        code = [self._integer() for _ in range(self._integer())]
        constants = [self._constant() for _ in range(self._integer())]
        for instruction in code:
            operation, index = instruction & 0x3F, instruction >> 14
            if operation == _GETGLOBAL:
                found.read.add(str(constants[index]))
            elif operation == _SETGLOBAL:
                found.written.add(str(constants[index]))
        for _ in range(self._integer()):
            self.function(found)
        self._skip(4 * self._integer())
        for _ in range(self._integer()):
            self._text()
            self._skip(8)
        for _ in range(self._integer()):
            self._text()

    def _constant(self) -> object:
        kind = self._data[self._at]
        self._at += 1
        match kind:
            case 0:
                return None
            case 1:
                self._at += 1
                return self._data[self._at - 1] != 0
            case 3:
                self._at += 8
                return struct.unpack_from("<d", self._data, self._at - 8)[0]
            case _:
                return self._text()

    def _integer(self) -> int:
        self._at += 4
        value: int = struct.unpack_from("<I", self._data, self._at - 4)[0]
        return value

    def _text(self) -> str:
        (size,) = struct.unpack_from("<Q", self._data, self._at)
        text = self._data[self._at + 8 : self._at + 8 + size]
        self._at += 8 + size
        return text.rstrip(b"\0").decode("latin-1")

    def _skip(self, size: int) -> None:
        self._at += size
