"""What a file may look like, and how what is wrong in it is found."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from queue import Queue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.cli import reading
from taskqueue.cli.feed import Feed
from taskqueue.cli.reading import BadDocument, Document, read_documents


def read(data: bytes) -> list[Document | BadDocument]:
    """Read all of it."""
    return list(read_documents(io.BytesIO(data)))


def values(data: bytes) -> list[object]:
    """Read all of it; nothing in it is wrong."""
    found = read(data)
    assert not [bad for bad in found if isinstance(bad, BadDocument)]
    return [document.value for document in found if isinstance(document, Document)]


documents = st.dictionaries(
    st.text(max_size=5),
    st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5),
    min_size=1,
    max_size=4,
)


@given(st.lists(documents), st.sampled_from([None, 1]), st.booleans())
def test_every_format_reads_back_what_was_written(
    items: list[dict[str, object]], indent: int | None, ascii_only: bool
) -> None:
    """The same documents as an array, as JSON Lines, and one after the other over several lines."""
    texts = [json.dumps(item, indent=indent, ensure_ascii=ascii_only) for item in items]

    assert values(json.dumps(items, indent=indent, ensure_ascii=ascii_only).encode()) == items
    assert values("\n".join(texts).encode()) == items


@given(st.lists(documents, min_size=1), st.integers(1, 40))
def test_an_array_may_be_cut_anywhere_by_the_blocks_it_arrives_in(items: list[object], block: int) -> None:
    """Also inside a number, an escape or a character of several bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_BLOCK", block)
        assert values(json.dumps(items, ensure_ascii=False).encode()) == items


@pytest.mark.parametrize("block", [1, 2, 3, 4, 5])
def test_a_number_is_not_taken_for_whole_where_a_block_ends(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12|34 is one number, not two."""
    monkeypatch.setattr(reading, "_BLOCK", block)
    numbers = [1234567, 89, 0]

    assert values(b"[\n" + json.dumps(numbers)[1:].encode()) == numbers


def test_lines_are_counted_as_an_editor_does() -> None:
    """From 1, blank ones included, whatever the line ends and with a byte order mark."""
    found = read(b'\xef\xbb\xbf\r\n{"a": 1}\r\n\r\n{"a": 2}\r\n')

    assert found == [Document(2, {"a": 1}), Document(4, {"a": 2})]


def test_items_of_an_array_know_their_lines() -> None:
    """The line on which an item starts."""
    assert read(b'[\n {"a":\n  1},\n {"b": 2}\n]\n') == [Document(2, {"a": 1}), Document(4, {"b": 2})]


def test_a_bad_line_does_not_hide_the_next() -> None:
    """In JSON Lines every line stands for itself, the first one too."""
    found = read(b'{"a": \n{"a": 2}\nnonsense\n{"a": 3}\n')

    assert [(item.line, type(item)) for item in found] == [
        (1, BadDocument),
        (2, Document),
        (3, BadDocument),
        (4, Document),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1e999}', "the number 1e999 is too large"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b"[" * 65 + b"]" * 65, "nested deeper than 64"),
        (b'{"a": 1, "a": 2}', "the name 'a' appears twice in one object"),
        (b'{"a": 1} {"a": 2}', "more text after the end of the document: '{\"a\": 2}'"),
        (b'{"a": }', "not JSON: Expecting value at column 7"),
        (b"[" * 100_000, "nested deeper than 64"),
        (b'{"a": ' + b"1" * 5_000 + b"}", "an integer has thousands of digits"),
        (b'{"a": "\xff"}', "not UTF-8: byte 0xff at position 8"),
        (b'"' + b"x" * 20_000_000 + b'"', "longer than 16 MiB"),
    ],
)
def test_what_is_wrong_is_said(line: bytes, problem: str) -> None:
    """Each as the second line of a file whose other lines are right."""
    found = read(b'{"ok": 1}\n' + line + b'\n{"ok": 3}\n')

    assert found[0] == Document(1, {"ok": 1})
    assert found[2:] == [Document(3, {"ok": 3})]
    assert isinstance(found[1], BadDocument)
    assert problem in found[1].problem
    assert found[1].line == 2


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b'[{"a": 1},\n{"a": }]', 2, "Expecting value at column 7"),
        (b'[{"a": 1}\n{"a": 2}]', 2, "',' or ']' expected, '{' found"),
        (b'[{"a": 1},', 1, "Expecting value"),
        (b'[{"a": 1}', 1, "the end of the file found"),
        (b'[{"a": 1}] x', 1, "more text after the end of the array"),
        (b'[{"a": 1}, "\xff"]', 1, "not UTF-8"),
        (b'{\n "a": 1,\n "b": ]\n}', 3, "Expecting value at column 7"),
    ],
)
def test_where_nothing_marks_the_next_document_reading_ends(data: bytes, line: int, problem: str) -> None:
    """What came before is read, then it says where it stopped."""
    found = read(data)

    assert isinstance(found[-1], BadDocument)
    assert found[-1].line == line
    assert problem in found[-1].problem
    assert "nothing after this could be read" in found[-1].problem
    assert all(item == Document(1, {"a": 1}) for item in found[:-1])


def test_an_item_of_an_array_has_a_size_limit() -> None:
    """A string that never ends must not fill the memory."""
    found = read(b'[1, "' + b"x" * 40_000_000)

    assert found[0] == Document(1, 1)
    assert isinstance(found[1], BadDocument)
    assert "longer than 16 MiB" in found[1].problem


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf", b"[]", b" [ ]\n"])
def test_nothing_is_no_document(data: bytes) -> None:
    """An empty file is no mistake."""
    assert read(data) == []


async def test_a_slow_producer_is_not_made_to_wait_for_a_full_batch() -> None:
    """What has arrived is handed on at once, however little it is."""
    source: Queue[int | None] = Queue()

    def items() -> Iterator[int]:
        while (item := source.get()) is not None:
            yield item

    batches = Feed(items(), 1_000).batches()
    source.put(1)
    assert await anext(batches) == [1]
    source.put(2)
    assert await anext(batches) == [2]
    source.put(None)
    assert [batch async for batch in batches] == []


async def test_a_fast_producer_waits_for_a_slow_consumer() -> None:
    """At most 4,000 items are read ahead, so a large file does not end up in memory."""
    read_so_far = 0
    is_ahead = threading.Event()

    def items() -> Iterator[int]:
        nonlocal read_so_far
        for read_so_far in range(1, 100_001):
            if read_so_far == 4_001:
                is_ahead.set()
            yield read_so_far

    batches = Feed(items(), 10).batches()
    first = await anext(batches)
    assert is_ahead.wait(10)
    assert read_so_far <= 4_001 + len(first)
    rest = [item async for batch in batches for item in batch]

    assert [*first, *rest] == list(range(1, 100_001))


async def test_an_error_of_the_reader_comes_after_what_was_read() -> None:
    """Nothing that arrived before it is lost."""

    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    batches = Feed(items(), 10).batches()
    found = await anext(batches)

    with pytest.raises(OSError, match="the disk is gone"):
        await anext(batches)
    assert found == [1]


async def test_a_consumer_that_goes_away_ends_the_reading() -> None:
    """The thread does not wait for room that nobody will make."""
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            ended.set()

    batches = Feed(items(), 10).batches()
    await anext(batches)
    await batches.aclose()

    assert await asyncio.to_thread(ended.wait, 10)
