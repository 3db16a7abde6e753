"""`taskqueue serve`: a first try works as it is printed, and it ends as it should."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.conftest import Run
from tests.servers import wait_until

Program = Callable[..., subprocess.Popen[str]]

SECRET = "5f" * 16 + "0123456789abcdef" * 2
MODULE = """
import asyncio, os
from pathlib import Path
from scheduler import Scheduler

scheduler = Scheduler()
other = Scheduler()
elsewhere = Scheduler(os.environ.get("MODULE_URL"), name=os.environ.get("MODULE_QUEUE", "q"))
if "TASKQUEUE_SUPERVISOR" not in os.environ:
    odd = scheduler

@elsewhere.handler("CHATGPT")
@scheduler.handler("CHATGPT")
async def answer(payload, context):
    if payload["prompt"] == "slow":
        Path("started").touch()
        while not Path("go-on").exists():
            await asyncio.sleep(0.01)
    return {"text": payload["prompt"].upper(), "sources": [], "pid": os.getpid()}

@other.handler("MAIL")
async def mail(payload, context):
    return {}
"""


@dataclass
class Served:
    """A service that runs as a program, and what it has written."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    key: str = ""
    line: str = ""
    client: httpx.Client = field(default_factory=httpx.Client)
    reader: threading.Thread | None = None

    def workers(self) -> list[int]:
        """Return the process ids of all worker processes that were started."""
        return [int(pid) for pid in re.findall(r"worker \d+ is process (\d+)", "".join(self.said))]

    def end(self, timeout: float = 20.0) -> int:
        """Wait for its end and return its exit status."""
        code = self.process.wait(timeout)
        assert self.reader is not None
        self.reader.join(timeout)
        return code


@contextmanager
def serving(program: Program, *arguments: str, **options: Any) -> Iterator[Served]:
    """Start the service; yield it with a client that has the first key. What is left is ended in order."""
    running = program("serve", "--port", "0", *arguments, **options)
    served = Served(running)
    out, err = running.stdout, running.stderr
    assert out is not None
    assert err is not None
    served.reader = threading.Thread(target=lambda: served.said.extend(err), daemon=True)
    served.reader.start()
    served.key, served.line = out.readline().strip(), out.readline()
    assert served.line, "".join(served.said)
    address = next(word for word in shlex.split(served.line) if word.startswith("http://"))
    headers = {"Authorization": f"Bearer {served.key}"}
    with httpx.Client(base_url=address.partition("/v1")[0], headers=headers) as served.client:
        yield served
    if running.poll() is None:
        running.send_signal(signal.SIGTERM)
        # Less than the patience for a server that does not go: it must go at once.
        assert served.end(12) == 0, "".join(served.said)
        assert "the service has ended" in "".join(served.said)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def tried(line: str) -> dict[str, Any]:
    """Do what the printed line says, by curl itself where it is installed, and return the answer."""
    words = shlex.split(line)
    assert words[:2] == ["curl", "-s"]
    if shutil.which("curl"):
        words.insert(1, "--fail-with-body")
        answer = subprocess.run(words, check=True, capture_output=True, timeout=20).stdout
    else:
        address, *rest = words[2:]
        given = dict(zip(rest[1::2], rest[::2], strict=True))
        headers = dict(word.split(": ", 1) for word, option in given.items() if option == "-H")
        (body,) = (word for word, option in given.items() if option == "-d")
        answer = httpx.post(address, headers=headers, content=body).raise_for_status().content
    found: dict[str, Any] = json.loads(answer)
    return found


def finished(client: httpx.Client, task_id: str) -> dict[str, Any]:
    """Wait for a task as a client would, and return what GET says of it."""
    found: dict[str, Any] = {}

    def is_finished() -> bool:
        found.update(client.get(f"/v1/async/task/{task_id}").json())
        return found["task"]["status"] in {"COMPLETED", "FAILED"}

    wait_until(is_finished, "the task has finished", timeout=30)
    return found


def submit(client: httpx.Client, prompt: str = "hello", **fields: Any) -> str:
    """Submit a task and return its id."""
    task = {"taskType": "CHATGPT", "payload": {"prompt": prompt, "country": "US"}, **fields}
    answer = client.post("/v1/async/task", json=task)
    assert answer.status_code == 200, answer.text
    task_id: str = answer.json()["task"]["id"]
    return task_id


@contextmanager
def receiving() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Receive webhooks on the loopback; yield the address, and what has come."""
    came: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  not our signature
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", came
        server.shutdown()
        thread.join()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a user, in the folder that programs are started in, and a secret for its keys."""
    monkeypatch.setenv("TASKQUEUE_SECRET", SECRET)
    (tmp_path / "served.py").write_text(MODULE)
    return "served"


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_the_demo_needs_nothing_and_leaves_nothing(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    """A server of its own, whatever the environment names; every type; results that say they are made up."""
    monkeypatch.setenv("TASKQUEUE_URL", f"unix://{tmp_path}/with-real-tasks.sock")
    monkeypatch.setenv("TASKQUEUE_LOCAL_WEBHOOKS", "true")
    monkeypatch.setenv("TMPDIR", "/tmp")
    with serving(program, "--demo", *workers, env=None) as served, receiving() as (hook, came):
        ended = finished(served.client, tried(served.line)["task"]["id"])
        types = served.client.get("/openapi.json").json()["components"]["schemas"]["TaskRequest"]["oneOf"]
        task_id = submit(served.client, webhook={"url": hook})
        wait_until(lambda: came, "the webhook was delivered", timeout=20)
        health = served.client.get("/healthz").json()
    said = "".join(served.said)
    folder = Path(re.findall(r"embedded://(/tmp/tq-demo-\w+)", said)[0])

    assert ended["task"]["status"] == "COMPLETED"
    assert ended["response"]["simulated"] is True
    assert ended["credits"]["creditsCharged"] == ended["credits"]["creditsToCharge"]
    assert (came[0]["task"]["id"], came[0]["response"]["simulated"]) == (task_id, True)
    assert len(types) == 8
    assert health == {"status": "ok", "demo": True}
    assert "every result is made up" in said
    assert ("tasks run in 2 worker processes" in said) is bool(workers)
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_is_printed_works(program: Program, module: str) -> None:
    """The address, where the documentation is, the first key, and a line that submits a task with it."""
    with serving(program, f"{module}:scheduler") as served:
        said = "".join(served.said)
        (address,) = re.findall(r"^serving (http://127\.0\.0\.1:\d+), queue 'test-", said, re.MULTILINE)
        (docs,) = re.findall(r" is at (http://\S+)$", said, re.MULTILINE)
        page = httpx.get(docs)
        ended = finished(served.client, tried(served.line)["task"]["id"])

        assert re.fullmatch(r"sk_live_\w{40,}", served.key)
        assert f"Bearer {served.key}" in served.line
        assert served.key not in said
        assert docs == f"{address}/docs"
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert ended["response"]["text"] == "WHICH HARBOURS FREEZE OVER IN WINTER?"


def test_handlers_of_a_module_do_the_work(program: Program, module: str) -> None:
    """Types without a handler are refused at the door; the key of the first time is not made again."""
    with serving(program, f"{module}:scheduler", "--no-docs") as served:
        client = served.client
        ended = finished(client, submit(client))
        payload = {"prompt": "x", "country": "US"}
        refused = client.post("/v1/async/task", json={"taskType": "GROK", "payload": payload})
        missing = client.post("/v1/monitor/grok", json=payload)
        docs = client.get("/docs")

    assert ended["response"]["text"] == "HELLO"
    assert ended["response"]["pid"] == served.process.pid
    assert refused.status_code == 400
    (detail,) = refused.json()["error"]["details"]
    assert detail == {"field": "taskType", "message": 'Invalid option: expected one of "CHATGPT"'}
    assert (missing.status_code, docs.status_code) == (404, 404)
    assert "/openapi.json" in "".join(served.said)

    again = program("serve", "--port", "0", f"{module}:scheduler")
    said = again.stderr
    assert said is not None
    wait_until(lambda: "have their keys" in said.readline(), "it is ready")
    again.send_signal(signal.SIGTERM)
    assert again.wait(20) == 0


@pytest.mark.parametrize("workers", ["0", "1"])
def test_code_beats_the_environment_and_both_sides_use_the_same_queue(
    program: Program, module: str, tmp_path: Path, workers: str
) -> None:
    """The scheduler's code names server and queue; the API hands its tasks in there, and nowhere else."""
    environment = os.environ | {
        "MODULE_URL": os.environ["TASKQUEUE_URL"],
        "MODULE_QUEUE": os.environ["TASKQUEUE_NAME"],
        "TASKQUEUE_URL": f"unix://{tmp_path}/none.sock",
        "TASKQUEUE_NAME": "another",
    }
    arguments = (f"{module}:elsewhere", "--workers", workers)
    with serving(program, *arguments, env=environment) as served:
        assert finished(served.client, submit(served.client))["response"]["text"] == "HELLO"


# ------------------------------------------------------------------------------ worker processes


def test_worker_processes_do_the_work_and_a_dead_one_is_replaced(
    program: Program, module: str, url: str
) -> None:
    """The API runs no handler, and stays up; what may hold a password is on no command line."""
    with serving(program, f"{module}:scheduler", "--workers", "2", "--url", url) as served:
        client = served.client
        wait_until(lambda: len(served.workers()) == 2, "both have been started")
        first = served.workers()
        lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in first]
        assert finished(client, submit(client))["response"]["pid"] in first

        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(served.workers()) == 4, "two others have been started", timeout=20)
        # The API has not noticed.
        assert client.get("/readyz").status_code == 200
        assert finished(client, submit(client))["response"]["pid"] in served.workers()[2:]

    assert all("served:scheduler" in line for line in lines)
    assert not any("server.sock" in line or SECRET in line for line in lines)
    assert "ended with status 137; starting it again" in "".join(served.said)
    assert not any(is_alive(pid) for pid in served.workers())


def test_the_first_signal_ends_all_in_order(program: Program, module: str, tmp_path: Path) -> None:
    """A synchronous call gets its answer although the door is shut, then the workers end; exit code 0."""
    answers: list[httpx.Response] = []

    with serving(program, f"{module}:scheduler", "--workers", "2") as served:
        client, payload = served.client, {"prompt": "slow", "country": "US"}
        address = (client.base_url.host, client.base_url.port)
        calling = threading.Thread(
            target=lambda: answers.append(client.post("/v1/monitor/chatgpt", json=payload, timeout=30))
        )
        calling.start()
        wait_until((tmp_path / "started").exists, "the handler runs", timeout=20)

        served.process.send_signal(signal.SIGTERM)
        wait_until(lambda: _is_refused(address), "nothing more is accepted")
        alive = [is_alive(pid) for pid in served.workers()]
        (tmp_path / "go-on").touch()
        calling.join()
        code = served.end()

    assert code == 0, "".join(served.said)
    assert alive == [True, True]
    assert answers[0].status_code == 200
    assert answers[0].json()["result"]["text"] == "SLOW"
    assert not any(is_alive(pid) for pid in served.workers())


def _is_refused(address: tuple[str, int | None]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_all_at_once(
    program: Program, module: str, tmp_path: Path, number: int
) -> None:
    """Whatever they do: no process is left, and the port is free."""
    with serving(program, f"{module}:scheduler", "--workers", "2") as served:
        client = served.client
        address = (client.base_url.host, client.base_url.port)
        submit(client, "slow")
        wait_until((tmp_path / "started").exists, "the handler runs", timeout=20)
        wait_until(lambda: len(served.workers()) == 2, "both have been started")

        served.process.send_signal(number)
        # Two signals that come too fast count as one.
        wait_until(lambda: "a second signal exits at once" in "".join(served.said), "it has heard the first")
        served.process.send_signal(number)
        code = served.end(5)

    assert code == 128 + number
    wait_until(lambda: not any(is_alive(pid) for pid in served.workers()), "the workers are gone", timeout=5)
    assert _is_refused(address)


def test_the_second_signal_takes_the_server_of_a_demo_with_it(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody uses it any more, so it ends as well, and its guard."""
    monkeypatch.setenv("TMPDIR", "/tmp")
    with serving(program, "--demo", "--workers", "1", "--log-level", "info", env=None) as served:
        folder = Path(re.findall(r"embedded://(/tmp/tq-demo-\w+)", "".join(served.said))[0])
        pids = [int((folder / f"{name}.lock").read_text().split()[0]) for name in ("guard", "server")]
        assert all(is_alive(pid) for pid in pids)
        wait_until(served.workers, "the worker has been started")

        served.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "a second signal exits at once" in "".join(served.said), "it has heard the first")
        served.process.send_signal(signal.SIGTERM)
        served.end(5)

    try:
        pids += served.workers()
        wait_until(lambda: not any(is_alive(pid) for pid in pids), "all of them are gone", timeout=15)
    finally:
        shutil.rmtree(folder)


def test_workers_that_cannot_work_end_the_service(program: Program, module: str) -> None:
    """Starting them again could not help, and nobody would run what is accepted; the exit code is theirs."""
    running = program("serve", "--port", "0", f"{module}:odd", "--workers", "1")
    _, err = running.communicate(timeout=30)

    assert running.returncode == 2, err
    assert "has no 'odd'" in err
    assert "the service has ended" in err


def test_the_tasks_of_an_api_alone_wait_for_a_worker(
    cli: Run, program: Program, module: str, tmp_path: Path
) -> None:
    """It accepts them and answers; `taskqueue worker` elsewhere runs them."""
    with serving(program, "--api-only") as served:
        task_id = submit(served.client)
        assert served.client.get(f"/v1/async/task/{task_id}").json()["task"]["status"] == "QUEUED"
        assert served.workers() == []

        worker = program("worker", f"{module}:scheduler", "--burst")
        worker.communicate(timeout=30)

        assert worker.returncode == 0
        assert finished(served.client, task_id)["task"]["status"] == "COMPLETED"


def test_without_its_packages_it_is_said_what_to_install(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2, before anything else is asked for."""
    monkeypatch.setattr("taskqueue.cli.serve.find_spec", lambda name: None)

    result = cli("serve", "--demo")

    assert result.code == 2
    assert "pip install 'taskqueue-engine[api]'" in result.err


# --------------------------------------------------------------------------------- where it listens


def test_it_listens_on_ipv6(program: Program, module: str) -> None:
    """The address is written as browsers and curl read it, and quoted for the shell."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(program, f"{module}:scheduler", "--host", "::1") as served:
        assert "'http://[::1]:" in served.line
        assert finished(served.client, tried(served.line)["task"]["id"])["task"]["status"] == "COMPLETED"


def test_everywhere_is_also_here(program: Program, module: str) -> None:
    """0.0.0.0 is no address to call: what is printed leads to this machine, and says that others reach it."""
    with serving(program, f"{module}:scheduler", "--host", "0.0.0.0") as served:
        said = "".join(served.said)
        assert re.search(r"serving http://127\.0\.0\.1:\d+, and all other addresses, queue ", said)
        assert tried(served.line)["success"] is True


@pytest.fixture
def here(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module, for a service that is called in this process, which stays as it was."""
    monkeypatch.setattr("taskqueue.cli.serve.configure_logging", lambda *_, **__: None)
    monkeypatch.setattr("taskqueue.cli.serve.collect_garbage_seldom", lambda when: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "who runs the tasks"),
        (("--workers", "2"), "who runs the tasks"),
        (("--demo", "--api-only"), "who runs the tasks"),
        (("no_such_module:scheduler",), "no module"),
        (("served:other",), "MAIL"),
        (("served:other", "--workers", "2"), "MAIL"),
        (("--api-only", "--workers", "2"), "--workers 2 is not accepted together with --api-only"),
        (("--demo", "--workers", "257"), "256"),
        (("--demo", "--workers", "-1"), "Invalid value for '--workers'"),
        (("--demo", "--workers", "1", "--url", "memory://x"), "memory://x, which is in one process only"),
        (("--api-only", "--host", "256.1.1.1"), "cannot listen on 256.1.1.1 port 8000: Name or service"),
        (("--api-only", "--host", "192.0.2.1"), "cannot listen on 192.0.2.1 port 8000: Cannot assign"),
        (("--api-only", "--host", "192.0.2.1"), "choose another with --host"),
        (("--api-only", "--host", "a" * 70), "it is no name of a host"),
        (("--api-only", "--host", ""), "cannot listen on '' port 8000"),
        (("--api-only", "--port", "70000"), "65535"),
        (("--api-only", "--port", "http"), "Invalid value for '--port'"),
    ],
)
def test_bad_input_is_one_sentence(cli: Run, here: None, arguments: tuple[str, ...], what: str) -> None:
    """Exit code 2, what was wrong, and nothing started."""
    result = cli("serve", *arguments)

    assert result.code == 2, result.err
    assert what in result.err
    assert len(re.findall(r"^taskqueue: ", result.err, re.MULTILINE)) == 1
    assert "serving" not in result.err


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_said(cli: Run, here: None, host: str) -> None:
    """With the port, and the option that chooses another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        result = cli("serve", "--api-only", "--host", host, "--port", str(port))

    assert result.code == 2
    assert f"cannot listen on {host} port {port}: Address already in use" in result.err
    assert "choose another with --port" in result.err
