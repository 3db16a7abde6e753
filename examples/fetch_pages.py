"""Fetch the pages named in a JSON Lines file and keep status, title, size and links of each.

    taskqueue enqueue examples/pages.jsonl
    taskqueue worker examples.fetch_pages:scheduler --burst

A page that answers 404 is a result. A server that is busy (429, 503) is asked again when it says
so in Retry-After, and otherwise with growing pauses, as is one that fails or cannot be reached.
It fetches whatever address its file names: run it with files that you trust.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import TypedDict
from urllib.parse import urldefrag, urljoin, urlsplit

import httpx
from pydantic import AnyHttpUrl, BaseModel

from scheduler import Context, GiveUp, Retry, Scheduler

BUSY = (429, 503)
MAX_BYTES = 2 * 1024 * 1024
MAX_LINKS = 200
MAX_TITLE = 300
LONGEST_PAUSE = timedelta(minutes=10)


class PageRequest(BaseModel):
    """Payload of a PAGE task."""

    url: AnyHttpUrl


class Page(TypedDict):
    """Result of a PAGE task; `truncated` says that the page is longer than what was read."""

    url: str
    status: int
    title: str | None
    size: int
    truncated: bool
    links: list[str]


@asynccontextmanager
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Open what all tasks share: one client, and with it one pool of connections."""
    async with httpx.AsyncClient(
        follow_redirects=True,
        timeout=httpx.Timeout(20, connect=5),
        limits=httpx.Limits(max_connections=50),
        headers={"User-Agent": "fetch-pages-example"},
    ) as shared:
        yield shared


scheduler = Scheduler(concurrency=50, lifespan=client)


@scheduler.handler("PAGE", timeout=timedelta(seconds=60), max_attempts=6)
async def fetch_page(payload: PageRequest, context: Context) -> Page:
    """Fetch one page; see the head of this file for what is a result and what is tried again."""
    shared: httpx.AsyncClient = context.state
    try:
        async with shared.stream("GET", str(payload.url)) as response:
            if response.status_code in BUSY:
                raise Retry(after=pause(response), reason=f"the server answered {response.status_code}")
            if response.is_server_error:
                raise Retry(reason=f"the server answered {response.status_code}")
            body, truncated = await read_at_most(response, MAX_BYTES)
    except httpx.TooManyRedirects as error:
        raise GiveUp(str(error)) from error
    except httpx.TransportError as error:
        raise Retry(reason=f"{type(error).__name__}: {error}") from error
    return describe(response, body, truncated=truncated)


async def read_at_most(response: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """Return the body, cut at *limit* bytes, and whether it was cut: a page must not fill the memory."""
    body = bytearray()
    async for block in response.aiter_bytes():
        body += block
        if len(body) > limit:
            return bytes(body[:limit]), True
    return bytes(body), False


def pause(response: httpx.Response) -> timedelta | None:
    """Return what Retry-After asks for, in seconds or as a date, up to ten minutes; None without one."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(timedelta(seconds=min(int(value), 86_400)), LONGEST_PAUSE)
    try:
        wait = parsedate_to_datetime(value) - datetime.now(UTC)
    except (ValueError, TypeError):
        return None
    return max(timedelta(0), min(wait, LONGEST_PAUSE))


def describe(response: httpx.Response, body: bytes, *, truncated: bool) -> Page:
    """Return what is kept of a page."""
    url = str(response.url)
    parser = PageParser(url)
    if "html" in response.headers.get("Content-Type", ""):
        parser.feed(body.decode(response.encoding or "utf-8", errors="replace"))
    return {
        "url": url,
        "status": response.status_code,
        "title": parser.title,
        "size": len(body),
        "truncated": truncated,
        "links": list(parser.links),
    }


class PageParser(HTMLParser):
    """Collects the title and the first 200 links of a page: absolute, without fragment, each once."""

    def __init__(self, base: str) -> None:
        super().__init__(convert_charrefs=True)
        self._base = base
        self._title: list[str] = []
        self._in_title = False
        self.links: dict[str, None] = {}

    @property
    def title(self) -> str | None:
        """The title with its white space collapsed; None for a page without one."""
        return " ".join("".join(self._title).split())[:MAX_TITLE] or None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a link, a base for those that follow, or the start of the title."""
        href = dict(attrs).get("href")
        if tag == "title" and not self._title:
            self._in_title = True
        elif tag == "base" and href:
            self._base = absolute(self._base, href) or self._base
        elif tag == "a" and href and len(self.links) < MAX_LINKS:
            link = absolute(self._base, href)
            if link is not None:
                self.links[link] = None

    def handle_endtag(self, tag: str) -> None:
        """End the title."""
        if tag == "title":
            self._in_title = False

    def handle_data(self, data: str) -> None:
        """Take text inside the title."""
        if self._in_title:
            self._title.append(data)


def absolute(base: str, href: str) -> str | None:
    """Return the address that *href* on the page *base* leads to; None unless it is a web address."""
    try:
        link = urldefrag(urljoin(base, href.strip())).url
        return link if urlsplit(link).scheme in ("http", "https") else None
    except ValueError:
        return None
