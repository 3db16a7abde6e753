"""A script as a function of the server: what it defines is made once, when the server loads it.

A script that is sent by EVALSHA runs from its first line to its last at every call, and so makes each of
its local functions anew: for `claim` that was half of its time (docs/performance.md). The server keeps a
library, with its functions and variables, from call to call. So a script is taken apart here into

- its local functions, and constants made of literals: defined once, when the library is loaded;
- its other variables: declared once, and given their first values at the beginning of every call;
- everything else: run at every call, in the order of the script, one piece for each part of it.

That keeps its meaning as long as no two variables of the outermost level share a name, and no call leaves
anything behind that the next one would read before it was set, but for what it would make just so (the keys
of a prefix): both are what the rules of the house say (every file begins its statements in the first column),
and the first is checked here. tests/lua/
test_functions.py runs the same work through both forms and compares what they leave.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha1
from typing import Final

POLICY: Final = "policy"
"""The part that ranks lanes: it defines one variable of this name."""

_NAMES_A_LINE: Final = 20
_REMEMBERED: Final = 256

_CONTINUES = re.compile(r"\s|(?:end|else|elseif|until)\b|[})\]]")
_FUNCTION = re.compile(r"local function (?P<name>\w+)")
_LOCAL = re.compile(r"local (?P<names>\w+(?:, \w+)*)(?P<value> =)?")
_CONSTANT = re.compile(r"[A-Z][A-Z0-9_]*")
_LITERAL = re.compile(
    r"""(?:"(?:\\.|[^"\\])*"|[-0-9.*{},=\s]|\.\.|\b[a-zA-Z_]\w*(?= =)|true|false)*""", re.DOTALL
)
_FLAGS = re.compile(r"flags=(?P<flags>[a-z,-]+)")


class FunctionError(TypeError):
    """A script cannot be made a function as it is written: a mistake in this package, not a user's."""


@dataclass(frozen=True, slots=True)
class Library:
    """A script as the server loads it with FUNCTION LOAD.

    Attributes:
        name: Of the library and of its one function: that of the script, and a digest of the code, so that
            versions of this package stand side by side.
        code: What the server loads.
    """

    name: str
    code: str = field(repr=False)


@lru_cache(maxsize=_REMEMBERED)
def library(name: str, shebang: str, parts: tuple[tuple[str, str], ...]) -> Library:
    """Return a script as a library; made once for each source, because every queue object asks for it.

    Args:
        name: Of the script.
        shebang: Its first line, whose flags hold for the function too.
        parts: Names and sources of what it is made of, in order.

    Raises:
        FunctionError: If two of its variables share a name.
    """
    names: list[str] = []
    definitions: list[str] = []
    pieces: list[str] = []
    for part, source in parts:
        piece: list[str] = []
        statements = _statements(source)
        if part == POLICY and not (len(statements) == 1 and statements[0].startswith(f"local {POLICY} =")):
            # Perhaps a user's, written as its author liked.
            names.append(POLICY)
            statements = [f"{POLICY} = (function()\n{source}\nreturn {POLICY}\nend)()"]
        for statement in statements:
            _sort(statement, names, definitions, piece)
        if piece:
            pieces.append(f"pieces[{len(pieces) + 1}] = function() -- {part}\n" + "\n".join(piece) + "\nend")
    if len(set(names)) < len(names):
        twice = sorted({each for each in names if names.count(each) > 1})
        raise FunctionError(f"{name}: declared twice in its parts: {', '.join(twice)}")
    # Lua allows 200 local variables: the pieces share one.
    body = "\n".join([*_declarations(names), *definitions, "local pieces = {}", *pieces])
    flags = _FLAGS.search(shebang)
    told = ", ".join(f"'{flag}'" for flag in flags["flags"].split(",")) if flags else ""
    digest = sha1((body + told).encode(), usedforsecurity=False).hexdigest()
    title = f"tq_{name}_{digest[:16]}"
    return Library(title, f"#!lua name={title}\n{body}\n{_registration(title, len(pieces), told)}")


def _statements(source: str) -> list[str]:
    """Return the outermost statements of a source, comments between them left out."""
    found: list[list[str]] = []
    for line in source.split("\n"):
        if not line.strip() or line.startswith("--"):
            continue
        if not found or _CONTINUES.match(line) is None:
            found.append([])
        found[-1].append(line)
    return ["\n".join(lines) for lines in found]


def _sort(statement: str, names: list[str], definitions: list[str], piece: list[str]) -> None:
    """Put a statement where it belongs: among what is defined once, or what is run at every call."""
    function = _FUNCTION.match(statement)
    if function is not None:
        names.append(function["name"])
        definitions.append(statement.removeprefix("local "))
        return
    variables = _LOCAL.match(statement)
    if variables is None:
        piece.append(statement)
        return
    declared = variables["names"].split(", ")
    names += declared
    if variables["value"] is None:
        piece.append(f"{', '.join(declared)} = nil")
        return
    value = statement[variables.end() :]
    is_constant = all(_CONSTANT.fullmatch(each) for each in declared) and _LITERAL.fullmatch(value)
    (definitions if is_constant else piece).append(statement.removeprefix("local "))


def _declarations(names: Sequence[str]) -> list[str]:
    starts = range(0, len(names), _NAMES_A_LINE)
    return ["local KEYS, ARGV", *(f"local {', '.join(names[at : at + _NAMES_A_LINE])}" for at in starts)]


def _registration(title: str, pieces: int, flags: str) -> str:
    run = " or ".join(f"pieces[{number}]()" for number in range(1, pieces + 1))
    return (
        f"redis.register_function{{\n  function_name = '{title}',\n  flags = {{ {flags} }},\n"
        f"  callback = function(keys_given, arguments)\n    KEYS, ARGV = keys_given, arguments\n"
        f"    return {run}\n  end,\n}}\n"
    )
