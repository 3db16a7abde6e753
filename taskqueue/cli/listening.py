"""Where `taskqueue serve` listens, and the address that this gives."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

from taskqueue.cli.exits import Stop

_BACKLOG = 2048
_OF_THE_PORT = (errno.EADDRINUSE, errno.EACCES)
# Told apart, not listened on.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nosec B104


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket that listens, and close it in the end.

    Args:
        host: A name or an address of this machine, IPv4 or IPv6; the first that a name has is taken.
        port: 0 takes a free one.

    Raises:
        Stop: If that is not possible; it says why, and which option to change.
    """
    with _bound(host, port) as bound:
        yield bound


def address_of(bound: socket.socket) -> str:
    """Return the base URL for clients on this machine: the loopback, if it listens everywhere."""
    host, port = bound.getsockname()[:2]
    host = _EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_everywhere(bound: socket.socket) -> bool:
    """Whether it listens on every address of this machine."""
    return bound.getsockname()[0] in _EVERYWHERE


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With the protocol named, asyncio sends small answers at once; else each may wait for 40 ms.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise _refusal(host, port, error) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise _refusal(host, port, error) from error
    return bound


def _refusal(host: str, port: int, error: OSError | UnicodeError) -> Stop:
    if isinstance(error, UnicodeError):
        reason, option = "it is no name of a host", "--host"
    else:
        reason = error.strerror or str(error)
        option = "--port" if error.errno in _OF_THE_PORT else "--host"
    where = host or "''"
    return Stop(f"cannot listen on {where} port {port}: {reason}; choose another with {option}")
