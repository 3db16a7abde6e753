"""HTTP/1.1 as the service takes it: uvicorn's protocol, with bounds on what is not part of a body.

The service sees a request once its head is whole. Without this nobody would bound how long a head is,
how long it takes to come, and what follows a body; and what is no HTTP would be refused in another
shape than everything else.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from taskqueue.api.errors import invalid_field
from taskqueue.api.json import dumps

LONGEST_HEAD: Final = 65_536
"""Bytes that the request line and the headers of one request may have together."""

HEAD_TIMEOUT: Final = 30.0
"""Seconds in which a head must have come, and what is left of a body whose answer is on its way."""

_BAD_REQUEST, _TIMEOUT, _TOO_LARGE = 400, 408, 431
_TOO_LONG = f"The head of the request is longer than {LONGEST_HEAD} bytes"


class HttpProtocol(HttpToolsProtocol):
    """One connection: `uvicorn.Config(app, http=HttpProtocol)`.

    Who asks to go on in another protocol is answered as if they had not, and hung up on.

    Attributes:
        head_timeout: Seconds in which a head must have come.
    """

    head_timeout = HEAD_TIMEOUT

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._pending = 0  # bytes that came since a head, a piece of a body or a request was whole
        self._is_in_body = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Wait for the first head."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless what is not whole yet is too long already."""
        self._pending += len(data)
        super().data_received(data)
        if self._pending and not self.transport.is_closing():
            if self._pending > LONGEST_HEAD:
                self._refuse(_TOO_LARGE, _TOO_LONG)
            elif self._timer is None:
                self._start_timer()

    def on_headers_complete(self) -> None:
        """Go on with the body."""
        # A piece of data that is not longer cannot hold a head that is.
        if self._pending > LONGEST_HEAD and self._head_size() > LONGEST_HEAD:
            raise ValueError(_TOO_LONG)
        self._pending, self._is_in_body = 0, True
        self._stop_timer()
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # What follows may be in the other protocol.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Hand a piece of the body on."""
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Go on with the next head."""
        self._pending, self._is_in_body = 0, False
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Let a body that nobody needs any more end soon."""
        super().on_response_complete()
        if self._is_in_body and self._timer is None and not self.transport.is_closing():
            self._start_timer()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, and a head that is too long."""
        if self._pending > LONGEST_HEAD:
            self._refuse(_TOO_LARGE, _TOO_LONG)
        else:
            self._refuse(_BAD_REQUEST, msg)

    def _should_upgrade(self) -> bool:
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the operator can do nothing about it."""

    def _head_size(self) -> int:
        # Each header has a colon and the end of its line.
        return len(self.url) + sum(len(name) + len(value) + 3 for name, value in self.headers)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.head_timeout, self._time_is_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_is_up(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._start_timer()  # the service says how long an answer may take, and a body before it
        elif self._pending and not self._is_in_body:
            self._refuse(_TIMEOUT, "The head of the request did not come in time")
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        """Hang up, and say why if that can be told from answers; what came whole before is answered first."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        is_answered = self._is_in_body and cycle is not None and cycle.response_started
        if not is_answered:
            self.transport.write(_refusal(status, message))
        self.transport.close()


def _refusal(status: int, message: str) -> bytes:
    error = invalid_field("", message, status=status).document()
    body = dumps({"success": False, "error": error})
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINE[status] + head + body
