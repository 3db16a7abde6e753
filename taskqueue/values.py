"""Values that a queue can carry, as msgpack: payloads, results, progress, details of errors.

What goes in is None, bool, int of 64 bits, finite float, text, bytes, lists and mappings with text
keys, at most 64 deep. Everything else is refused at the door, by the path of the culprit, because
a value that fails later would fail in a worker, far from whoever made it. What comes out is plain:
tuples have become lists, mappings dicts, members of enumerations their values.

The good path is one walk over exact types and one call of msgpack, which itself finds half
surrogates and integers that are too large. Only when one of the two objects does a second, slower
walk name the culprit, or make a plain copy where nothing was wrong but the types.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgpack

from taskqueue.errors import InvalidTask, PayloadTooLarge, QueueCorrupt, shown

DEEPEST = 64
"""Containers may be nested so deep; the outermost counts as one."""

LOWEST_INT, HIGHEST_INT = -(2**63), 2**64 - 1

VALUE_RULE = "None, bool, int, float, text, bytes, a list, or a mapping with text keys"
FLOAT_RULE = "a finite number"
INT_RULE = "an integer of 64 bits, from -2**63 to 2**64 - 1"
TEXT_RULE = "text that UTF-8 can carry, without half of a surrogate pair"
KEY_RULE = "a text key"
DEPTH_RULE = f"nested at most {DEEPEST} deep"
MAPPING_RULE = "a mapping with text keys"

_LONGEST_PATH = 200


def encode_value(value: object, *, field: str, max_bytes: int) -> bytes:
    """Return *value* as msgpack.

    Args:
        value: Any value that a queue can carry (see the head of this module).
        field: What errors call it, such as `"result"`; paths inside it are added.
        max_bytes: How long the encoded value may be.

    Raises:
        InvalidTask: If something in it cannot be carried; `field` is its path.
        PayloadTooLarge: If it is longer than *max_bytes* when encoded.
    """
    try:
        plain = value if _is_plain(value, DEEPEST) else _plain_copy(value, field, DEEPEST)
        data: bytes = msgpack.packb(plain)
    except InvalidTask:
        raise
    except (OverflowError, ValueError):
        # An integer beyond 64 bits or half a surrogate pair: the walk raises with its path.
        data = msgpack.packb(_plain_copy(value, field, DEEPEST))
    if len(data) > max_bytes:
        raise PayloadTooLarge(len(data), max_bytes, field)
    return data


def encode_payload(payload: object, max_bytes: int) -> bytes:
    """Return *payload* as msgpack, if it is a mapping.

    Raises:
        InvalidTask: If it is no mapping, or holds what cannot be carried; `field` is the path of
            the culprit, such as `"payload.items[3].name"`.
        PayloadTooLarge: If it is longer than *max_bytes* when encoded.
    """
    if type(payload) is not dict and not isinstance(payload, Mapping):
        raise InvalidTask("payload", payload, MAPPING_RULE)
    return encode_value(payload, field="payload", max_bytes=max_bytes)


def canonical(value: object) -> bytes:
    """Return *value* as msgpack with the keys of every mapping in order.

    Two values that are equal but for the order of their keys give the same bytes.

    Args:
        value: Something that `decode_value` returned, or as plain as that.
    """
    data: bytes = msgpack.packb(_sorted(value))
    return data


def decode_value(data: bytes) -> Any:
    """Return the value that `encode_value` made *data* of.

    Raises:
        QueueCorrupt: If *data* is not one whole msgpack value of the kinds that we write. Not looked
            for, because each claim would pay for a walk: infinities, keys that are bytes, and more than
            64 levels (more than 1,000 are refused).
    """
    try:
        return msgpack.unpackb(
            data, raw=False, strict_map_key=True, use_list=True, max_ext_len=0, ext_hook=_refuse
        )
    except (ValueError, TypeError, RecursionError) as problem:
        # All errors of msgpack are ValueErrors; TypeError is a key that cannot be hashed.
        raise QueueCorrupt(
            f"{shown(bytes(data[:32]))} … is no value that this package writes: {problem}"
        ) from problem


def _refuse(code: int, _data: bytes) -> Any:
    raise ValueError(f"extension type {code}")


_ALWAYS_PLAIN = frozenset({str, int, bool, bytes, type(None)})


def _is_plain(value: object, room: int) -> bool:
    """Whether msgpack can have *value* as it is; text and integers it checks by itself."""
    kind = type(value)
    if kind is dict:
        return _is_plain_dict(value, room)  # type: ignore[arg-type]
    if kind is list or kind is tuple:
        return _is_plain_list(value, room)  # type: ignore[arg-type]
    if kind is float:
        return math.isfinite(value)  # type: ignore[arg-type]
    return kind in _ALWAYS_PLAIN


def _is_plain_dict(value: dict[Any, Any], room: int) -> bool:
    if not room:
        return False
    for key, item in value.items():
        if type(key) is not str:
            return False
        if type(item) not in _ALWAYS_PLAIN and not _is_plain(item, room - 1):
            return False
    return True


def _is_plain_list(value: list[Any] | tuple[Any, ...], room: int) -> bool:
    if not room:
        return False
    return all(type(item) in _ALWAYS_PLAIN or _is_plain(item, room - 1) for item in value)


def _plain_copy(value: object, path: str, room: int) -> Any:
    """Return *value* made of exact built-in types, or raise for the first thing that cannot be."""
    # msgpack's extension type is a tuple too, but one that no other program could read.
    if not isinstance(value, Mapping | list | tuple) or isinstance(value, msgpack.ExtType):
        return _plain_scalar(value, path)
    if not room:
        raise InvalidTask(path, value, DEPTH_RULE)
    if isinstance(value, Mapping):
        return _plain_dict(value, path, room)
    return [_plain_copy(item, f"{path}[{place}]", room - 1) for place, item in enumerate(value)]


def _plain_scalar(value: object, path: str) -> bool | int | float | str | bytes | None:
    match value:
        case None | bool():
            return value
        case str():
            return _plain_text(value, path, TEXT_RULE)
        case int():
            if not LOWEST_INT <= value <= HIGHEST_INT:
                raise InvalidTask(path, value, INT_RULE)
            return int(value)
        case float():
            if not math.isfinite(value):
                raise InvalidTask(path, value, FLOAT_RULE)
            return float(value)
        case bytes():
            return bytes(value)
        case _:
            raise InvalidTask(path, value, VALUE_RULE)


def _plain_dict(value: Mapping[Any, Any], path: str, room: int) -> dict[str, Any]:
    plain = {}
    for key, item in value.items():
        inner = _inner_path(path, key)
        plain[_plain_text(key, inner, KEY_RULE)] = _plain_copy(item, inner, room - 1)
    return plain


def _plain_text(value: object, path: str, rule: str) -> str:
    if not isinstance(value, str):
        raise InvalidTask(path, value, rule)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidTask(path, value, TEXT_RULE) from None
    # The member of a text enumeration would else stay what it is.
    return str.__str__(value)


def _inner_path(path: str, key: object) -> str:
    """Return where *key* leads from *path*; a path that grew very long keeps its end."""
    simple = isinstance(key, str) and key.isidentifier() and len(key) < _LONGEST_PATH
    inner = f"{path}.{key}" if simple else f"{path}[{shown(key)}]"
    return inner if len(inner) <= _LONGEST_PATH else f"…{inner[-_LONGEST_PATH:]}"


def _sorted(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {key: _sorted(value[key]) for key in sorted(value)}
    if kind is list:
        return [_sorted(item) for item in value]
    return value
