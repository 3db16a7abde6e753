"""What a handler answers: a status, headers and bytes, sent in two messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.types import Send

from taskqueue.api.json import dumps

JSON = (b"content-type", b"application/json")
_ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))

Header = tuple[bytes, bytes]


class Reply:
    """An answer that is whole.

    Args:
        status: HTTP status.
        body: Its bytes.
        headers: Besides those of the type, the length and the cache.
        content_type: Header of the type.
    """

    __slots__ = ("_body", "_content_type", "_headers", "status")

    def __init__(
        self, status: int, body: bytes, headers: Iterable[Header] = (), content_type: Header = JSON
    ) -> None:
        self.status = status
        self._body = body
        self._headers = headers
        self._content_type = content_type

    async def send_to(self, send: Send) -> None:
        """Send the answer."""
        length = (b"content-length", b"%d" % len(self._body))
        headers = [self._content_type, length, *_ALWAYS, *self._headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


def json_reply(value: Any, status: int = 200, headers: Iterable[Header] = ()) -> Reply:
    """Return *value* as a JSON answer."""
    return Reply(status, dumps(value), headers)
