"""Reads JSON documents from a stream, one at a time: JSON Lines, an array, or documents in a row.

No more than the document at hand is held in memory, so a file may be larger than the machine.
What cannot be read is handed on as a `BadDocument` with its place. In JSON Lines reading goes on
with the next line; elsewhere nothing marks where the next document starts, so it ends there.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from taskqueue.strict_json import SPACE, NotJson, parse, parse_at

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""More than any task may have: a payload of 1 MiB with every character written as an escape."""

_BLOCK = 64 * 1024
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON value and the line on which it starts, counted from 1."""

    line: int
    value: object


@dataclass(frozen=True, slots=True)
class BadDocument:
    """Something that is no JSON value: where, and what was wrong with it."""

    line: int
    problem: str


def read_documents(stream: IO[bytes]) -> Iterator[Document | BadDocument]:
    """Yield every document of *stream*, in order, each as soon as it has arrived.

    The first line decides the format. `[` opens an array. A line that opens an object and does
    not close it, with no new object on the next line, starts documents that span lines (one, or
    several in a row). Everything else is JSON Lines. Blank lines are skipped.
    """
    number, first = _first_line(stream)
    if not first.strip():
        return
    if first.lstrip().startswith(b"["):
        yield from _Walker(stream, first, number).items()
        return
    second = b""
    if first.lstrip().startswith(b"{") and not _is_whole(first):
        second = stream.readline(MAX_DOCUMENT_BYTES + 1)
        if second.strip() and not second.startswith(b"{"):
            yield from _Walker(stream, first + second, number).in_a_row()
            return
    yield from _json_lines(stream, number, [first, second] if second else [first])


def _first_line(stream: IO[bytes]) -> tuple[int, bytes]:
    """Return the first line that is not blank, and its number."""
    number = 0
    while line := stream.readline(MAX_DOCUMENT_BYTES + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if line.strip():
            return number, line
    return number, b""


def _is_whole(line: bytes) -> bool:
    try:
        parse(_text(line))
    except NotJson:
        return False
    return True


def _json_lines(stream: IO[bytes], number: int, head: list[bytes]) -> Iterator[Document | BadDocument]:
    waiting = iter(head)
    while line := next(waiting, b"") or stream.readline(MAX_DOCUMENT_BYTES + 1):
        if line.strip():
            try:
                yield Document(number, parse(_text(line)))
            except NotJson as error:
                yield BadDocument(number, str(error))
        while len(line) > MAX_DOCUMENT_BYTES and not line.endswith(b"\n"):
            line = stream.readline(MAX_DOCUMENT_BYTES + 1)
        number += 1


def _text(line: bytes) -> str:
    if len(line) > MAX_DOCUMENT_BYTES:
        raise NotJson(_too_long())
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJson(f"not UTF-8: byte {line[error.start]:#04x} at position {error.start + 1}") from error


def _too_long() -> str:
    return f"longer than {MAX_DOCUMENT_BYTES // 1024 // 1024} MiB"


class _Walker:
    """Walks documents that are not one a line, over a buffer that is filled block by block.

    Args:
        stream: Where the blocks come from.
        head: What was read from it already.
        line: Number of the line that *head* starts with.
    """

    def __init__(self, stream: IO[bytes], head: bytes, line: int) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._head = head
        self._text = ""
        self._at = 0
        self._ended = False
        self._line = line
        # Characters of the line at the beginning of the buffer that were dropped.
        self._before = 0

    def items(self) -> Iterator[Document | BadDocument]:
        """Yield the items of one array."""
        try:
            self._expect("[")
            if self._next() == "]":
                self._expect("]")
            else:
                yield self._document()
                while self._expect(",", "]") == ",":
                    yield self._document()
            self._expect_end()
        except NotJson as error:
            yield self._bad(error)

    def in_a_row(self) -> Iterator[Document | BadDocument]:
        """Yield documents with nothing but white space between them."""
        try:
            while self._next():
                yield self._document()
        except NotJson as error:
            yield self._bad(error)

    def _bad(self, error: NotJson) -> BadDocument:
        return BadDocument(self._line + error.line - 1, f"{error}; nothing after this could be read")

    def _next(self) -> str:
        """Skip white space and return the character that follows, "" at the end."""
        while True:
            while self._at < len(self._text):
                char = self._text[self._at]
                if char not in SPACE:
                    return char
                self._advance(self._at + 1)
            if not self._fill(_BLOCK):
                return ""

    def _expect(self, *chars: str) -> str:
        char = self._next()
        if char not in chars or not char:
            found = repr(char) if char else "the end of the file"
            raise NotJson(f"not JSON: {' or '.join(map(repr, chars))} expected, {found} found")
        self._advance(self._at + 1)
        return char

    def _expect_end(self) -> None:
        if self._next():
            raise NotJson("not JSON: more text after the end of the array")

    def _document(self) -> Document:
        """Parse the document at hand, taking in more text, twice as much each time, until it is whole."""
        self._next()
        block = _BLOCK
        while True:
            try:
                value, end = parse_at(self._text, self._at, self._before)
            except NotJson:
                if not self._fill(block):
                    raise
            else:
                # A number at the end of the buffer may go on in the next block.
                if end < len(self._text) or not self._fill(block):
                    line = self._line
                    self._advance(end)
                    return Document(line, value)
            block *= 2
            if len(self._text) - self._at > 2 * MAX_DOCUMENT_BYTES:
                raise NotJson(_too_long())

    def _advance(self, end: int) -> None:
        self._line += self._text.count("\n", self._at, end)
        self._at = end

    def _fill(self, size: int) -> bool:
        """Take in up to *size* more bytes and drop what was consumed; False at the end."""
        if self._ended:
            return False
        block = self._head or _read_some(self._stream, size)
        self._head = b""
        self._ended = not block
        try:
            text = self._decoder.decode(block, final=self._ended)
        except UnicodeDecodeError as error:
            self._ended = True
            raise NotJson(f"not UTF-8: {error.reason}") from error
        line_break = self._text.rfind("\n", 0, self._at)
        self._before = self._at - line_break - 1 if line_break >= 0 else self._before + self._at
        self._text = self._text[self._at :] + text
        self._at = 0
        return not self._ended


def _read_some(stream: IO[bytes], size: int) -> bytes:
    """Read what is there, at most *size* bytes, so that a slow pipe hands on what it has."""
    read1 = getattr(stream, "read1", stream.read)
    data: bytes = read1(size)
    return data
