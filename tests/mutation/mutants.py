"""Small changes to a Lua script, each of which a test ought to notice.

| kind | what is changed |
|---|---|
| drop | a statement that stands on one line is left out |
| flip | a comparison says the opposite, `and` becomes `or` |
| edge | a comparison includes its bound, or no longer does |
| sign | a number that is added is subtracted |
| name | a piece of a key, or a field of a hash, is another one |

Comments and headers are left alone, and so are names of commands: a server that does not know a command
says so, whatever is tested. So are declarations of locals: without one the next line fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<comment>--\[\[.*?\]\]|--[^\n]*)
  | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
  | (?P<operator>==|~=|<=|>=|<|>)
  | (?P<word>\b(?:and|or)\b)
  | (?P<sum>(?<=[\w\])])\ [+-]\ (?=[\w(\#]))
    """,
    re.VERBOSE | re.DOTALL,
)
_FLIPPED = {"==": "~=", "~=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "and": "or", "or": "and"}
_EDGES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_SIGNS = {" + ": " - ", " - ": " + "}
_COMMAND = re.compile(r"[A-Z]+")
_KEPT_LINES = (
    "local ",
    "function ",
    "for ",
    "while ",
    "repeat",
    "until ",
    "if ",
    "elseif ",
    "else",
    "end",
    "--",
    "}",
    ")",
)
_STATEMENT = re.compile(r"(?:[\w.\[\]\"#:+, ]+ = .+|[\w.]+\(.*\)|return\b.*|break)$")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change.

    Attributes:
        kind: What sort of change.
        line: Where, counted from 1.
        before: The line as it was, without its indentation.
        after: The line as it is, likewise; "" if it was left out.
        source: The whole script, changed.
    """

    kind: str
    line: int
    before: str
    after: str
    source: str


def mutants_of(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a script, from the first line to the last."""
    begin = code_begins(source)
    found = [*_dropped(source, begin), *_replaced(source, begin)]
    yield from sorted(found, key=lambda mutant: (mutant.line, mutant.kind, mutant.after))


def code_begins(source: str) -> int:
    """Return where the header ends, if there is one."""
    return source.index("\n]]\n") + 4 if source.startswith("#!") else 0


def _dropped(source: str, begin: int) -> Iterator[Mutant]:
    lines = source.splitlines(keepends=True)
    at = 0
    for number, line in enumerate(lines, 1):
        text = line.strip()
        is_code = at >= begin and text and not text.startswith(_KEPT_LINES)
        if is_code and _is_whole(text) and _STATEMENT.match(text):
            rest = "".join(lines[: number - 1]) + "\n" + "".join(lines[number:])
            yield Mutant("drop", number, text, "", rest)
        at += len(line)


def _is_whole(text: str) -> bool:
    """Whether a line begins and ends its statement."""
    closed = all(text.count(left) == text.count(right) for left, right in ("()", "{}", "[]"))
    return closed and not text.endswith((",", "=", "..", " and", " or", "function()"))


def _replaced(source: str, begin: int) -> Iterator[Mutant]:
    for token in _TOKEN.finditer(source, begin):
        kind, text = token.lastgroup, token.group()
        match kind:
            case "operator":
                yield _with(source, token, "flip", _FLIPPED[text])
                if text in _EDGES:
                    yield _with(source, token, "edge", _EDGES[text])
            case "word":
                yield _with(source, token, "flip", _FLIPPED[text])
            case "sum":
                yield _with(source, token, "sign", _SIGNS[text])
            case "string" if len(text) > 2 and not _COMMAND.fullmatch(text[1:-1]):
                yield _with(source, token, "name", f"{text[:-1]}~{text[-1]}")
            case _:
                pass


def _with(source: str, token: re.Match[str], kind: str, text: str) -> Mutant:
    changed = source[: token.start()] + text + source[token.end() :]
    line = source.count("\n", 0, token.start())
    return Mutant(kind, line + 1, _line(source, line), _line(changed, line), changed)


def _line(source: str, number: int) -> str:
    return source.split("\n")[number].strip()
