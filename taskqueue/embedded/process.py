"""The server as a process: start it, look at it, stop it. Part of the guard: keep it light."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from taskqueue.embedded.layout import Layout, write_text
from taskqueue.embedded.locks import acquire, release
from taskqueue.embedded.mending import mend
from taskqueue.embedded.wire import ask

_PR_SET_PDEATHSIG = 1
_POLL = 0.01  # seconds between two looks at a process that is ending


class OrphanRemains(Exception):
    """The server of a guard that is no more still has the data open."""


class Server:
    """The server of one folder, started by and bound to this process.

    Args:
        layout: The folder.
        binary: Path of `valkey-server` or `redis-server`.
        socket: Where the server shall listen.
    """

    def __init__(self, layout: Layout, binary: str, socket: str) -> None:
        self.socket = socket
        self._layout = layout
        self._binary = binary
        self._pid: int | None = None
        self._lock: int | None = None

    def claim_data(self, former_socket: str | None, patience: float) -> None:
        """Make sure that no other server has the data open, and that none will.

        A server whose guard was killed ends by itself where the system can arrange that (Linux).
        Elsewhere it is told to, at *former_socket*.

        Raises:
            OrphanRemains: If it is still there after two times *patience* seconds.
        """
        for is_last in (False, True):  # pragma: no branch - the last returns or raises
            try:
                self._lock = acquire(self._layout.server, patience)
            except TimeoutError:
                if is_last:
                    raise OrphanRemains from None
                if former_socket is not None:
                    _tell_to_end(former_socket)
            else:
                return

    def start(self, fsync: str) -> None:
        """Start the server; `answers()` says when it is ready. The data must have been claimed."""
        if self._lock is None:
            raise RuntimeError("claim_data() comes first")
        self._layout.data.mkdir(mode=0o700, exist_ok=True)
        self._mend_after_crash(self._lock)
        arguments = self._arguments(fsync)
        bind_to_parent = _parent_binding()
        # Until the program is there, a SIGTERM for it would go to a handler of ours, and be lost.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            pid = os.fork()
            if pid == 0:
                _become(self._binary, arguments, self._lock, bind_to_parent, mask)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._pid = pid
        write_text(self._lock, f"{pid}\n")

    def _mend_after_crash(self, lock: int) -> None:
        """Mend the data if the last server did not end in order: then its pid is still written down."""
        if os.fstat(lock).st_size and (cut := mend(self._layout.data, self._binary)):
            note(f"{cut} bytes of a write that the last server did not finish were cut off")

    def has_ended(self) -> bool:
        """Whether the server is not running. Its exit status is said in the log, once."""
        if self._pid is None:
            return True
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            return False
        code = os.waitstatus_to_exitcode(status)
        note(f"server {pid} ended " + (f"by signal {-code}" if code < 0 else f"with code {code}"))
        self._pid = None
        return True

    def answers(self) -> bool:
        """Whether the server is ready: it listens, and has loaded its data."""
        try:
            return ask(self.socket, "PING") == "+PONG"
        except OSError:
            return False

    def stop(self, grace: float) -> None:
        """End the server, which writes out what it has not yet; kill it after *grace* seconds."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while not self.has_ended():
            if time.monotonic() >= deadline and self._pid is not None:
                note(f"server {self._pid} did not end within {grace:g} s and is killed")
                os.kill(self._pid, signal.SIGKILL)
                deadline += grace
            time.sleep(_POLL)
        Path(self.socket).unlink(missing_ok=True)
        if self._lock is not None:
            self._layout.server.unlink(missing_ok=True)
            release(self._lock)
            self._lock = None

    def _arguments(self, fsync: str) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": self.socket,
            "unixsocketperm": "700",
            "dir": str(self._layout.data),
            "appendonly": "yes",
            "appendfsync": fsync,
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": "",
        }
        words = [self._binary]
        for name, value in settings.items():
            words += [f"--{name}", value]
        return words


def note(text: str) -> None:
    """Write one line to the log of the folder, which is where standard error goes."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} guard {os.getpid()}: {text}\n")
    sys.stderr.flush()


def _tell_to_end(socket: str) -> None:
    try:
        ask(socket, "SHUTDOWN")
    except OSError as error:
        note(f"the former server at {socket} was told to end: {error}")


def _parent_binding() -> Callable[[], None] | None:
    """Return what makes the calling process end with its parent, where the system knows how."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes  # noqa: PLC0415  (some builds of Python have none)
    except ImportError:
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)  # pragma: no cover - a moment in a process that is dying

    return bind


def _become(
    binary: str,
    arguments: list[str],
    lock: int,
    bind_to_parent: Callable[[], None] | None,
    mask: set[signal.Signals | int],
) -> None:
    """Turn the calling process, a fresh fork with SIGTERM blocked, into the server; never return."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if bind_to_parent is not None:  # pragma: no branch - None only where there is no prctl
            bind_to_parent()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # one that waited ends us now
        os.set_inheritable(lock, True)  # the lock lives as long as the server does
        # Nothing here is for a shell.
        os.execv(binary, arguments)  # noqa: S606  # nosec B606
    except BaseException as error:  # noqa: BLE001  (a fork must not go on as a second guard)
        note(f"cannot run {binary}: {error}")
    finally:
        os._exit(127)
