"""One question to a server on a unix socket, without a client library. Part of the guard: keep it light."""

from __future__ import annotations

import socket


def ask(path: str, *words: str, timeout: float = 1.0) -> str:
    """Send one command and return the first line of the reply, such as `"+PONG"`.

    Raises:
        OSError: If nothing listens at *path*, or the reply does not come within *timeout* seconds.
    """
    request = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(request.encode())
        reply = b""
        while b"\r\n" not in reply:
            received = connection.recv(4096)
            if not received:
                raise ConnectionResetError(f"the server at {path} closed the connection")
            reply += received
    return reply.split(b"\r\n", 1)[0].decode("utf-8", "replace")
