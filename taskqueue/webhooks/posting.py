"""One delivery: one connection to an approved address, one POST, one status.

Written on asyncio's streams and the h11 parser, not on an HTTP client: there is nothing here that
would follow a redirect, read a proxy or a password from the environment, keep cookies, decompress a
reply, or log a URL; and the address that is connected to is the one that was approved.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import h11

from taskqueue.webhooks.egress import EgressPolicy
from taskqueue.webhooks.endpoint import Endpoint
from taskqueue.webhooks.outcomes import Delivered, DeliveryFailed

CONNECT_TIMEOUT: Final = 5.0
"""Seconds to connect, TLS included, over all addresses of the host."""

TOTAL_TIMEOUT: Final = 15.0
"""Seconds for one delivery, from the lookup of the host to the head of the reply."""

MOST_READ: Final = 2**16
"""Bytes of the reply that are read at most, its head included."""

LONGEST_RETRY_AFTER: Final = 86_400.0
"""Seconds; what a receiver asks for beyond them is cut."""

_MOST_ADDRESSES = 4
_LAST_READ = 1.0  # seconds
_CHUNK = 2**14
_OURS = frozenset({
    "accept-encoding", "connection", "content-encoding", "content-length", "expect", "host", "te",
    "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip


async def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    policy: EgressPolicy,
    ssl_context: ssl.SSLContext | None = None,
    connect_timeout: float = CONNECT_TIMEOUT,
    total_timeout: float = TOTAL_TIMEOUT,
) -> Delivered:
    """POST *body* to *url*, if *policy* allows, and return once it was acknowledged.

    Contract: any 2xx acknowledges; everything else, errors of TLS and time-outs too, has failed. The
    lengths of the time-outs and that redirects are not followed are our choice. The status decides:
    at most 64 KiB of the reply are read and thrown away.

    Args:
        url: The receiver.
        body: What to send, as it is; JSON.
        headers: Headers to add, such as those of `sign()`.
        policy: What may be called. It is asked on every call, and looks the host up anew.
        ssl_context: How certificates are checked; by default against the authorities that the
            system trusts.
        connect_timeout: Seconds to connect, TLS included.
        total_timeout: Seconds from the lookup of the host to the head of the reply; its body has one
            more.

    Raises:
        DeliveryRefused: If the URL, or an address of its host, is not allowed. Nothing was sent.
        DeliveryFailed: If it was not acknowledged. The receiver may have got it all the same.
        ValueError: If a header cannot be sent or is not the caller's to set, such as `Host`.
    """
    endpoint = policy.parse(url)
    connection = h11.Connection(our_role=h11.CLIENT)
    request = _request(connection, endpoint, body, headers)
    try:
        async with asyncio.timeout(total_timeout) as timer:
            addresses = await policy.approve(endpoint)
            context = (ssl_context or _system_trust()) if endpoint.is_tls else None
            async with _connected(endpoint, addresses, context, connect_timeout) as (reader, writer):
                # Not drained: a receiver may answer, and be heard, before it has read it all.
                writer.write(request)
                reply = _Reply(connection, reader)
                head = await reply.head()
                # It has answered; what takes long now must not turn that into a time-out.
                timer.reschedule(None)
                await reply.throw_away()
    except TimeoutError:
        raise DeliveryFailed(endpoint.host, f"no answer within {total_timeout:g} s") from None
    except OSError:
        raise DeliveryFailed(endpoint.host, "the connection was lost before it answered") from None
    except h11.RemoteProtocolError:
        # What the parser says quotes the reply.
        raise DeliveryFailed(endpoint.host, "what it answered is not HTTP/1.1") from None
    return _outcome(endpoint, head)


class _Reply:
    """The reply on one connection, of which no more than `MOST_READ` bytes are read."""

    def __init__(self, connection: h11.Connection, reader: asyncio.StreamReader) -> None:
        self._connection = connection
        self._reader = reader
        self._left = MOST_READ

    async def head(self) -> h11.Response:
        """Return the status and the headers."""
        while True:
            event = self._connection.next_event()
            if isinstance(event, h11.Response):
                return event
            if event is h11.NEED_DATA:
                if not await self._read():
                    raise ConnectionResetError
            elif not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("not the head")  # pragma: no cover - h11 has nothing else

    async def throw_away(self) -> None:
        """Let the receiver finish its reply, within bounds; how it ends does not matter any more."""
        with contextlib.suppress(TimeoutError, OSError, h11.RemoteProtocolError):
            async with asyncio.timeout(_LAST_READ):
                while True:
                    event = self._connection.next_event()
                    if event is h11.NEED_DATA:
                        if not await self._read():
                            return
                    elif not isinstance(event, h11.Data):
                        return

    async def _read(self) -> bool:
        """Hand on what comes next; return False at the end, or if no more may be read."""
        data = await self._reader.read(min(_CHUNK, self._left))
        if data:
            self._left -= len(data)
            self._connection.receive_data(data)
        return bool(data)


@asynccontextmanager
async def _connected(
    endpoint: Endpoint, addresses: Sequence[str], context: ssl.SSLContext | None, timeout: float
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the first of *addresses* that takes one, within *timeout* seconds for them all."""
    reader, writer = await _connect(endpoint, addresses[:_MOST_ADDRESSES], context, timeout)
    try:
        yield reader, writer
    finally:
        # At once: a receiver that does not say goodbye shall not keep the socket.
        writer.transport.abort()


async def _connect(
    endpoint: Endpoint, addresses: Sequence[str], context: ssl.SSLContext | None, timeout: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + timeout
    reason = ""
    for tried, address in enumerate(addresses):
        share = (ends_at - loop.time()) / (len(addresses) - tried)
        try:
            async with asyncio.timeout(share):
                return await asyncio.open_connection(
                    address,
                    endpoint.port,
                    ssl=context,
                    server_hostname=endpoint.host if context is not None else None,
                    limit=_CHUNK,
                )
        except ssl.SSLCertVerificationError as error:
            # The other addresses answer for the same name.
            reason = f"its certificate was not accepted: {error.verify_message}"
            break
        except ssl.SSLError:
            reason = "no encrypted connection could be made"
        except TimeoutError:
            reason = f"no connection within {timeout:g} s"
        except OSError:
            reason = "it takes no connections"
    raise DeliveryFailed(endpoint.host, reason)


@functools.cache
def _system_trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _request(
    connection: h11.Connection, endpoint: Endpoint, body: bytes, headers: Mapping[str, str]
) -> bytes:
    """Return all that is sent."""
    ours = next((name for name in headers if name.lower() in _OURS), None)
    if ours is not None:
        raise ValueError(f"header {ours!r} follows from the connection and cannot be given")
    given = {name.lower() for name in headers}
    usual = {
        "Content-Type": "application/json",
        "Accept": "*/*",
        "User-Agent": "taskqueue-engine",
    }
    lines = [
        ("Host", endpoint.host_header),
        *((name, value) for name, value in usual.items() if name.lower() not in given),
        *headers.items(),
        ("Accept-Encoding", "identity"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    try:
        head = connection.send(h11.Request(method="POST", target=endpoint.target, headers=lines))
    except (h11.LocalProtocolError, UnicodeEncodeError):
        raise ValueError("a header has characters that cannot be sent") from None
    sent = (head, connection.send(h11.Data(data=body)), connection.send(h11.EndOfMessage()))
    return b"".join(part or b"" for part in sent)


def _outcome(endpoint: Endpoint, head: h11.Response) -> Delivered:
    status = head.status_code
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Delivered(status)
    reason = f"it answered {status}"
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        reason += "; redirects are not followed"
    raise DeliveryFailed(endpoint.host, reason, status=status, retry_after=_retry_after(head))


def _retry_after(head: h11.Response) -> float | None:
    """Return the seconds of the header `Retry-After`, which has a number of them or an instant."""
    text = next((value.decode("latin-1") for name, value in head.headers if name == b"retry-after"), "")
    seconds: float
    if text.isascii() and text.isdigit():
        # A long row of digits would be refused by int(), and means as much as this one.
        seconds = int(text[:10])
    else:
        try:
            instant = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
        seconds = (aware - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)
