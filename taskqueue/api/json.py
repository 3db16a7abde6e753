"""JSON at the door: strict on the way in, fast on the way out.

Python's parser takes `NaN`, infinities, `1e999` and a name twice in one object; half a surrogate
pair it lets through to fail later, where it is somebody else's trouble. None of them gets in here.
"""

from __future__ import annotations

import json
import math
import re
from functools import partial
from typing import Any, NoReturn

from pydantic_core import to_json

DEEPEST = 64
"""Containers may be nested so deep; the outermost counts as one."""

MOST_VALUES = 100_000
"""Values that one document may have, counted before any of them is made: a batch of 500 tasks has
room for 200 in each, and millions of empty objects would cost gigabytes and seconds."""

# A text, to its end or to that of the document: never a second look at the same place.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONGEST_NAME = 80


class NotJson(ValueError):
    """The body is no JSON document that is accepted; the message says why."""


dumps = partial(to_json, bytes_mode="base64", inf_nan_mode="constants")
"""Encode a value as UTF-8 JSON. Bytes, which JSON has no form for, become base64 text."""


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
        raise NotJson(f"nested deeper than {DEEPEST}") from None
    except ValueError:  # Python refuses to convert integers of more than 4,300 digits
        raise NotJson("an integer has thousands of digits") from None
    # A document with fewer brackets than that needs no walk.
    if body.count(b"[") + body.count(b"{") > DEEPEST:
        _check_depth(value)
    if _SURROGATE.search(body) is not None:
        _check_text(value)
    return value


def _marks(body: bytes) -> int:
    """Count what begins a value, but for the very first: never less than there are."""
    return body.count(b",") + body.count(b"{") + body.count(b"[")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise NotJson(f"the name {twice[:_LONGEST_NAME]!r} appears twice in one object")
    return found


def _no_constant(word: str) -> NoReturn:
    raise NotJson(f"{word} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotJson(f"the number {text[:_LONGEST_NAME]} is too large")
    return number


_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite).decode


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
    raise NotJson(f"nested deeper than {DEEPEST}")


def _check_text(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotJson("a text has half of a surrogate pair") from None
