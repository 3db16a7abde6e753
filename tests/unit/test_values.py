"""Values: what a payload or a result may hold, what is refused and where, and what comes back."""

from __future__ import annotations

import math
from collections import OrderedDict, namedtuple
from decimal import Decimal
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.errors import InvalidTask, PayloadTooLarge, QueueCorrupt
from taskqueue.values import DEEPEST, canonical, decode_value, encode_payload, encode_value

MIB = 2**20

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=30)


class Country(StrEnum):
    """A text that is more than a text."""

    PORTUGAL = "PT"


class Stars(IntEnum):
    """A number that is more than a number."""

    FIVE = 5


Point = namedtuple("Point", "x y")  # noqa: PYI024 - an untyped one is what users hand in too


def nested(depth: int, leaf: object = 1) -> Any:
    """Return *leaf* inside *depth* lists."""
    for _ in range(depth):
        leaf = [leaf]
    return leaf


@given(values)
def test_a_value_comes_back_as_it_was(value: object) -> None:
    """Any value that a queue can carry is encoded and decoded."""
    assert decode_value(encode_value(value, field="result", max_bytes=MIB)) == value


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ((1, 2), [1, 2]),
        (Point(1, 2), [1, 2]),
        (Country.PORTUGAL, "PT"),
        ({Country.PORTUGAL: Stars.FIVE}, {"PT": 5}),
        (MappingProxyType({"a": (True, None)}), {"a": [True, None]}),
        (OrderedDict(a=b"raw"), {"a": b"raw"}),
        ({"edge": [2**64 - 1, -(2**63)]}, {"edge": [2**64 - 1, -(2**63)]}),
    ],
)
def test_special_kinds_of_the_same_things_become_plain(given: object, stored: object) -> None:
    """Tuples, enumerations and other mappings are carried as lists, their values and dicts."""
    found = decode_value(encode_value(given, field="payload", max_bytes=MIB))

    assert found == stored
    assert type(found) is type(stored)


@pytest.mark.parametrize(
    ("payload", "field", "value"),
    [
        ({"score": math.nan}, "payload.score", math.nan),
        ({"score": [1.0, -math.inf]}, "payload.score[1]", -math.inf),
        ({"items": [{}, {}, {}, {"name": "\ud800"}]}, "payload.items[3].name", "\ud800"),
        ({"a": {5: "x"}}, "payload.a[5]", 5),
        ({b"raw": 1}, "payload[b'raw']", b"raw"),
        ({None: 1}, "payload[None]", None),
        ({"\udfff": 1}, "payload['\\udfff']", "\udfff"),
        ({"odd key": {"n": 2**64}}, "payload['odd key'].n", 2**64),
        ({"n": -(2**63) - 1}, "payload.n", -(2**63) - 1),
        ({"when": Decimal(1)}, "payload.when", Decimal(1)),
        ({"tags": {"a"}}, "payload.tags", {"a"}),
        ({"ext": msgpack.ExtType(1, b"x")}, "payload.ext", msgpack.ExtType(1, b"x")),
        ({"raw": bytearray(b"x")}, "payload.raw", bytearray(b"x")),
    ],
)
def test_what_cannot_be_carried_is_refused_by_its_path(payload: Any, field: str, value: object) -> None:
    """One culprit deep inside a payload is named, with its path and its value."""
    with pytest.raises(InvalidTask) as refusal:
        encode_payload(payload, MIB)

    assert refusal.value.field == field
    assert repr(refusal.value.value) == repr(value)
    str(refusal.value).encode()


@pytest.mark.parametrize("payload", [None, 5, "text", [("a", 1)], {"a"}, object()])
def test_a_payload_must_be_a_mapping(payload: object) -> None:
    """Anything else is refused as a whole."""
    with pytest.raises(InvalidTask, match="mapping with text keys") as refusal:
        encode_payload(payload, MIB)

    assert refusal.value.field == "payload"


def test_containers_may_be_nested_64_deep_and_no_deeper() -> None:
    """The outermost container counts as one."""
    assert decode_value(encode_value(nested(DEEPEST), field="result", max_bytes=MIB)) == nested(DEEPEST)

    for too_deep in (nested(DEEPEST + 1), {"a": nested(DEEPEST)}, nested(100_000)):
        with pytest.raises(InvalidTask, match="nested at most 64 deep"):
            encode_value(too_deep, field="result", max_bytes=MIB)


def test_a_value_that_contains_itself_is_refused() -> None:
    """It has no end, so it is too deep."""
    ring: list[Any] = []
    ring.append({"ring": ring})

    with pytest.raises(InvalidTask, match="nested at most 64 deep"):
        encode_value(ring, field="result", max_bytes=MIB)


def test_a_path_that_grows_very_long_keeps_its_end() -> None:
    """Sixty long keys inside one another do not make a message of six thousand characters."""
    value: Any = math.nan
    for _ in range(60):
        value = {"k" * 100: value}
    value = {"a": value}

    with pytest.raises(InvalidTask) as refusal:
        encode_value(value, field="payload", max_bytes=MIB)

    assert len(refusal.value.field) <= 201
    assert refusal.value.field.startswith("…")


def test_the_limit_counts_encoded_bytes() -> None:
    """A value of exactly the limit passes, one byte more does not."""
    assert len(encode_value("x" * 100, field="result", max_bytes=102)) == 102

    with pytest.raises(PayloadTooLarge, match="102 bytes") as refusal:
        encode_value("x" * 100, field="result", max_bytes=101)

    assert (refusal.value.size, refusal.value.limit, refusal.value.field) == (102, 101, "result")


@given(st.dictionaries(texts, values, min_size=2))
def test_the_canonical_form_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    """The same mapping, built in reverse, gives the same bytes."""
    assert canonical(value) == canonical(dict(reversed(value.items())))
    assert decode_value(canonical(value)) == value


def test_the_canonical_form_tells_different_values_apart() -> None:
    """Sorting keys must not reach into lists, and numbers keep their kind."""
    different = [{"a": [1, 2]}, {"a": [2, 1]}, {"a": [1.0, 2]}, {"a": [True, 2]}, {"a": ["1", 2]}]

    assert len({canonical(value) for value in different}) == len(different)


@given(st.binary())
def test_foreign_bytes_are_refused_as_corrupt_or_decoded(data: bytes) -> None:
    """Whatever stands in a key, nothing but QueueCorrupt comes out of decoding it."""
    try:
        decode_value(data)
    except QueueCorrupt as refusal:
        str(refusal).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        msgpack.packb([1, 2])[:-1],
        msgpack.packb(1) + b"\x00",
        msgpack.packb({5: 1}),
        msgpack.packb("x")[:1] + b"\xff",
        msgpack.packb(msgpack.Timestamp(1)),
        msgpack.packb(msgpack.ExtType(5, b"")),
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 5000,
        b"\x81\x90\x01",
    ],
)
def test_bytes_that_we_never_write_are_refused(data: bytes) -> None:
    """Cut off, followed by more, claiming a huge length, extended, too deep: all are corrupt."""
    with pytest.raises(QueueCorrupt, match="no value that this package writes"):
        decode_value(data)
