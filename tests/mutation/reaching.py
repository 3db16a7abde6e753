"""Which lines of a script a test reaches: the statements of a marked script write into the server's log.

Only tests that reach a line can notice that it has changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.mutation.mutants import code_begins

Place = tuple[str, int]
"""A script, or a part of one, and a line of it, counted from 1."""

_MARK = "_reach"
_DEFINITION = f"""local reached_lines = {{}}
local function {_MARK}(place)
  if not reached_lines[place] then
    reached_lines[place] = true
    redis.log(redis.LOG_WARNING, "@" .. place .. "@")
  end
end
"""
_FOUND = re.compile(r"@(\w+):(\d+)@")
_NO_CODE = re.compile(r"""--[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""")
_BEGINS = re.compile(
    r"(?:local (?!function)|if |for |while |repeat$|return\b|break$|[\w.\[\]#+, ]+ = |[\w.]+\()"
)
_CONTINUES_BEFORE = re.compile(r"(?:[,(={]|\.\.|\b(?:and|or|not))$")
_CONTINUES_AFTER = re.compile(r"(?:and\b|or\b|\.\.|[+\-*/)}])")
_GOES_ON = re.compile(r"(?:else|elseif|end|until)\b|[)}]")
_POLICY = "_rank_"


class Marked:
    """A script whose statements say that they are reached.

    Args:
        name: Its file's name without the ending.
        source: Its text. A part that ranks stays as it is: it must be one statement.

    Attributes:
        source: The text with marks.
    """

    def __init__(self, name: str, source: str) -> None:
        self._first = source.count("\n", 0, code_begins(source))
        self._marks: dict[int, int] = {}
        lines = source.split("\n")
        marked = lines if name.startswith(_POLICY) else self._mark(name, lines)
        self.source = ("" if name != "_base" else _DEFINITION) + "\n".join(marked)

    def mark_of(self, line: int) -> int | None:
        """Return the marked line that is reached if *line* is; None if that is not known."""
        return self._marks.get(line)

    def _mark(self, name: str, lines: list[str]) -> list[str]:
        marked = lines[: self._first]
        depth, is_whole = 0, True
        statement = block = None
        for number, line in enumerate(lines[self._first :], self._first + 1):
            code = _NO_CODE.sub("''", line).rstrip()
            text = code.strip()
            if code and not code[0].isspace() and is_whole and _GOES_ON.match(code) is None:
                block = None
            is_start = is_whole and bool(text) and _BEGINS.match(text) is not None
            if is_start:
                statement = number
                block = block or number
                mark = f'{_MARK}("{name}:{number}") '
                indent = len(line) - len(line.lstrip())
                marked += [line[:indent] + mark + line[indent:]] if indent else [mark, line]
            else:
                marked.append(line)
            known = statement if is_start or not is_whole or _CONTINUES_AFTER.match(text) else block
            if known is not None:
                self._marks[number] = known
            if text:
                depth += sum(map(text.count, "({[")) - sum(map(text.count, ")}]"))
                is_whole = depth <= 0 and _CONTINUES_BEFORE.search(text) is None
        return marked


def places_in(log: str) -> set[Place]:
    """Return the marked lines that a log tells of."""
    return {(name, int(line)) for name, line in _FOUND.findall(log)}


class Logs:
    """What servers have written since it was asked for the last time.

    Args:
        folder: Where the folders of the servers are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}

    def more(self) -> str:
        """Return it, of all servers that run."""
        texts = []
        for path in self._folder.glob("*/server.log"):
            with path.open(errors="replace") as file:
                file.seek(self._read.get(path, 0))
                texts.append(file.read())
                self._read[path] = file.tell()
        return "".join(texts)


def marked_scripts(sources: Mapping[str, str]) -> dict[str, Marked]:
    """Return all scripts and parts with marks, by name."""
    return {name: Marked(name, source) for name, source in sources.items()}
