"""JSON as the standard has it, at every door: bodies of requests, files of the command line.

Python's parser takes `NaN`, infinities, `1e999` and a name twice in one object; half a surrogate
pair it lets through to fail later, where it is somebody else's trouble. None of them gets in here,
and a task never depends on which of two values was kept.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

DEEPEST = 64
"""Containers may be nested so deep; the outermost counts as one."""

MOST_VALUES = 100_000
"""Values that one body may have, counted before any of them is made: a batch of 500 tasks has
room for 200 in each, and millions of empty objects would cost gigabytes and seconds."""

SPACE = " \t\r\n"
"""White space between JSON values."""

# A text, to its end or to that of the document: never a second look at the same place.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE_IN_TEXT = re.compile(_SURROGATE.pattern.decode())
_LONGEST_NAME = 80
_LONGEST_REST = 40
_EXACT = 2**53


class NotJson(ValueError):
    """There is no JSON value that is accepted; the message says why, `line` where (from 1, in the text)."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


def loads(body: bytes) -> Any:
    """Return the one JSON value that *body* holds.

    Raises:
        NotJson: If it holds none or more than one, is no UTF-8, is nested deeper than 64, has a
            name twice in one object, a number that is not finite, half a surrogate pair, or more
            than 100,000 values.
    """
    if _marks(body) > MOST_VALUES and _marks(_TEXT.sub(b"", body)) > MOST_VALUES:
        raise NotJson(f"more than {MOST_VALUES:,} values")
    try:
        value = _decode(body.decode())
    except NotJson:
        raise
    except json.JSONDecodeError as error:
        raise NotJson(f"not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise NotJson(f"not valid UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise _too_many_digits() from None
    # A document with fewer brackets than that needs no walk.
    if body.count(b"[") + body.count(b"{") > DEEPEST:
        _check_depth(value)
    if _SURROGATE.search(body) is not None:
        _check_text(value)
    return value


def parse(text: str) -> Any:
    """Return the one JSON value that *text* holds.

    Raises:
        NotJson: If it holds none that `loads()` would take, or more than one; it may have any number
            of values.
    """
    value, end = parse_at(text, len(text) - len(text.lstrip(SPACE)))
    rest = text[end:].strip(SPACE)
    if rest:
        raise NotJson(f"not JSON: more text after the end of the document: {rest[:_LONGEST_REST]!r}")
    return value


def parse_at(text: str, start: int, before: int = 0) -> tuple[Any, int]:
    """Return the JSON value that begins at *start*, and the position after it.

    Args:
        text: What holds it.
        start: Where it begins.
        before: Characters of the text's first line that are not in it, for the column of an error.

    Raises:
        NotJson: As `parse()`.
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
    except NotJson:
        raise
    except json.JSONDecodeError as error:
        line = 1 + text.count("\n", start, error.pos)
        line_break = text.rfind("\n", 0, error.pos)
        column = error.pos - line_break if line_break >= 0 else before + error.pos + 1
        raise NotJson(f"not JSON: {error.msg} at column {column}", line) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise _too_many_digits() from None
    if text.count("[", start, end) + text.count("{", start, end) > DEEPEST:
        _check_depth(value)
    if _SURROGATE_IN_TEXT.search(text, start, end) is not None:
        _check_text(value)
    return value, end


def _marks(body: bytes) -> int:
    """Count what begins a value, but for the very first: never less than there are."""
    return body.count(b",") + body.count(b"{") + body.count(b"[")


def _too_deep() -> NotJson:
    return NotJson(f"nested deeper than {DEEPEST}")


def _too_many_digits() -> NotJson:
    # Python refuses to convert integers of more than 4,300 digits.
    return NotJson("an integer has thousands of digits")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise NotJson(f"the name {twice[:_LONGEST_NAME]!r} appears twice in one object")
    return found


def _no_constant(word: str) -> NoReturn:
    raise NotJson(f"{word} is not a JSON number")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotJson(f"the number {text[:_LONGEST_NAME]} is too large")
    # JSON has one kind of number, and JSON Schema takes 5.0 for an integer.
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_number)
_decode = _DECODER.decode


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for each in level:
            if type(each) is dict:
                inner.extend(item for item in each.values() if type(item) in {dict, list})
            elif type(each) is list:
                inner.extend(item for item in each if type(item) in {dict, list})
        if not inner:
            return
        level = inner
    raise _too_deep()


def _check_text(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotJson("a text has half of a surrogate pair") from None
