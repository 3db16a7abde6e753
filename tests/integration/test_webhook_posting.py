"""Deliveries over real sockets: what arrives, what acknowledges, and what is never told to anyone."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import socket
import struct
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from taskqueue.webhooks import (
    Delivered,
    DeliveryFailed,
    DeliveryRefused,
    EgressPolicy,
    new_webhook_secret,
    post,
    sign,
    standard_headers,
)
from tests.integration.webhook_receiver import (
    Answer,
    Receiver,
    local_policy,
    receiver,
    repeats,
    says,
    silence,
    status,
)
from tests.integration.wire_scenes import on_both_loops, until

BODY = '{"task":{"id":"task_1","status":"COMPLETED"},"response":{"text":"ü €"}}'.encode()
CANARY = "canary-7f3a"
LOST, NO_HTTP = "the connection was lost before it answered", "what it answered is not HTTP/1.1"


async def failure(answer: Answer, body: bytes = BODY, **options: Any) -> DeliveryFailed:
    """How a delivery to this receiver fails."""
    async with receiver(answer) as there:
        with pytest.raises(DeliveryFailed) as failed:
            await post(there.url(), body, {}, policy=local_policy(), **options)
    assert failed.value.host == "127.0.0.1"
    return failed.value


def verify(secret: str, there: Receiver) -> str:
    """Check the last request as the contract tells receivers to; return its webhook id."""
    request = there.requests[-1]
    timestamp = request.headers["X-Cloro-Timestamp"]
    assert str(int(timestamp)) == timestamp
    assert abs(time.time() - int(timestamp)) <= 300
    mac = hmac.new(secret.encode(), digestmod=hashlib.sha256)
    mac.update(timestamp.encode() + b"." + request.body)
    version, _, signature = request.headers["X-Cloro-Signature"].partition("=")
    assert version == "v1"
    assert hmac.compare_digest(signature, mac.hexdigest())
    return request.headers["X-Cloro-Webhook-Id"]


@on_both_loops
async def test_a_signed_webhook_arrives_byte_for_byte() -> None:
    """The receiver verifies the raw bytes; every header comes once and as it is spelled."""
    secret = new_webhook_secret()
    async with receiver(status(200)) as there:
        now = int(time.time())
        headers = sign(secret, BODY, "task_1", 3, now) | standard_headers([secret], BODY, "task_1", now)

        assert await post(
            there.url(target="/hook?a=%20b"), BODY, headers, policy=local_policy()
        ) == Delivered(200)

    (request,) = there.requests
    assert verify(secret, there) == "task_1-3"
    assert request.line == "POST /hook?a=%20b HTTP/1.1"
    assert request.body == BODY
    assert {name: value for name, value in request.headers.items() if name not in headers} == {
        "Host": f"127.0.0.1:{there.port}",
        "Content-Type": "application/json",
        "Accept": "*/*",
        "User-Agent": "taskqueue-engine",
        "Accept-Encoding": "identity",
        "Content-Length": str(len(BODY)),
        "Connection": "close",
    }
    assert headers.items() <= request.headers.items()


@on_both_loops
async def test_a_large_body_arrives_whole() -> None:
    """Larger than every buffer on the way."""
    body = bytes(range(256)) * 20_000
    async with receiver(status(202)) as there:
        assert await post(there.url(), body, {}, policy=local_policy()) == Delivered(202)

    assert there.requests[0].body == body


@pytest.mark.parametrize("number", [200, 201, 204, 299])
async def test_any_2xx_acknowledges(number: int) -> None:
    """Contract: any 2xx."""
    async with receiver(status(number)) as there:
        assert await post(there.url(), BODY, {}, policy=local_policy()) == Delivered(number)


async def begins_and_resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A head, a part of what it promises, and a reset of the connection in the middle of the rest."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    await writer.drain()
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await asyncio.sleep(0.05)
    writer.transport.abort()


@on_both_loops
async def test_a_reply_that_breaks_off_behind_its_status_acknowledges() -> None:
    """The status has said it; what becomes of the rest is the receiver's business."""
    async with receiver(begins_and_resets) as there:
        delivered = await post(there.url(), BODY, {}, policy=local_policy())

    assert delivered.status == 200


@on_both_loops
async def test_a_receiver_may_finish_its_reply() -> None:
    """Nobody hangs up between its head and its body, which would look like a failure in its logs."""
    seen: list[bool] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        await asyncio.sleep(0.05)
        seen.append(not reader.at_eof())
        writer.write(b"done")

    async with receiver(answer) as there:
        await post(there.url(), BODY, {}, policy=local_policy())

    assert seen == [True]


@pytest.mark.parametrize("number", [300, 304, 400, 401, 404, 410, 418, 429, 500, 503, 599])
async def test_any_other_status_has_failed(number: int) -> None:
    """And is told, so that the caller may treat one unlike another."""
    failed = await failure(status(number))

    assert failed.status == number
    is_redirect = 300 <= number < 400
    assert failed.reason == f"it answered {number}" + ("; redirects are not followed" if is_redirect else "")
    assert failed.retry_after is None


@pytest.mark.parametrize("number", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(number: int) -> None:
    """It would lead around the policy: to metadata, or simply elsewhere with a signed body."""
    async with receiver(status(200)) as elsewhere:
        for target in (elsewhere.url(), "http://169.254.169.254/latest/meta-data/", "/other"):
            failed = await failure(status(number, f"Location: {target}"))

            assert (failed.status, failed.reason[-28:]) == (number, "; redirects are not followed")

    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", 0), ("120", 120), ("86401", 86_400), ("9" * 5000, 86_400), ("-1", None), ("1.5", None),
     ("soon", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Thu, 99 Foo 1970", None),
     ("Thu, 01 Jan " + "9" * 30 + " 00:00:00 GMT", None),
     ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400), ("", None), ("\u0663".encode().decode("latin-1"), None)],
)  # fmt: skip
async def test_retry_after_is_understood_and_bounded(value: str, expected: float | None) -> None:
    """A receiver may slow us down, but not for ever, and nonsense is no answer."""
    reply = b"HTTP/1.1 503 Busy\r\nRetry-After: " + value.encode("latin-1") + b"\r\nContent-Length: 0\r\n\r\n"

    assert (await failure(says(reply))).retry_after == expected


async def test_retry_after_may_be_an_instant() -> None:
    """Counted from now."""
    instant = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    failed = await failure(status(429, f"Retry-After: {instant}"))

    assert failed.retry_after == pytest.approx(100, abs=5)


@pytest.mark.parametrize(
    "answer",
    [
        status(500, f"X-Secret: {CANARY}", body=CANARY.encode()),
        status(302, f"Location: http://a.example/{CANARY}"),
        says(f"HTTP/1.1 500 {CANARY}\r\nContent-Length: 0\r\n\r\n".encode()),
        says(f"HTTP/1.1 503 Busy\r\nRetry-After: {CANARY}\r\n\r\n".encode()),
        says(f"{CANARY}\r\n\r\n".encode()),
        says(f"HTTP/1.1 {CANARY}\r\n\r\n".encode()),
        says(f"HTTP/1.1 200 OK\r\nContent-Length: {CANARY}\r\n\r\n".encode()),
    ],
    ids=["body", "location", "reason", "retry-after", "no HTTP", "no status", "length"],
)
async def test_nothing_that_the_receiver_wrote_is_shown(
    answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be the answer of a machine that the tenant cannot reach: only the status gets out.

    Nor are the path and query of the address, which hold passwords of receivers.
    """
    caplog.set_level(logging.DEBUG)
    async with receiver(answer) as there:
        with pytest.raises(DeliveryFailed) as failed:
            await post(there.url(target=f"/{CANARY}?key={CANARY}"), BODY, {}, policy=local_policy())

    told = "".join(traceback.format_exception(failed.value)) + repr(vars(failed.value)) + caplog.text
    # The traceback quotes the source of this test, which spells the name but not the value.
    assert CANARY not in told


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says(b""), LOST),
        (says(b"HTTP/1.1 200 O"), LOST),
        (says(b"HTTP/1.1 200 OK\r\nX: y\r\n"), LOST),
        (says(b"HTTP/1.1 100 Continue\r\n\r\n"), LOST),
        (says(b"220 mail.example ESMTP\r\n"), LOST),
        (says(b"220 mail.example ESMTP\r\n\r\n"), NO_HTTP),
        (says(b"HTTP/1.1 99 Low\r\n\r\n"), NO_HTTP),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), NO_HTTP),
        (says(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), NO_HTTP),
        (says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), NO_HTTP),
        (says(b"\x00\xff" * 100 + b"\r\n\r\n"), NO_HTTP),
    ],
)  # fmt: skip
async def test_an_answer_that_is_none_has_failed(answer: Answer, reason: str) -> None:
    """There is no status to go by."""
    failed = await failure(answer)

    assert failed.reason == reason
    assert failed.status is None


async def test_1xx_before_the_answer_is_passed_over() -> None:
    """Hints and `100 Continue` may come at any time."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3
    async with receiver(says(early + b"HTTP/1.1 204 No Content\r\n\r\n")) as there:
        assert await post(there.url(), BODY, {}, policy=local_policy()) == Delivered(204)


@pytest.mark.parametrize("reads", [True, False])
@on_both_loops
async def test_a_receiver_that_hangs_has_failed_in_time(reads: bool) -> None:
    """Whether or not it reads; and its connection is closed, which the fixture waits for."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (silence(reader, writer) if reads else until(finished.is_set, "it gave up"))

    finished = asyncio.Event()
    started = time.monotonic()
    async with receiver(hang, reads=reads) as there:
        with pytest.raises(DeliveryFailed, match=r"no answer within 0\.3 s"):
            await post(there.url(), bytes(10**7), {}, policy=local_policy(), total_timeout=0.3)
        finished.set()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "answer",
    [
        repeats(b"HTTP/1.1 200 OK\r\n", b"X", 0.01),
        repeats(b"", b"HTTP/1.1 102 Processing\r\n\r\n", 0.01),
    ],
    ids=["a head, byte by byte", "promises"],
)  # fmt: skip
@on_both_loops
async def test_a_slow_drip_does_not_put_off_the_end(answer: Answer) -> None:
    """The bound is on all of the delivery, not on the wait for the next byte."""
    started = time.monotonic()
    failed = await failure(answer, total_timeout=0.3)

    assert "no answer within 0.3 s" in failed.reason
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "answer",
    [
        repeats(b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"x" * 1000 + b"\r\n"),
        repeats(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1000),
        repeats(b"", b"x" * 1000),
        repeats(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 100),
    ],
    ids=["headers", "one header", "no line", "promises"],
)
@on_both_loops
async def test_an_endless_head_has_failed(answer: Answer) -> None:
    """Long before the time is up."""
    assert (await failure(answer)).status is None


async def test_an_answer_before_the_body_was_read_is_heard() -> None:
    """A receiver that wants no large bodies says so at once, and need not take it first."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await heard.wait()

    heard = asyncio.Event()
    async with receiver(refuse, reads=False) as there:
        with pytest.raises(DeliveryFailed) as failed:
            await post(there.url(), bytes(10**7), {}, policy=local_policy(), total_timeout=5)
        heard.set()

    assert failed.value.status == 413


@on_both_loops
async def test_a_cancelled_delivery_leaves_no_connection() -> None:
    """The worker that sends it may be told to stop; the receiver's fixture waits for the end."""
    async with receiver(silence) as there:
        sending = asyncio.create_task(post(there.url(), BODY, {}, policy=local_policy()))
        await there.arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_proxies_and_passwords_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A proxy would connect where it likes, and a .netrc hands out passwords."""
    async with receiver(status(200)) as proxy, receiver(status(200)) as there:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url(target=""))
        netrc = tmp_path / "netrc"
        netrc.write_text("default login me password secret")
        monkeypatch.setenv("NETRC", str(netrc))

        await post(there.url(), BODY, {}, policy=local_policy())

    assert proxy.connections == 0
    assert "Authorization" not in there.requests[0].headers


async def test_the_caller_may_add_headers_and_replace_the_usual_ones() -> None:
    """Without regard to small and capital letters."""
    async with receiver(status(200)) as there:
        given = {"content-type": "application/json; charset=utf-8", "X-Mine": "1", "USER-AGENT": "me"}
        await post(there.url(), BODY, given, policy=local_policy())

    headers = there.requests[0].headers
    assert given.items() <= headers.items()
    assert "Content-Type" not in headers
    assert "User-Agent" not in headers


@pytest.mark.parametrize(
    "headers",
    [{"Host": "a"}, {"content-length": "1"}, {"Transfer-Encoding": "chunked"}, {"Expect": "100-continue"},
     {"X": "a\r\nY: b"}, {"X": "a\0"}, {"X\r\nY": "a"}, {"X Y": "a"}, {"X": "€"}, {"": "a"}],
)  # fmt: skip
async def test_headers_that_would_change_the_request_are_refused(headers: dict[str, str]) -> None:
    """They would end lines early or disagree with what is sent; nothing is sent at all."""
    async with receiver(status(200)) as there:
        with pytest.raises(ValueError, match=r"^(a header has characters that cannot be sent|header '.*)$"):
            await post(there.url(), BODY, headers, policy=local_policy())

    assert there.connections == 0


async def test_the_default_policy_reaches_nothing_here() -> None:
    """Neither by the address nor by a name that leads to it, and not without TLS."""
    async with receiver(status(200)) as there:
        for url in (there.url(), there.url(scheme="https"), there.url("localhost", scheme="https")):
            with pytest.raises(DeliveryRefused):
                await post(url, BODY, {}, policy=EgressPolicy())
            with pytest.raises(DeliveryRefused):
                await post(url, BODY, {}, policy=local_policy(allow_loopback=False))

    assert there.connections == 0
