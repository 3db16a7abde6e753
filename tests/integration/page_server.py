"""A web server for tests: pages of every kind that a crawler meets, each known by its number."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

LIMIT = 2 * 1024 * 1024
SLOW = 0.5
PAUSE = 1


class PageServer:
    """Serves /page/N; what it is depends on N.

    Attributes:
        requests: When each page was asked for, on the monotonic clock.
    """

    def __init__(self) -> None:
        self.requests: defaultdict[int, list[float]] = defaultdict(list)
        self.base = ""

    def url(self, number: int) -> str:
        """The address of a page."""
        return f"{self.base}/page/{number}"

    def expected(self, number: int) -> dict[str, Any]:
        """Return what a crawler should store of a page in the end."""
        if number % 100 == 61:
            return self.expected(number + 1)
        found: dict[str, Any] = {"url": self.url(number), "status": 200, "truncated": False, "links": []}
        body = self.body(number)
        if number % 50 == 7:
            return found | {"status": 404, "title": "Nothing here", "size": len(body)}
        if number % 100 == 71:
            return found | {"title": None, "size": len(body)}
        if number % 100 == 81:
            found |= {"truncated": True}
            body = body[:LIMIT]
        links = [f"{self.base}/page/{number + 1}", f"{self.base}/page/relative?q=1", "https://example.org/a"]
        return found | {"title": f"Page & number {number}", "size": len(body), "links": links}

    def body(self, number: int) -> bytes:
        """Return what a page consists of."""
        if number % 50 == 7:
            return b"<html><title>Nothing here</title></html>"
        if number % 100 == 71:
            return b"\x00<title>no</title>" * number
        size = LIMIT + 1_000 if number % 100 == 81 else 37 * number
        text = (
            f"<!doctype html><html><head><title>\n  Page &amp;\n number {number} </title></head><body>"
            f'<a href="/page/{number + 1}#top">next</a> <a href="relative?q=1">r</a> <a>no address</a>'
            '<a href="https://example.org/a">out</a> <a href="https://example.org/a#b">again</a>'
            '<a href="mailto:a@example.org">mail</a> <a href="javascript:void(0)">js</a>'
            '<a href="http://[broken">bad</a><svg><title>not the title</title></svg>'
            f"{'é' * (size // 2)}</body>"
        )
        return text.encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while line := await reader.readline():
                while await reader.readline() not in {b"\r\n", b""}:
                    pass
                if not await self._answer(line, writer):
                    break
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> bool:
        number = int(line.split()[1].rpartition(b"/")[2])
        is_first = not self.requests[number]
        self.requests[number].append(time.monotonic())
        if number % 100 == 31 and is_first:
            return False  # hangs up without a word
        status, headers, body = "200 OK", "Content-Type: text/html; charset=utf-8\r\n", self.body(number)
        if number % 100 == 41:
            await asyncio.sleep(SLOW)
        elif number % 50 == 7:
            status = "404 Not Found"
        elif number % 50 == 13 and is_first:
            status, headers, body = "503 Service Unavailable", f"Retry-After: {PAUSE}\r\n", b"busy"
        elif number % 50 == 23 and is_first:
            status, headers, body = "429 Too Many Requests", f"Retry-After: {PAUSE}\r\n", b"too many"
        elif number % 100 == 51 and is_first:
            status, body = "500 Internal Server Error", b"oops"
        elif number % 100 == 61:
            status, headers, body = "302 Found", f"Location: /page/{number + 1}\r\n", b""
        elif number % 100 == 71:
            headers = "Content-Type: application/octet-stream\r\n"
        writer.write(f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        return True


@asynccontextmanager
async def page_server() -> AsyncIterator[PageServer]:
    """Serve pages on a free port of 127.0.0.1."""
    pages = PageServer()
    server = await asyncio.start_server(pages.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    pages.base = f"http://{host}:{port}"
    async with server:
        yield pages
