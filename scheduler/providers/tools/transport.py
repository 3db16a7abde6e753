"""The HTTP transport of the providers: it reads answers with a bound, whichever client sits on it.

Clients unpack whatever a part of an answer holds, which can be a thousand times its size, and read
until the service is done. So answers are unpacked and counted here, below the client.

See `http_client()` in `scheduler.providers.tools.http`.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import AsyncIterator
from typing import Any, Final, cast

import httpx

LONGEST_REFUSAL: Final = 64 * 1024
"""Bytes that are read of an answer that is no success: errors are short, and only an excerpt is kept."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_REPLACED: Final = (b"content-encoding", b"content-length")


class UnreadableAnswer(httpx.TransportError):
    """An answer that is too long, broken, or packed by a means that was not asked for; says which."""


class BoundedTransport(httpx.AsyncBaseTransport):
    """A transport whose answers end: at *limit* with `UnreadableAnswer`, or, if they are none, cut short.

    It takes nothing from the environment and asks for gzip at most.

    Args:
        limit: Bytes of an answer, after decompression.
        connect_timeout: Seconds that a connection may take, if the client does not allow less.
        verify: What certificates are checked against.
    """

    def __init__(self, limit: int, connect_timeout: float, *, verify: ssl.SSLContext) -> None:
        self._limit = limit
        self._connect_timeout = connect_timeout
        # The slots of the scheduler and the provider's limit bound the connections: a call that waits
        # for one would count as one that the service did not answer.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._inner = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its answer is unpacked and bounded.

        Raises:
            UnreadableAnswer: If it is packed by a means that was not asked for.
            httpx.TransportError: If there is no answer.
        """
        request.headers["Accept-Encoding"] = "gzip"
        allowed: dict[str, Any] = request.extensions.get("timeout", {})
        given = allowed.get("connect")
        connect = self._connect_timeout if given is None else min(given, self._connect_timeout)
        request.extensions = {**request.extensions, "timeout": {**allowed, "connect": connect}}
        answer = await self._inner.handle_async_request(request)
        coding = answer.headers.get("content-encoding", "").strip().lower()
        if coding not in ("", "identity", "gzip", "x-gzip") and answer.is_success:
            await answer.aclose()
            raise UnreadableAnswer("the answer is packed by a means that was not asked for")
        stream = cast("httpx.AsyncByteStream", answer.stream)
        return httpx.Response(
            answer.status_code,
            headers=[(name, value) for name, value in answer.headers.raw if name.lower() not in _REPLACED],
            stream=_Unpacked(stream, self._limit if answer.is_success else None, coding),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class _Unpacked(httpx.AsyncByteStream):
    """What an answer says, unpacked.

    Args:
        packed: As it comes.
        limit: Bytes that may come; None: it is no success, and is cut instead of refused.
        coding: How it is packed; what is none of ours is left out.
    """

    def __init__(self, packed: httpx.AsyncByteStream, limit: int | None, coding: str) -> None:
        self._packed = packed
        self._limit = LONGEST_REFUSAL if limit is None else limit
        self._is_success = limit is not None
        self._coding = coding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield it part by part.

        Raises:
            UnreadableAnswer: If it is a success and longer than its limit, or broken.
            httpx.TransportError: If the connection breaks.
        """
        gzip = zlib.decompressobj(_GZIP) if self._coding.endswith("gzip") else None
        left, empty = self._limit, True
        async for part in self._packed:
            empty = False
            # One byte more than allowed tells that there is more; 0 would mean without a limit.
            found = part if gzip is None else self._unpacked(gzip, part, left + 1)
            if len(found) > left:
                if self._is_success:
                    raise UnreadableAnswer(f"the answer is longer than {self._limit:,} bytes")
                yield found[:left]
                return
            left -= len(found)
            if found:
                yield found
        if gzip is not None and self._is_success and not (gzip.eof or empty):
            raise UnreadableAnswer("the answer is packed as gzip, and its end is missing")

    def _unpacked(self, gzip: Any, part: bytes, most: int) -> bytes:
        try:
            found: bytes = gzip.decompress(part, most)
        except zlib.error:
            if self._is_success:
                raise UnreadableAnswer("the answer says that it is packed as gzip, and is not") from None
            return b""
        return found

    async def aclose(self) -> None:
        """Let the connection go; it is closed unless the answer was read to its end."""
        await self._packed.aclose()
