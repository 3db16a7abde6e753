"""A client that sends bytes as they are, and takes what comes back apart."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from typing import Any, cast

HOST = "127.0.0.1"
OVERLOADED = 503
PATIENCE = 10.0
"""Seconds after which a server that says nothing and does not close has failed."""


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Bytes:
    """What has come, as the standard parser wants it."""

    def __init__(self, data: bytes) -> None:
        self.file = BytesIO(data)
        self.file.close = lambda: None  # type: ignore[method-assign]  # the next answer is in it too

    def makefile(self, *_: Any) -> BytesIO:
        return self.file


def request(method: str, path: str, key: str, body: bytes | None = None, *, close: bool = True) -> bytes:
    """Return a request that has nothing wrong; with *close*, the server hangs up after its answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: service", f"Authorization: Bearer {key}"]
    if close:
        lines.append("Connection: close")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def opened(port: int) -> socket.socket:
    """Return a connection to the server."""
    connection = socket.create_connection((HOST, port), PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def send(connection: socket.socket, data: bytes) -> None:
    """Send as much as the other side takes: it may hang up in the middle."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(data)


def received(connection: socket.socket) -> bytes:
    """Return all that comes until the server hangs up; fail if it does not."""
    data = bytearray()
    while True:
        try:
            piece = connection.recv(65_536)
        except ConnectionResetError:
            return bytes(data)
        except TimeoutError:
            raise AssertionError(
                f"the server neither answers nor hangs up; it said {bytes(data)!r}"
            ) from None
        if not piece:
            return bytes(data)
        data += piece


def answers(data: bytes) -> list[Answer]:
    """Take apart what a server sent; the last answer may be cut off, if its client broke it off."""
    found: list[Answer] = []
    source = _Bytes(data)
    while source.file.tell() < len(data):
        response = HTTPResponse(cast("socket.socket", source))
        try:
            response.begin()
            body = response.read()
        except HTTPException as error:
            raise AssertionError(f"no answer of HTTP: {data[-2000:]!r}") from error
        headers = {name.lower(): value for name, value in response.getheaders()}
        found.append(Answer(response.status, headers, body))
    return found


def say(port: int, *pieces: bytes, pause: float = 0.0) -> list[Answer]:
    """Send *pieces* over a new connection, and return all answers that came before it was closed."""
    with opened(port) as connection:
        for piece in pieces:
            send(connection, piece)
            time.sleep(pause)
        return answers(received(connection))


def say_at_once(port: int, requests: Iterable[bytes]) -> list[list[Answer]]:
    """Send each request over a connection of its own, all before the first answer is read."""
    connections = []
    try:
        for each in requests:
            connections.append(opened(port))
            send(connections[-1], each)
        return [answers(received(connection)) for connection in connections]
    finally:
        for connection in connections:
            connection.close()


def assert_proper(answer: Answer) -> None:
    """Fail if an answer is an error of the server's, or an error in another shape than the service's."""
    assert answer.status < 500 or answer.status == OVERLOADED, answer
    if answer.status >= 400:
        body = json.loads(answer.body)
        assert body["success"] is False
        assert {"code", "message", "timestamp"} <= set(body["error"])
