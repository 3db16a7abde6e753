"""What the fuzzing of parsers is made of: what a parser is, how it is judged, how its inputs are bent.

A parser has a folder of inputs in `corpus/`, each of them one file of raw bytes. They are replayed as they
are, and bent further by Hypothesis.
"""

from __future__ import annotations

import os
import re
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from hypothesis import strategies as st

CORPUS: Final = Path(__file__).parent / "corpus"

LARGEST_INPUT: Final = 16 * 1024
"""Bytes of a bent input: doubling must not make it grow without end."""

LONGEST: Final = 3.0
"""Seconds of the processor that one input may take; they take a thousandth of that."""

LARGEST_PEAK: Final = 8 * 2**20
"""Bytes that one small input may make a parser hold at once, whatever lengths it declares."""

CANARY: Final = "hunter2-s3cr3t"
"""The secret of every input that has one."""

SHORTEST_SECRET: Final = 12
"""Characters: shorter ones stand in messages by chance."""

SPECIALS: Final = (
    b"\x00",
    b"\n",
    b"\r\n",
    b" \t",
    b"\xff",
    b"\xc0\x80",  # a NUL, longer than UTF-8 allows
    b"\xed\xa0\x80",  # half a surrogate pair
    b"\xef\xbb\xbf",
    b"\xc2\xb2",  # a digit that is no decimal
    b"\xd9\xa3",  # a decimal that is not ASCII
    b"\xe2\x80\xae",  # turns the direction of writing
    b"\xef\xbc\xa0",  # becomes an @ where text is normalized
    b"\\ud800",
    b"\\u0000",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 30,
    b"9" * 5_000,
    b"[" * 1_500,
    b'{"a":' * 200,
    b'"',
    b"'",
    b",",
    b"=",
    b"|",
    b"@",
    b":",
    b"%00",
    b"%40",
    b"%",
    b"..",
    b"\xdd\xff\xff\xff\xff",  # msgpack: a list of 2**32 - 1
    b"\xc6\xff\xff\xff\xff",  # bytes as many
    b"\xc7\x08\x05",  # an extension
    b"\x91" * 600,  # lists in lists
)


VALUES: Final = (
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"[[]]",
    b'{"a": 1}',
    b'""',
    b'"a"',
    b'"\\ud800"',
    b'"\\u0000"',
    b'"https://example.org/"',
    b"-1",
    b"0",
    b"1.5",
    b"9223372036854775808",
    b"1e308",
    b"1979-05-27",
)
"""What stands in the place of a word: of JSON, of TOML, of the text between two tags."""

_WORD = re.compile(rb'"[^"\\]*"|\b[0-9]+\b|\btrue\b|\bfalse\b|\bnull\b|(?<=>)[^<]+(?=<)')


@dataclass(frozen=True, slots=True)
class Parser:
    """One parser under test.

    Attributes:
        name: Of its folder in `corpus/`.
        read: Parses bytes, and asserts what holds of everything that is accepted.
        refusals: The errors that it is documented to raise; no subclass that is not named counts.
        weight: How many times longer than most it takes; it gets so many times fewer inputs.
    """

    name: str
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...] = ()
    weight: int = 1

    def __repr__(self) -> str:
        return self.name

    @property
    def folder(self) -> Path:
        """Where its inputs are."""
        return CORPUS / self.name


def judge(parser: Parser, data: bytes) -> bool:
    """Give *data* to a parser; return whether it accepted them: it raised no refusal, and found something.

    Raises:
        Exception: Whatever the parser raised that it is not documented to raise.
        AssertionError: If it took too long, a property does not hold, or a message cannot be shown.
    """
    begun = time.thread_time()
    try:
        found = parser.read(data)
    except parser.refusals as error:
        if type(error) not in parser.refusals:
            # UnicodeDecodeError is a ValueError too, and nobody promised it.
            raise
        str(error).encode()
        found = None
    taken = time.thread_time() - begun
    assert taken < LONGEST, f"{taken:.1f} s for {len(data)} bytes"
    return found is not None and found is not False


def peak_of(parser: Parser, data: bytes) -> int:
    """Return how many bytes Python held at once while *data* was judged, without what is kept for later."""
    peak = 0
    for _ in range(2):
        tracemalloc.start()
        try:
            judge(parser, data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        if peak < LARGEST_PEAK:
            break
    return peak


def assert_hidden(secret: str, *shown: object) -> None:
    """A secret is in nothing that is shown; what is too short to be one does not count."""
    assert len(secret) < SHORTEST_SECRET or not any(secret in f"{each} {each!r}" for each in shown)


@cache
def corpus_of(parser: Parser) -> Mapping[str, bytes]:
    """Return the inputs of a parser, by their names."""
    return {path.name: path.read_bytes() for path in sorted(parser.folder.iterdir())}


@cache
def inputs(parser: Parser) -> st.SearchStrategy[bytes]:
    """Inputs of the corpus that were bent up to six times; one in ten is random bytes.

    A bend is drawn as plain numbers, which are folded into what they are used for: strategies that depend on
    what was drawn before would take twenty times longer than the parsers.
    """
    known = tuple(corpus_of(parser).values())

    def bent(data: bytes, bends: list[tuple[Bend, int, int, bytes]]) -> bytes:
        for bend, at, more, filling in bends:
            data = bend(data, Numbers(at % (len(data) + 1), more, filling, known))[:LARGEST_INPUT]
        return data

    number = st.integers(0, LARGEST_INPUT)
    bends = st.tuples(st.sampled_from(BENDS), number, number, st.binary(max_size=8))
    of_corpus = st.builds(bent, st.sampled_from(known), st.lists(bends, min_size=1, max_size=6))
    return st.one_of(*[of_corpus] * 9, st.binary(max_size=200))


class Numbers(NamedTuple):
    """What decides on a bend.

    Attributes:
        at: Where it begins, from 0 to the length of the input.
        more: Anything else, from 0 on.
        filling: Random bytes.
        known: The corpus.
    """

    at: int
    more: int
    filling: bytes
    known: tuple[bytes, ...]


Bend = Callable[[bytes, Numbers], bytes]


def _flip(data: bytes, by: Numbers) -> bytes:
    flipped = [byte ^ 1 << by.more % 8 for byte in data[by.at : by.at + 1]]
    return data[: by.at] + bytes(flipped) + data[by.at + 1 :]


def _replace(data: bytes, by: Numbers) -> bytes:
    return data[: by.at] + by.filling + data[by.at + by.more % 64 :]


def _cut_end(data: bytes, by: Numbers) -> bytes:
    return data[: by.at]


def _cut_out(data: bytes, by: Numbers) -> bytes:
    return data[: by.at] + data[by.at + by.more % 64 :]


def _double(data: bytes, by: Numbers) -> bytes:
    end = by.at + by.more % 64
    return data[:end] + data[by.at : end] * (by.more // 64 % 50) + data[end:]


def _splice(data: bytes, by: Numbers) -> bytes:
    other = by.known[by.more % len(by.known)]
    return data[: by.at] + other[by.more // len(by.known) % (len(other) + 1) :]


def _insert(data: bytes, by: Numbers) -> bytes:
    return data[: by.at] + SPECIALS[by.more % len(SPECIALS)] + data[by.at :]


def _exchange(data: bytes, by: Numbers) -> bytes:
    """Put another value in the place of one, so that the whole stays well-formed."""
    words = [found.span() for found in _WORD.finditer(data)]
    if not words:
        return data
    begin, end = words[by.at % len(words)]
    return data[:begin] + VALUES[by.more % len(VALUES)] + data[end:]


BENDS: Final[tuple[Bend, ...]] = (
    _flip,
    _replace,
    _cut_end,
    _cut_out,
    _double,
    _splice,
    _insert,
    _exchange,
)


def text_of(data: bytes) -> str:
    """Return bytes as an argument or a variable of the environment has them: not everything is UTF-8."""
    return os.fsdecode(data)
