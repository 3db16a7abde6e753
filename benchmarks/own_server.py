"""A server that belongs to the benchmarks alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from tests.servers import RealServer

AppendOnly = Literal["no", "everysec", "always"]
Server = Literal["valkey", "redis"]
Socket = Literal["tcp", "unix"]


@contextmanager
def own_server(kind: Server, appendonly: AppendOnly, socket: Socket) -> Iterator[str]:
    """Start a server in a temporary folder, yield its URL, and leave nothing behind."""
    is_on, fsync = ("no", "no") if appendonly == "no" else ("yes", appendonly)
    with RealServer(kind, tcp=socket == "tcp", appendonly=is_on, appendfsync=fsync) as server:
        yield server.tcp_url if socket == "tcp" else server.url
