"""Lua scripts on disk become callables by keyword.

A script's header *is* its signature: the names under KEYS and ARGV are the keyword arguments of
`Script.arguments`, in that order, and a call with other names is refused. A name that ends in
`...` takes a sequence and stands last. `-- include: a b` joins `_a.lua`, `_b.lua` in that place;
`policy` stands for the queue's policy. tests/lua checks that headers tell the truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import sha1
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from taskqueue.functions import Library, library

_HEADER = re.compile(r"\A(?P<shebang>#!lua[^\n]*)\n--\[\[\n(?P<header>.*?)\n\]\]\n(?P<body>.*)\Z", re.DOTALL)
_INCLUDE = re.compile(r"^-- include: (?P<names>[a-z_ ]+)$", re.MULTILINE)
_PARAMETER = re.compile(r"^  (?P<name>[a-z_]+)(?P<variadic>\.\.\.)?\s+(?P<kind>[a-z]+)\s", re.MULTILINE)
_SECTION = re.compile(r"^(KEYS|ARGV|RETURNS|MOVES|COST)\n", re.MULTILINE)

AS_FUNCTIONS = frozenset({"claim", "complete", "enqueue"})
"""Scripts that are functions too, where the server takes any; see `taskqueue.functions`."""

SECTIONS = ("KEYS", "ARGV", "RETURNS", "MOVES", "COST")


class ScriptError(TypeError):
    """A script's file or a call of it is wrong: a mistake in this package, not a user's."""


Layout = tuple[tuple[str, ...], str]
"""Names of single values, then the name of the sequence behind them, or ""."""


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua script and the argument names that its header declares.

    Attributes:
        name: File name without its ending.
        source: What the server runs: shebang, includes and body.
        sha: SHA-1 of the source, as EVALSHA wants it.
        keys: Names under KEYS; a trailing `...` marks a sequence.
        argv: Names under ARGV; likewise.
        sections: The header by section, for documentation and its tests.
        library: The same as a function of the server, for scripts that are called all the time.
        layout: `keys` and `argv`, read once: the single names, and the name of the sequence at the end.
    """

    name: str
    source: str = field(repr=False)
    sha: str
    keys: tuple[str, ...]
    argv: tuple[str, ...]
    sections: Mapping[str, str] = field(repr=False)
    layout: tuple[Layout, Layout] = field(repr=False)
    library: Library | None = field(repr=False)

    def arguments(self, **named: Any) -> list[Any]:
        """Return what follows the SHA in EVALSHA: the number of keys, the keys, the arguments."""
        if len(named) != len(self.keys) + len(self.argv):
            raise self._refusal(named)
        try:
            keys = _flatten(self.layout[0], named)
            return [len(keys), *keys, *_flatten(self.layout[1], named)]
        except KeyError:
            raise self._refusal(named) from None

    def _refusal(self, named: Mapping[str, Any]) -> ScriptError:
        wanted = sorted(name.removesuffix("...") for name in (*self.keys, *self.argv))
        return ScriptError(f"{self.name}.lua takes {wanted}, got {sorted(named)}")


def _flatten(names: Layout, named: Mapping[str, Any]) -> list[Any]:
    single, many = names
    values = [named[name] for name in single]
    if many:
        values.extend(named[many])
    return values


def _layout(names: tuple[str, ...]) -> Layout:
    if names and names[-1].endswith("..."):
        return names[:-1], names[-1].removesuffix("...")
    return names, ""


@cache
def _read_all() -> Mapping[str, str]:
    """Return the text of every script and of every part, by its file's name without the ending."""
    entries = (files("taskqueue") / "lua").iterdir()
    return {entry.name[:-4]: entry.read_text("utf-8") for entry in entries if entry.name.endswith(".lua")}


def _read(name: str) -> str:
    return _read_all()[name]


def script_names() -> list[str]:
    """Return the names of all scripts, without the parts that they include."""
    return sorted(name for name in _read_all() if not name.startswith("_"))


def load(name: str, policy: str, *, shebang: bool = True) -> Script:
    """Load the script *name* with the Lua source of the queue's *policy*.

    Args:
        name: File name without its ending.
        policy: Lua source that defines `local policy = { virtual = ..., rank = function ... }`.
        shebang: False leaves the `#!lua` line out, for a server that does not know it.

    Raises:
        ScriptError: The file does not have the shape that the module's docstring describes.
    """
    parsed = _HEADER.match(_read(name))
    if parsed is None:
        raise ScriptError(f"{name}.lua must open with a #!lua line and a --[[ header ]]")
    sections = _split_sections(name, parsed["header"])

    parts = _parts(name, parsed["body"], policy)
    body = "\n".join(source for _, source in parts)
    keys, argv = _parameters(sections["KEYS"]), _parameters(sections["ARGV"])
    # The name tells SLOWLOG and MONITOR readers which script they see.
    source = (f"{parsed['shebang']}\n" if shebang else "") + f"-- {name}\n{body}"
    return Script(
        name=name,
        source=source,
        sha=sha1(source.encode(), usedforsecurity=False).hexdigest(),
        keys=keys,
        argv=argv,
        sections=MappingProxyType(sections),
        layout=(_layout(keys), _layout(argv)),
        library=library(name, parsed["shebang"], tuple(parts)) if shebang and name in AS_FUNCTIONS else None,
    )


def _parts(name: str, body: str, policy: str) -> list[tuple[str, str]]:
    """Return names and sources of what a script is made of, in order."""
    parts: list[tuple[str, str]] = []
    pieces = _INCLUDE.split(body)
    for own, included in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        if own.strip():
            parts.append((name, own.strip("\n")))
        parts += [(part, policy if part == "policy" else _read(f"_{part}")) for part in included.split()]
    return parts


def _split_sections(name: str, header: str) -> dict[str, str]:
    pieces = _SECTION.split(header)
    sections = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    if tuple(sections) != SECTIONS or not pieces[0].startswith(f"{name}: "):
        raise ScriptError(f"{name}.lua: the header must be '{name}: ...', then {', '.join(SECTIONS)}")
    return {"PURPOSE": pieces[0].strip(), **sections}


def _parameters(section: str) -> tuple[str, ...]:
    return tuple(found["name"] + (found["variadic"] or "") for found in _PARAMETER.finditer(section))


class ScriptSet:
    """The scripts of a queue for its policy, each put together when it is first asked for.

    Their files are all read at once: what is installed while a process runs must not change what it does.

    Args:
        policy: Lua source, as for `load`.
        shebang: As for `load`.
        names: Which scripts; None takes all.
    """

    def __init__(self, policy: str, *, shebang: bool = True, names: Iterable[str] | None = None) -> None:
        self._names = tuple(script_names() if names is None else names)
        self._load = partial(load, policy=policy, shebang=shebang)
        self._loaded: dict[str, Script] = {}
        _read_all()

    def __getitem__(self, name: str) -> Script:
        script = self._loaded.get(name)
        if script is None:
            if name not in self._names:
                raise KeyError(name)
            script = self._loaded[name] = self._load(name)
        return script

    def __iter__(self) -> Iterator[Script]:
        return map(self.__getitem__, self._names)
