"""What is sent, byte by byte: the head, the body, and nothing behind it."""

from __future__ import annotations

import h11
import pytest

from taskqueue.webhooks import Endpoint
from taskqueue.webhooks.posting import _request


@pytest.mark.parametrize("body", [b"{}", b""])
def test_nothing_follows_the_body(body: bytes) -> None:
    """A receiver that keeps its connections would take it for the next request."""
    endpoint = Endpoint("https", "a.example", 443, "/hook?x=1")

    sent = _request(h11.Connection(our_role=h11.CLIENT), endpoint, body, {"X-Mine": "1"})

    head, _, rest = sent.partition(b"\r\n\r\n")
    assert rest == body
    assert head.split(b"\r\n") == [
        b"POST /hook?x=1 HTTP/1.1",
        b"Host: a.example",
        b"Content-Type: application/json",
        b"Accept: */*",
        b"User-Agent: taskqueue-engine",
        b"X-Mine: 1",
        b"Accept-Encoding: identity",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
    ]
