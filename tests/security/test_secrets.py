"""Secrets through a whole life, all of it at log level DEBUG: none of them is where it should not be.

Searched are: the output of the service and of its workers, the answers of the API with its metrics, the
output of every command, each value on the server, its append-only file (all that it was ever sent to keep),
its list of slow commands and its own log. tests/integration/test_accounts.py and test_webhook_signatures.py
search the same for single parts, tests/providers/test_configuration.py the texts of settings.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from taskqueue import TaskQueue
from taskqueue.connect import Connector
from taskqueue.errors import TaskQueueError
from taskqueue.settings import Settings
from tests.cli.conftest import Run
from tests.cli.test_serve import Served, finished, serving
from tests.servers import RealServer, wait_until

Program = Callable[..., Any]

PASSWORD = "password-of-the-server-canary-1"
SERVER_SECRET = "0badcafe" * 4 + "0123456789abcdef" * 2
PROVIDER_KEY = "sk-key-of-a-provider-canary-2"
FIRST = "A prompt that is no secret"
PROMPT = {"prompt": FIRST, "country": "US"}
BAD = "Bearer sk_live_canary3NotAKeyButSomebodyMayHaveMeantAnother"
PROVIDERS = """
[providers.echoing]
kind = "openai"
base_url = "{url}/v1"
model = "m"
api_key = {{ env = "KEY_OF_THE_PROVIDER" }}

[types]
CHATGPT = ["echoing"]
"""


class Echoing(BaseHTTPRequestHandler):
    """A provider that repeats the key in its refusal, and a receiver of webhooks that fails."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        said = {"error": {"message": f"wrong key: {self.headers['Authorization']}", "code": "bad_request"}}
        body = json.dumps(said).encode()
        # By 401 it would be left alone for minutes; this ends the task, whose tenant is told the reason.
        self.send_response(400 if self.path.startswith("/v1") else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.__dict__.setdefault("paths", []).append(self.path)

    def log_message(self, *_: Any) -> None:
        """Say nothing on stderr, which is searched."""


@dataclass
class Outside:
    """What the service speaks to."""

    url: str
    paths: list[str]


@pytest.fixture
def outside() -> Iterator[Outside]:
    """A provider and a receiver on one port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echoing) as listening:
        paths: list[str] = []
        listening.__dict__["paths"] = paths
        running = threading.Thread(target=listening.serve_forever)
        running.start()
        yield Outside(f"http://127.0.0.1:{listening.server_address[1]}", paths)
        listening.shutdown()
        running.join()


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Commands that run in this process set up logging for all of it."""
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def guarded() -> Iterator[RealServer]:
    """A server with a password, which keeps everything that it was ever told to, and notes each command."""
    with RealServer(requirepass=PASSWORD, appendonly="yes", slowlog_log_slower_than="0") as running:
        yield running


@pytest.fixture
def url(guarded: RealServer) -> str:
    """Its address with the password in it."""
    return f"unix://:{PASSWORD}@{guarded.socket}"


@pytest.fixture
def configured(
    environment: None, outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Outside:
    """The environment of all programs; what they speak to."""
    (tmp_path / "providers.toml").write_text(PROVIDERS.format(url=outside.url))
    values = {
        "TASKQUEUE_SECRET": SERVER_SECRET,
        "KEY_OF_THE_PROVIDER": PROVIDER_KEY,
        "TASKQUEUE_PROVIDERS": str(tmp_path / "providers.toml"),
        "TASKQUEUE_LOCAL_WEBHOOKS": "true",
        "TASKQUEUE_WEBHOOK_BACKOFF": "100ms",
        "TASKQUEUE_LOG_LEVEL": "DEBUG",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return outside


def everything_on(server: RealServer, client: Any) -> dict[str, bytes]:
    """Return what can be read from a server by whoever gets at it, by where it was found."""
    found = {"append-only file": b"", "log": (server.folder / "server.log").read_bytes()}
    for path in (server.folder / "appendonlydir").iterdir():
        found["append-only file"] += path.read_bytes()
    found["slow commands"] = repr(client.slowlog_get(10_000)).encode()
    readers = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"set": client.smembers,
        b"list": lambda key: client.lrange(key, 0, -1),
    }
    for key in client.scan_iter(count=1000):
        # repr() would write bytes as \x..: joined, they are what they are.
        value = readers[client.type(key)](key)
        parts = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
        joined = parts if isinstance(parts, bytes) else b"\n".join(parts or ())
        found[f"key {key!r}"] = key + b"\n" + joined
    return found


def spellings(secret: str) -> list[bytes]:
    """Return how a secret may look in something that was written."""
    bare = secret.removeprefix("whsec_").removeprefix("Bearer ")
    shapes = [bare.encode(), base64.b64encode(bare.encode()).rstrip(b"="), bare.encode().hex().encode()]
    if secret.startswith("whsec_"):
        shapes.append(base64.b64decode(bare))
    elif len(bare) % 2 == 0 and all(digit in "0123456789abcdef" for digit in bare):
        shapes.append(bytes.fromhex(bare))
    if secret.startswith("sk_live_"):
        # The id of a key, its first letters, is no secret; the rest of it is.
        shapes.append(bare[20:].encode())
    return shapes


def leaks(found: dict[str, bytes], secrets: dict[str, str]) -> list[str]:
    """Return which secrets are where."""
    return [
        f"{name} in {place}"
        for place, text in found.items()
        for name, secret in secrets.items()
        if any(shape in text for shape in spellings(secret))
    ]


def test_the_search_finds_what_is_there() -> None:
    """Else finding nothing would mean nothing."""
    secrets = {
        "key": "sk_live_0123456789abTheSecretPart",
        "hook": "whsec_" + "QUJD" * 8,
        "hex": SERVER_SECRET,
    }

    for text in (b"x sk_live_0123456789abTheSecretPart", b"TheSecretPart y"):
        assert leaks({"here": text}, secrets) == ["key in here"]
    assert leaks({"here": b"ABC" * 8, "there": bytes.fromhex(SERVER_SECRET)}, secrets) == [
        "hook in here",
        "hex in there",
    ]
    assert leaks({"here": b"sk_live_0123456789ab"}, secrets) == []


def life(served: Served, outside: Outside) -> str:
    """Ask the service what clients ask, also wrongly; return all that it answered."""
    client, answers = served.client, []
    hook = {"url": f"{outside.url}/hook"}
    task = {"taskType": "CHATGPT", "payload": PROMPT, "webhook": hook}
    made = client.post("/v1/async/task", json=task).json()["task"]["id"]
    answers.append(json.dumps(finished(client, made)))
    answers.append(client.post("/v1/monitor/chatgpt", json=PROMPT).text)
    answers.append(client.post("/v1/async/task/batch", json=[task, {"taskType": 5}]).text)
    answers.append(client.post("/v1/async/task", content=b'{"taskType": ').text)
    paths = [f"v1/{path}" for path in ("async/tasks", "async/status", "credits", "nothing")]
    paths += ["healthz", "readyz", "metrics", "openapi.json", "docs"]
    answers += [client.get(f"/{path}").text for path in paths]
    # Keys where none belongs, and some that are none.
    answers.append(client.get(f"/v1/async/tasks?api_key={served.key}").text)
    changed = served.key[:-1] + ("a" if served.key[-1] != "a" else "b")
    for header in (BAD, f"Bearer {changed}", f"Basic {served.key}", f"Bearer {served.key} {served.key}"):
        answer = httpx.get(client.base_url.join("/v1/async/tasks"), headers={"Authorization": header})
        assert answer.status_code == 401
        answers.append(f"{answer.headers} {answer.text}")
    wait_until(lambda: outside.paths.count("/hook") > 2, "the webhook was tried again", timeout=20)
    return "\n".join(answers)


def commands(cli: Run, key: str, url: str) -> str:
    """Run the commands of operators, also wrongly; return what they wrote."""
    lines = [
        "keys list",
        "keys list --json",
        f"keys revoke {key}",
        "webhooks show --tenant default",
        "doctor",
        "stats --json",
        "limits show",
        "dead list --json",
        "providers check CHATGPT",
        "providers check CHATGPT --json",
        "serve --host 256.1.1.1 --port 0",
        f"stats --url {url.replace(PASSWORD, PASSWORD + 'x')}",
        f"stats --url {url}?nonsense=1",
        f"stats --url {url.replace('unix', 'unux')}",
        "worker no.such:thing",
    ]
    results = [cli(*line.split()) for line in lines]
    assert [line for line, result in zip(lines[:1], results[:1], strict=True) if result.code] == []
    return "\n".join(result.out + result.err for result in results)


@pytest.mark.parametrize("how", ["in one process, lines", "in two processes, JSON"])
def test_no_secret_is_where_it_should_not_be(
    program: Program, cli: Run, configured: Outside, guarded: RealServer, how: str
) -> None:
    """Served, asked, refused, failed, delivered in vain; the server goes and comes back in the middle."""
    url = f"unix://:{PASSWORD}@{guarded.socket}"
    environment = os.environ | {"TASKQUEUE_LOG_JSON": str("JSON" in how).lower()}
    hook_secret = cli("webhooks", "renew", "--tenant", "default").out.strip()
    with serving(program, "--workers", str(int("two" in how)), env=environment) as served:
        answers = life(served, configured)
        guarded.restart()
        wait_until(lambda: served.client.get("/readyz").status_code == 200, "it is back", timeout=20)
        answers += served.client.post("/v1/monitor/chatgpt", json=PROMPT).text
    written = commands(cli, served.key, url)

    secrets = {
        "API key": served.key,
        "webhook secret": hook_secret,
        "password": PASSWORD,
        "provider key": PROVIDER_KEY,
        "server secret": SERVER_SECRET,
        "what was no key": BAD,
    }
    with guarded.client() as client:
        found = everything_on(guarded, client)
    found |= {
        "log of the service": "".join(served.said).encode(),
        "answers": answers.encode(),
        "output of commands": written.encode(),
    }
    assert hook_secret.startswith("whsec_")
    # Each place was really searched: what is no secret is found there.
    assert FIRST.encode() in found["append-only file"]
    assert any(FIRST.encode() in text for place, text in found.items() if place.startswith("key"))
    assert b"wrong key" in found["answers"]
    assert b"DEBUG" in found["log of the service"]
    assert served.key[8:20].encode() in found["output of commands"]
    # A key in an address is logged with its id only.
    assert f"api_key={served.key[:20]}*** ".encode() in found["log of the service"]
    assert leaks(found, secrets) == []


async def test_no_text_of_an_object_and_no_trace_shows_a_secret(
    guarded: RealServer, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Reprs, the errors of a server that refuses, and what a debugger would print of where they come from."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TASKQUEUE_SECRET", SERVER_SECRET)
    settings = Settings.load(url=url)
    shown = [repr(settings), str(settings), repr(vars(settings)["secret"]), repr(settings.model_dump())]
    connector = Connector.parse(url)
    shown += [repr(connector), repr(vars(connector))]
    async with TaskQueue.connect(url, name="texts") as queue:
        shown += [repr(queue), queue.url, repr(queue.connector), repr(queue.store)]
    for wrong in (
        url.replace(PASSWORD, f"{PASSWORD}-not"),
        url + "?db=x",
        url + "#x",
        url.replace("://", ":/"),
    ):
        try:
            await TaskQueue.connect(wrong, patience=0.2)
        except TaskQueueError as error:
            shown += [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
        else:
            pytest.fail(f"{wrong} was accepted")
    monkeypatch.setenv("TASKQUEUE_SECRET", SERVER_SECRET * 20)
    with pytest.raises(TaskQueueError) as refused:
        Settings.load()
    shown += [str(refused.value), "".join(traceback.format_exception(refused.value)), caplog.text]

    found = {f"text {number}": text.encode() for number, text in enumerate(shown)}
    assert leaks(found, {"password": PASSWORD, "server secret": SERVER_SECRET}) == []
    with guarded.client() as client:
        assert isinstance(client, redis.Redis)
        client.flushall()
