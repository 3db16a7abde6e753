"""Reads an RSS feed that nobody vouches for: well-formed, without a document type, never from anywhere else.

What is no such feed is refused before feedparser sees it, which would guess at broken ones for a long
time. It is handed bytes in memory: given a text, it might take it for an address or for a file.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from html.parser import HTMLParser
from time import struct_time
from typing import Any, Final, NamedTuple
from xml.parsers import expat

import feedparser

from scheduler.errors import Unavailable
from scheduler.providers.tools.decoding import text_of, web_address

_DEEPEST: Final = 32
_LONGEST_HTML: Final = 20_000  # characters; of their text a result keeps 4,000
_ENDLESS_NUMBER: Final = re.compile(r"&#[0-9]{100,};?")  # of a character that cannot be; int() refuses it
_HEADERS: Final = {"content-type": "application/rss+xml; charset=utf-8"}


class Item(NamedTuple):
    """One piece of a feed.

    Attributes:
        title: As it stands there.
        link: Where it is.
        source: Who published it.
        date: When, in ISO 8601 and UTC.
        text: What it says, without its HTML.
    """

    title: str
    link: str
    source: str | None
    date: str | None
    text: str | None


def read_feed(body: bytes, most: int) -> list[Item]:
    """Return the first pieces of a feed, in their order; none is a feed, too.

    Args:
        body: In UTF-8.
        most: How many.

    Raises:
        Unavailable: If it is no RSS or Atom feed, broken, or has what could unpack to something huge.
    """
    _check_xml(body)
    found = feedparser.parse(
        io.BytesIO(body), response_headers=_HEADERS, sanitize_html=False, resolve_relative_uris=False
    )
    if not found.get("version"):
        raise Unavailable("the answer is XML, and no feed")
    if found.get("bozo"):
        raise Unavailable(f"the feed is broken: {type(found.get('bozo_exception')).__name__}")
    items = [_item(entry) for entry in found.entries]
    return [item for item in items if item is not None][:most]


def text_of_html(html: str) -> str:
    """Return the text of HTML on one line, its entities read; of a long one that of the beginning."""
    reader = _Reader()
    # Python's parser raises it for a marked section that it does not know: the text ends there.
    with suppress(AssertionError):
        reader.feed(_ENDLESS_NUMBER.sub("\ufffd", html[:_LONGEST_HTML]))
        reader.close()
    return " ".join("".join(reader.parts).split())


def _check_xml(body: bytes) -> None:
    """Refuse what is no well-formed XML in UTF-8 without a document type.

    Raises:
        Unavailable: See there.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        raise Unavailable("the feed is broken: it is no UTF-8") from None
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    depth = 0

    def refuse(*_: object) -> None:
        raise Unavailable("the feed has a document type, which no feed needs and bombs are made of")

    def enter(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise Unavailable(f"the feed is nested deeper than {_DEEPEST} levels")

    def leave(*_: object) -> None:
        nonlocal depth
        depth -= 1

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = enter
    parser.EndElementHandler = leave
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise Unavailable(f"the feed is broken: {error}") from None


def _item(entry: Mapping[str, Any]) -> Item | None:
    link = web_address(entry.get("link"))
    if link is None:
        return None
    source = entry.get("source")
    return Item(
        title=text_of_html(text_of(entry.get("title")) or "") or link,
        link=link,
        source=text_of(source.get("title")) if isinstance(source, Mapping) else None,
        date=_date(entry.get("published_parsed")),
        text=text_of_html(text_of(entry.get("summary")) or "") or None,
    )


def _date(parsed: object) -> str | None:
    """Return a date in ISO 8601, such as `2026-11-24T07:00:00Z`; None if there is none that can be."""
    if not isinstance(parsed, struct_time):
        return None
    try:
        return datetime(*parsed[:6], tzinfo=UTC).isoformat().replace("+00:00", "Z")
    except ValueError:
        return None


class _Reader(HTMLParser):
    """Keeps the text of HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        """Keep a piece of text."""
        self.parts.append(data)
