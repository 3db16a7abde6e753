"""Bytes that no client would send, over real sockets: the service says no, hangs up, and goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from taskqueue.api.protocol import LONGEST_HEAD, HttpProtocol
from tests.api.conftest import TASK
from tests.api.raw import Answer, assert_proper, opened, received, request, say, say_at_once, send
from tests.api.raw import answers as taken_apart
from tests.api.standing import Standing, assert_unharmed, standing
from tests.servers import RealServer

BODY_TIMEOUT = HEAD_TIMEOUT = 0.3
"""Seconds after which the service gives up on a request that does not come; shorter than any patience."""

POST = "/v1/async/task"
STATUS = "/v1/async/status"
BODY = json.dumps(TASK).encode()


@pytest.fixture(scope="module")
def standing_service(server: RealServer) -> Iterator[Standing]:
    """The service, with little patience for slow clients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HttpProtocol, "head_timeout", HEAD_TIMEOUT)
        with standing(server, "raw-bytes", body_timeout=BODY_TIMEOUT, sync_timeout=5) as made:
            yield made


@pytest.fixture
def service(standing_service: Standing) -> Iterator[Standing]:
    """The service; after the test it answers as before, has logged no error, and nothing is left of it."""
    before = standing_service.left()
    yield standing_service
    assert_unharmed(standing_service, before)


def assert_refused(answers: list[Answer], *statuses: int) -> None:
    """Fail unless there is exactly one answer, an error in the service's one shape, with such a status."""
    (answer,) = answers
    assert answer.status in statuses, answer
    assert_proper(answer)


def _post(service: Standing) -> bytes:
    """Return a whole request that only lacks credits."""
    return request("POST", POST, service.keys["initech"], BODY)


def _get(service: Standing, path: str = STATUS) -> bytes:
    return request("GET", path, service.keys["initech"])


NO_HTTP: dict[str, bytes] = {
    "noise": bytes(range(256)),
    "a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "NUL": b"\x00",
    "a method that nobody has": b"BREW /v1/async/status HTTP/1.1\r\n\r\n",
    "a method in small letters": b"get /v1/async/status HTTP/1.1\r\n\r\n",
    "a version that nobody has": b"GET /v1/async/status HTTP/3.7\r\n\r\n",
    "no version but more": b"GET /v1/async/status HTTP\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\n\r\n",
    "two paths": b"GET /v1 /v1 HTTP/1.1\r\n\r\n",
    "a tunnel": b"CONNECT example.com:443 HTTP/1.1\r\n\r\n",
    "NUL in the path": b"GET /v1/\x00 HTTP/1.1\r\n\r\n",
    "UTF-8 in the path": "GET /v1/é HTTP/1.1\r\n\r\n".encode(),
    "no UTF-8 in the path": b"GET /v1/\xff\xfe HTTP/1.1\r\n\r\n",
    "no UTF-8 in the query": b"GET /v1/async/tasks?cursor=\xff HTTP/1.1\r\n\r\n",
    "no host in the address": b"GET http:///v1 HTTP/1.1\r\n\r\n",
    "no port in the address": b"GET http://a:b/v1 HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in NO_HTTP.items()])
def test_what_is_no_http_is_refused(service: Standing, data: bytes) -> None:
    """400 in the service's own shape, and the connection ends."""
    assert_refused(say(service.port, data), 400)


HEADERS: dict[str, bytes] = {
    "a name with a space": b"A b: c",
    "a name with a space before the colon": b"A : c",
    "a name that is no text": b"A\xff: c",
    "no name": b": c",
    "no colon": b"Abc",
    "NUL": b"A: b\x00c",
    "a bell": b"A: b\x07c",
    "a second line": b"A: b\r\n c",
    "a lonely line feed": b"A: b\nB: c",
    "a lonely carriage return": b"A: b\rB: c",
}


@pytest.mark.parametrize("header", [pytest.param(data, id=name) for name, data in HEADERS.items()])
def test_a_broken_header_is_refused(service: Standing, header: bytes) -> None:
    """Nobody guesses what it meant. Line feeds by themselves end no line."""
    assert_refused(say(service.port, _get(service).replace(b"Host:", header + b"\r\nHost:")), 400)


@pytest.mark.parametrize("value", [b"\xff\xfe", b"\xed\xa0\x80", b"\xc3\xa9", b"\x80" * 5_000])
@pytest.mark.parametrize("name", [b"Authorization", b"Content-Type", b"Cookie", b"Content-Encoding"])
def test_no_text_in_a_header_is_an_answer_like_others(service: Standing, name: bytes, value: bytes) -> None:
    """Bytes above ASCII are allowed in values; a key that has them is none."""
    data = _post(service).replace(b"Host:", b"%b: %b\r\nHost:" % (name, value))

    assert_refused(say(service.port, data), 401, 403, 415)


PATHS = [
    b"/v1/async/task/%00",
    b"/v1/async/task/%FF%FE",
    b"/v1/async/task/%ED%A0%80",
    b"/v1/async/task/%zz%",
    b"/v1/async/task/%0d%0aX-Injected:%20yes",
    b"/v1/async/task/../../../../etc/passwd",
    b"/v1/async/task/..%2f..%2fetc%2fpasswd",
    b"/v1/async/task/%2F%2F%2F",
    b"/v1/async/task/",
    b"/v1/async/task//events",
    b"/v1/async/task/" + b"%41" * 10_000,
    b"/v1/async/task/" + b"a" * 60_000,
    b"/v1/tasks/_webhook",
    b"/v1//async/status",
    b"//evil.example/v1/async/status",
    b"http://evil.example/v2",
    b"/%76%31/nope",
    b"/v1/async/status/%2e%2e/queue",
    b"/v1" + b"/" * 5_000,
    b"*",
]


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_a_strange_path_is_not_found(service: Standing, path: bytes) -> None:
    """404, and no header of the client's own making in the answer."""
    answers = say(service.port, _get(service).replace(STATUS.encode(), path))

    assert_refused(answers, 404)
    assert "x-injected" not in answers[0].headers


QUERIES = [b"%00", b"%FF=%FE", b"=", b"&" * 5_000, b"limit=" + b"9" * 5_000, b"cursor=" + b"A" * 50_000]
QUERIES += [b"status=%ED%A0%80", b"limit=%2B5", b"limit=1e1", b"taskType[]=GROK", b"a=1&" * 1_000, b"limit"]


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_a_strange_query_is_refused(service: Standing, query: bytes) -> None:
    """400 that names it."""
    assert_refused(say(service.port, _get(service, "/v1/async/tasks?@").replace(b"@", query)), 400)


LENGTHS: dict[bytes, int] = {
    b"-1": 400,
    b"+5": 400,
    b"0x10": 400,
    b"1e3": 400,
    b"5 5": 400,
    b"": 400,
    b"9" * 30: 400,
    b"5, 5": 400,
    b"5\r\nContent-Length: 7": 400,
    b"5\r\nContent-Length: 5": 400,
    b"9999999999": 413,
    b"0": 400,
    b"7": 400,
    b"%d" % (len(BODY) + 1): 408,
    b"%d" % (len(BODY) - 1): 400,
}


@pytest.mark.parametrize(("length", "status"), LENGTHS.items(), ids=range(len(LENGTHS)))
def test_a_length_that_is_a_lie_is_refused(service: Standing, length: bytes, status: int) -> None:
    """Too short, too long, twice, or none at all: never a task of half a body, nor a second request."""
    data = _post(service).replace(b"Content-Length: %d" % len(BODY), b"Content-Length: " + length)

    assert_refused(say(service.port, data), status)


CODINGS: dict[str, bytes] = {
    "gzip": b"gzip",
    "something that ends on chunked": b"xchunked",
    "chunked before another one": b"chunked, identity",
    "chunked in quotes": b'"chunked"',
    "chunked twice": b"chunked\r\nTransfer-Encoding: chunked",
    "with a vertical tab": b"\x0bchunked",
    "a length too": b"chunked\r\nContent-Length: 5",
    "a length before": b"identity\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
}


@pytest.mark.parametrize("coding", [pytest.param(data, id=name) for name, data in CODINGS.items()])
def test_no_request_is_smuggled_in_a_body(service: Standing, coding: bytes) -> None:
    """Two readers of one request could disagree where it ends: what is inside of it never runs."""
    inner = request("DELETE", "/v1/async/queue", service.keys["acme"])
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)
    head = _post(service).partition(b"\r\n\r\n")[0].replace(b"Connection: close", b"Connection: keep-alive")
    length = b"Content-Length: %d" % len(BODY)
    for body in (chunked, inner, b"0\r\n\r\n" + inner):
        data = head.replace(length, b"Transfer-Encoding: " + coding) + b"\r\n\r\n" + body

        answers = say(service.port, data)

        assert [answer.status for answer in answers] == [400], answers


CHUNKS: dict[str, tuple[bytes, int]] = {
    "no number": (b"zz\r\nabc\r\n0\r\n\r\n", 400),
    "below zero": (b"-5\r\nabc\r\n0\r\n\r\n", 400),
    "more than there is room for": (b"f" * 20 + b"\r\nabc", 400),
    "more than came": (b"fff\r\nabc", 408),
    "less than came": (b"2\r\nabc\r\n0\r\n\r\n", 400),
    "line feeds alone": (b"2\n{}\n0\n\n", 400),
    "no end": (b"2\r\n{}\r\n", 408),
    "a huge extension": (b"2;" + b"x" * 300_000, 431),
    "a huge trailer": (b"2\r\n{}\r\n0\r\nA: " + b"x" * 300_000, 431),
    "many trailers": (b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 50_000, 431),
}


@pytest.mark.parametrize(("body", "status"), CHUNKS.values(), ids=CHUNKS)
def test_a_broken_chunk_is_refused(service: Standing, body: bytes, status: int) -> None:
    """What is said beside the chunks is bounded as heads are."""
    head = _post(service).partition(b"\r\n\r\n")[0]
    head = head.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked")

    answers = say(service.port, head + b"\r\n\r\n" + body)

    # Some are broken only after the body is whole, which is no task; nothing comes after its answer.
    assert_refused(answers, status, 400)


@pytest.mark.parametrize("line", [b"A: b\r\n", b"A: " + b"b" * 5_000 + b"\r\n", b"A" * 5_000 + b": b\r\n"])
def test_a_head_that_does_not_end_is_refused(service: Standing, line: bytes) -> None:
    """431 after 64 KiB, of many headers as of a few long ones; a head of that size passes."""
    get, room = _get(service), LONGEST_HEAD - 500
    fits = get.replace(b"Host:", line * (room // len(line)) + b"Host:")
    bombs = [
        get.replace(b"Host:", line * (2 * LONGEST_HEAD // len(line)) + b"Host:"),
        get.replace(b"Host:", line * (5_000_000 // len(line)) + b"Host:"),
        get.replace(b"Host:", b"A: " + b"b" * 5_000_000),
        get.replace(b"/status", b"/" + b"s" * 1_000_000),
    ]

    assert [answer.status for answer in say(service.port, fits)] == [200]
    for answers in say_at_once(service.port, bombs):
        # The answer may be lost when the service hangs up before it has read all that came.
        assert [answer.status for answer in answers] in ([431], [])


@pytest.mark.parametrize("sent", [1, 17, 40])
def test_a_head_that_stops_is_given_up(service: Standing, sent: int) -> None:
    """408; so is one that drips, however long it goes on."""
    data = _get(service)[:sent]

    assert_refused(say(service.port, data), 408)
    started = time.monotonic()
    assert_refused(say(service.port, *(data[i : i + 1] for i in range(sent)), pause=HEAD_TIMEOUT / 10), 408)
    assert time.monotonic() - started < max(HEAD_TIMEOUT, sent * HEAD_TIMEOUT / 10) + 5


def test_a_client_that_says_nothing_is_hung_up_on(service: Standing) -> None:
    """There is nothing to answer."""
    assert say(service.port) == []


@pytest.mark.parametrize("sent", [0, 1, len(BODY) // 2, len(BODY) - 1])
def test_a_body_that_stops_is_given_up(service: Standing, sent: int) -> None:
    """408, and no task of what has come; so it is for a body that drips."""
    data = _post(service)
    head, body = data[: -len(BODY)], BODY[:sent]

    assert_refused(say(service.port, head + body), 408)
    drops = [BODY[i : i + 1] for i in range(10)]
    assert_refused(say(service.port, head, *drops, pause=BODY_TIMEOUT / 5), 408)


def test_a_client_that_goes_away_leaves_nothing(service: Standing) -> None:
    """In the head, before the body, inside of it, and before the answer."""
    data = _post(service)
    for cut in (10, 100, len(data) - len(BODY), len(data) - 10, len(data)):
        with opened(service.port) as connection:
            send(connection, data[:cut])


def test_a_body_that_nobody_waits_for_ends_soon(service: Standing) -> None:
    """Its request is refused by the head; the rest may come, but not for ever."""
    length = b"Content-Length: %d" % len(BODY)
    for ends in (b"Content-Length: 1000000", b"Transfer-Encoding: chunked"):
        data = _post(service).replace(b"Bearer sk_live", b"Bearer sk_none").replace(length, ends)

        answers = say(service.port, data.replace(b"Connection: close", b"Connection: keep-alive"))

        assert_refused(answers, 401, 400)


BODIES: dict[str, bytes] = {
    "no UTF-8": b'{"taskType": "\xff\xfe"}',
    "half a character": b'{"taskType": "\xc3"}',
    "NUL": BODY.replace(b"Acme", b"\x00"),
    "an escaped NUL": BODY.replace(b"Acme", b"\\u0000"),
    "half of a pair": BODY.replace(b"Acme", b"\\ud800"),
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and whole": b'{"payload":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "many values": b"[" + b"{}," * 200_000 + b"{}]",
    "one long number": b'{"priority": ' + b"1" * 100_000 + b"}",
    "one long name": b'{"' + b"a" * 100_000 + b'": 1}',
    "many names": b"{" + b",".join(b'"%d":1' % n for n in range(20_000)) + b"}",
    "one name twice": b'{"taskType": "GROK", "taskType": "GROK"}',
    "a long number of a batch": b"[" + b"{}," * 499 + b"1e400]",
    "a gzip": b"\x1f\x8b\x08\x00" + b"\x00" * 50,
    "two documents": BODY + BODY,
    "UTF-16": BODY.decode().encode("utf-16"),
    "a form": b"taskType=GROK&payload=x",
}


@pytest.mark.parametrize("path", [POST, f"{POST}/batch", "/v1/monitor/chatgpt", "/v1/monitor/google/goto"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_task_is_refused(service: Standing, path: str, body: bytes) -> None:
    """400, whatever the parser would make of it."""
    assert_refused(say(service.port, request("POST", path, service.keys["initech"], body)), 400)


def test_garbage_after_a_request_does_not_cost_its_answer(service: Standing) -> None:
    """Requests that came whole are answered in their order; what follows them is not read."""
    good = request("GET", STATUS, service.keys["initech"], close=False)
    for pieces in (
        [good * 3 + b"\x00garbage\r\n\r\n"],
        [good * 3 + b"A: b\r\n" * 50_000],
        [good * 3, b"GET"],
        [good * 3, b"\r\n" * 50_000],
    ):
        answers = say(service.port, *pieces, pause=0.01)

        assert [answer.status for answer in answers[:3]] == [200] * 3
        assert all(answer.status in {400, 408, 431} for answer in answers[3:])


def test_a_chunk_that_is_broken_behind_an_answer_gets_none(service: Standing) -> None:
    """The request was refused by its head; nobody could tell a second answer from one to the next request."""
    head = _post(service).partition(b"\r\n\r\n")[0].replace(b"Bearer sk_live", b"Bearer sk_none")
    head = head.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked")
    with opened(service.port) as connection:
        send(connection, head.replace(b"Connection: close", b"Connection: keep-alive") + b"\r\n\r\n")
        first = connection.recv(65_536)

        send(connection, b"zz\r\n")
        rest = received(connection)

    assert_refused(taken_apart(first + rest), 401)


def test_another_protocol_is_not_spoken(service: Standing) -> None:
    """Who asks for WebSocket or HTTP/2 gets a plain answer; what they send after it is not read."""
    inner = request("DELETE", "/v1/async/queue", service.keys["acme"])
    for wanted in (b"websocket", b"h2c", b"TLS/1.0"):
        upgrade = b"Connection: Upgrade\r\nUpgrade: " + wanted
        key = b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13"
        answers = say(service.port, _get(service).replace(b"Connection: close", upgrade + key) + inner)
        assert [answer.status for answer in answers] == [200]

        answers = say(service.port, _post(service).replace(b"Connection: close", upgrade))
        assert_refused(answers, 400)
