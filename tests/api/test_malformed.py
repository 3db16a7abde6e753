"""Bodies that are no JSON, or too much of it; servers that are away; bugs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from taskqueue import TaskQueue, TaskQueueError
from taskqueue.accounts import Accounts
from taskqueue.api import ApiOptions, create_app
from tests.api.conformance import assert_envelope, checked_client
from tests.api.conftest import PROMPT, SECRET, TASK, Client, error_of
from tests.servers import RealServer

LIMIT = 5_000
CREATING = ("/v1/async/task", "/v1/async/task/batch", "/v1/monitor/chatgpt", "/v1/monitor/google/goto")


@pytest.fixture
def options() -> dict[str, Any]:
    """Limits that are reached quickly."""
    return {"max_task_bytes": LIMIT, "max_body_bytes": LIMIT, "body_timeout": 0.2, "retry_after": 3}


@pytest.mark.parametrize("path", CREATING)
@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "The body is empty"),
        (b"  \n", "The body is empty"),
        (b"{", "not valid JSON"),
        (b"{}{}", "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a": 1,}', "not valid JSON"),
        (b'{"a": 01}', "not valid JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "not valid JSON"),
        (b"taskType=CHATGPT", "not valid JSON"),
        (b'{"a": "\xff"}', "not valid UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not valid UTF-8"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": Infinity}', "Infinity is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": -1e999}', "too large"),
        (b'{"a": ' + b"1" * 4500 + b"}", "thousands of digits"),
        (b'{"a": 1, "a": 2}', "'a' appears twice"),
        (b'{"x": [{"b": {"a": 1, "a": 2}}]}', "'a' appears twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a": "\\uDC00\\uD800"}', "surrogate"),
        (b'{"\\ud800": 1}', "surrogate"),
        (b"[" * 65 + b"]" * 65, "nested deeper than 64"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested deeper than 64"),
        (b"[" * 2000, "n"),
        (b'{"a": "\x00"}', "not valid JSON"),
        (b"\x00", "not valid JSON"),
    ],
)
async def test_what_is_no_json_is_refused(client: Client, path: str, body: bytes, told: str) -> None:
    """400 with a sentence, at every endpoint that has a body."""
    response = await client.post(path, content=body)

    status, code, message, details = error_of(response)
    assert (status, code, message) == (400, "VALIDATION_ERROR", "Request validation failed")
    assert details[0]["field"] == ""
    assert told in details[0]["message"]


@pytest.mark.parametrize("path", CREATING)
@pytest.mark.parametrize(
    "body",
    ["null", "1", '"x"', "true", "[]", "{}", '{"a":{}}', "[[]]", '[{"payload":[]}]', "[" * 64 + "]" * 64],
)
async def test_any_other_json_gets_a_proper_answer(client: Client, path: str, body: str) -> None:
    """Nothing that parses ends in an error of ours."""
    response = await client.post(path, content=body)

    assert response.status_code == (200 if path.endswith("batch") and body == '[{"payload":[]}]' else 400)


async def test_text_of_every_kind_passes(client: Client, queue: TaskQueue) -> None:
    """Pairs of surrogates, emoji, right-to-left marks: they come out as they went in."""
    prompt = 'a\U0001f600\u202e\t"\\</script>\u2028é'
    document = {**TASK, "payload": {**PROMPT, "prompt": prompt}}
    for content in (
        httpx.Request("POST", "http://x", json=document).content,
        json.dumps(document),
    ):
        response = await client.post("/v1/async/task", content=content)
        assert response.status_code == 200, response.text
        task = await queue.get(response.json()["task"]["id"])
        assert task is not None
        assert task.payload["prompt"] == prompt


@pytest.mark.parametrize("path", CREATING)
async def test_a_long_body_is_refused(client: Client, path: str) -> None:
    """By its length if it tells it, as it comes if it does not; the connection is not used again."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * (LIMIT // 2)

    for content in (b" " * (LIMIT + 1), pieces()):
        response = await client.post(path, content=content)

        details = [{"field": "", "message": f"The body is longer than {LIMIT} bytes"}]
        assert error_of(response) == (413, "VALIDATION_ERROR", "Request validation failed", details)
        assert response.headers["connection"] == "close"


async def test_a_long_body_that_comes_in_one_piece_is_refused(app: FastAPI, client: Client) -> None:
    """It did not tell its length, and nothing is left of it to come."""
    request, sent = client.build_request("POST", CREATING[0], content=b" "), []
    scope = {
        "type": "http",
        "method": "POST",
        "path": CREATING[0],
        "raw_path": CREATING[0].encode(),
        "query_string": b"",
        "headers": [(b"authorization", request.headers["authorization"].encode())],
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b" " * (LIMIT + 1), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)

    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_what_the_queue_refuses_is_told_as_the_service_tells_it(url: str, queue_name: str) -> None:
    """400 for a payload that fits the service's limit and not the queue's: alone, in a batch, synchronous."""
    long = {**PROMPT, "prompt": "x" * 3000}
    async with (
        TaskQueue.connect(url, name=queue_name, max_payload=2000) as queue,
        Accounts(queue, SECRET) as accounts,
    ):
        app = create_app(queue, accounts)
        async with checked_client(app, (await accounts.create_key("acme")).key) as client:
            one = await client.post("/v1/async/task", json={**TASK, "payload": long})
            many = await client.post("/v1/async/task/batch", json=[TASK, {**TASK, "payload": long}])
            now = await client.post("/v1/monitor/chatgpt", json=long)

    details = [{"field": "payload", "message": "Must be at most 2,000 bytes when encoded"}]
    for reply in (one, now):
        assert error_of(reply) == (400, "VALIDATION_ERROR", "Request validation failed", details)
    taken, refused = many.json()["results"]
    assert (taken["success"], refused["success"]) == (True, False)
    assert refused["error"]["details"] == {"errors": details}


async def test_a_body_of_exactly_the_limit_passes(client: Client) -> None:
    """The limit is the last length that is allowed."""
    body = httpx.Request("POST", "http://x", json=TASK).content

    assert (await client.post("/v1/async/task", content=body.ljust(LIMIT))).status_code == 200


async def test_a_slow_body_is_refused(client: Client) -> None:
    """A client that drips does not keep its place for ever."""
    never = asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()

    response = await client.post("/v1/async/task", content=drip())

    assert error_of(response)[:2] == (408, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Type", "multipart/form-data; boundary=x"),
        ("Content-Type", ""),
        ("Content-Encoding", "gzip"),
        ("Content-Encoding", "br"),
    ],
)
async def test_another_kind_of_body_is_refused(client: Client, header: str, value: str) -> None:
    """JSON, as it is."""
    response = await client.post("/v1/async/task", json=TASK, headers={header: value})

    status, code, _, details = error_of(response)
    assert (status, code, details[0]["field"]) == (415, "VALIDATION_ERROR", header)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", None])
async def test_json_may_be_said_in_several_ways(client: Client, kind: str | None) -> None:
    """With a parameter, in capital letters, or not at all."""
    headers = {} if kind is None else {"Content-Type": kind}
    body = httpx.Request("POST", "http://x", json=TASK).content

    assert (await client.post("/v1/async/task", content=body, headers=headers)).status_code == 200


async def test_a_server_that_is_away(queue_name: str) -> None:
    """503 with Retry-After at every kind of endpoint, before and after the key is known; then as before."""
    with RealServer() as server:
        async with (
            TaskQueue.connect(server.url, name=queue_name, patience=0.1) as queue,
            Accounts(queue, SECRET) as accounts,
        ):
            key = (await accounts.create_key("acme")).key
            app = create_app(queue, accounts, ApiOptions(retry_after=3))
            async with checked_client(app, key) as client:
                assert (await client.get("/v1/async/status")).status_code == 200
                server.stop()
                other = "y" if key[10] == "x" else "x"
                unknown = {"Authorization": f"Bearer {key[:10] + other + key[11:]}"}
                replies = [
                    await client.post("/v1/async/task", json=TASK),
                    await client.get("/v1/async/status"),
                    await client.get("/v1/nope"),
                    await client.get("/healthz"),
                    await client.get("/readyz"),
                ]
                assert (await client.get("/v1/credits", headers=unknown)).status_code == 401
                assert "taskqueue_up 0" in (await client.get("/metrics")).text
                server.start()
                assert (await client.get("/healthz")).status_code == 200

    for reply in replies:
        assert error_of(reply) == (503, "SERVICE_UNAVAILABLE", "Service unavailable", None)
        assert reply.headers["retry-after"] == "3"


class _Broken:
    """Stands in for a queue with a bug."""

    def __init__(self, queue: TaskQueue, error: Exception) -> None:
        self._queue, self._error = queue, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def stats(self, **_: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (RuntimeError("canary-secret"), (500, "INTERNAL_SERVER_ERROR")),
        (TaskQueueError("the queue is closed"), (503, "SERVICE_UNAVAILABLE")),
    ],
)
async def test_a_bug_shows_nothing_of_our_insides(
    queue: TaskQueue,
    accounts: Accounts,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    wanted: tuple[int, str],
) -> None:
    """500 with the contract's words; the log has the rest, with the id of the request."""
    broken: Any = _Broken(queue, error)
    app: FastAPI = create_app(broken, accounts)
    async with checked_client(app, (await accounts.create_key("acme")).key) as client:
        response = await client.get("/v1/async/status")

    assert_envelope(response)
    assert error_of(response)[:2] == wanted
    assert "canary" not in response.text
    assert response.headers["x-request-id"] in caplog.text
