"""JSON as the standard has it: no NaN, no infinities, and no name twice in one object.

Python's parser takes all three, and a task must not depend on which of two values was kept.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

SPACE = " \t\r\n"
"""White space between JSON values."""


class NotJson(ValueError):
    """The text is no JSON document; the message says why, `line` where (from 1, in the text)."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> Any:
    """Return the one JSON value that *text* holds.

    Raises:
        NotJson: If it holds none, or more than one.
    """
    value, end = parse_at(text, len(text) - len(text.lstrip(SPACE)))
    rest = text[end:].strip(SPACE)
    if rest:
        raise NotJson(f"not JSON: more text after the end of the document: {rest[:40]!r}")
    return value


def parse_at(text: str, start: int) -> tuple[Any, int]:
    """Return the JSON value that begins at *start*, and the position after it.

    Raises:
        NotJson: If there is none.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        line = 1 + text.count("\n", start, error.pos)
        column = error.pos - max(text.rfind("\n", 0, error.pos), -1)
        raise NotJson(f"not JSON: {error.msg} at column {column}", line) from error
    except RecursionError as error:
        raise NotJson("not JSON that can be read: nested too deeply") from error
    except NotJson:
        raise
    except ValueError as error:  # Python refuses to convert integers of more than 4,300 digits
        raise NotJson("not JSON that can be read: an integer with thousands of digits") from error


def _no_constant(word: str) -> NoReturn:
    raise NotJson(f"not JSON: {word} is no JSON number")


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise NotJson(f"the name {twice!r} appears twice in one object")
    return found


_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_name_twice)
