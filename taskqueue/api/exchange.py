"""One request and its answer: what the middleware starts, and what a handler works with."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from taskqueue.accounts import Principal
from taskqueue.api.errors import Problem, invalid, invalid_field, missing_key, request_canceled
from taskqueue.api.replies import Header
from taskqueue.ids import new_id
from taskqueue.strict_json import NotJson, loads

KEY: Final = "taskqueue.exchange"
"""Where the scope of a request has its exchange."""

_MOST_PARAMETERS = 20


class Exchange:
    """One request and its answer.

    Attributes:
        id: Random, on the answer and in the log.
        started: When it came, by `time.perf_counter()`.
        scope: Of ASGI.
        receive: Of ASGI.
        principal: Whose API key it shows; None outside of `/v1`.
        endpoint: Name of the route; `"unmatched"` until one is found.
        limits: The rate limit's headers, once the request was counted.
        status: Of the answer, once that has begun; 0 before.
    """

    __slots__ = ("endpoint", "id", "limits", "principal", "receive", "scope", "started", "status")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.id = new_id()
        self.started = time.perf_counter()
        self.scope = scope
        self.receive = receive
        self.principal: Principal | None = None
        self.endpoint = "unmatched"
        self.limits: tuple[Header, ...] = ()
        self.status = 0

    @property
    def tenant(self) -> str:
        """Whose request it is."""
        if self.principal is None:
            raise missing_key()
        return self.principal.tenant

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since it came."""
        return int((time.perf_counter() - self.started) * 1000)

    def parameter(self, name: str) -> str:
        """Return a part of the path."""
        value: str = self.scope["path_params"][name]
        return value

    def query(self, *allowed: str) -> dict[str, str]:
        """Return the query's parameters.

        Raises:
            ApiError: 400 for one that is unknown or comes twice.
        """
        raw: bytes = self.scope["query_string"]
        if not raw:
            return {}
        try:
            pairs = parse_qsl(
                raw.decode("latin-1"),
                keep_blank_values=True,
                max_num_fields=_MOST_PARAMETERS,
                errors="replace",
            )
        except ValueError:
            raise invalid_field("query", f"At most {_MOST_PARAMETERS} parameters are allowed") from None
        problems = [Problem(name, f'Unrecognized key: "{name}"') for name, _ in pairs if name not in allowed]
        found = dict(pairs)
        if len(found) != len(pairs):
            problems.append(Problem("query", "A parameter appears twice"))
        if problems:
            raise invalid(problems)
        return found

    async def json(self, limit: int, timeout: float) -> Any:
        """Return the JSON value that the body holds.

        Args:
            limit: Bytes that the body may have.
            timeout: Seconds in which it must have come.

        Raises:
            ApiError: 400 if it is no JSON, 408 if it comes too slowly, 413 if it is too long, 415 if
                it says that it is something else, 499 if the client goes away.
        """
        body = await self._body(limit, timeout)
        try:
            return loads(body)
        except NotJson as error:
            text = "The body is empty" if not body.strip() else f"The body is {error}"
            raise invalid_field("", text) from None

    async def _body(self, limit: int, timeout: float) -> bytes:
        self._check_headers(limit)
        try:
            # Around the first piece too: a client may send a head, and then nothing.
            async with asyncio.timeout(timeout):
                message = await self.receive()
                if message["type"] != "http.request" or message.get("more_body"):
                    return await self._pieces(message, limit)
        except TimeoutError:
            raise invalid_field("", "The body did not come in time", status=408, close=True) from None
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body

    async def _pieces(self, message: Any, limit: int) -> bytes:
        body = bytearray()
        while True:
            if message["type"] != "http.request":
                raise request_canceled()
            body += message.get("body", b"")
            # What counts is what came: a length may be left out, or be a lie.
            if len(body) > limit:
                raise _too_large(limit)
            if not message.get("more_body"):
                return bytes(body)
            message = await self.receive()

    def _check_headers(self, limit: int) -> None:
        for name, value in self.scope["headers"]:
            if name == b"content-length":
                if value.isdigit() and (len(value) > 15 or int(value) > limit):  # noqa: PLR2004 - a petabyte
                    raise _too_large(limit)
            elif name == b"content-type":
                kind = value.partition(b";")[0].strip().lower()
                if kind != b"application/json":
                    text = "The body must be application/json"
                    raise invalid_field("Content-Type", text, status=415, close=True)
            elif name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
                raise invalid_field(
                    "Content-Encoding", "The body must not be compressed", status=415, close=True
                )


def _too_large(limit: int) -> Exception:
    return invalid_field("", f"The body is longer than {limit} bytes", status=413, close=True)
