"""The embedded server as its users see it: join, leave."""

from __future__ import annotations

import os
import threading
import time
import weakref
from pathlib import Path

from taskqueue.embedded import users
from taskqueue.embedded.folders import prepare, socket_for
from taskqueue.embedded.launch import start_guard
from taskqueue.embedded.layout import Layout
from taskqueue.embedded.locks import acquire, is_held, release
from taskqueue.embedded.wire import ask
from taskqueue.errors import InvalidSetting, ServerUnavailable

_POLL = 0.01  # seconds between two looks whether a server that somebody else starts is up
_FSYNC = ("everysec", "always")
_LONGEST_LINGER = 86_400.0  # seconds


class EmbeddedServer:
    """A share in the server of one folder. Safe to use from several threads; blocking.

    The server is started by whoever needs it first, on this machine, and ends some seconds after
    the last user has left or died. A process that was forked has no share until it joins itself.

    Args:
        folder: Where its data lives. Made if needed, readable by its owner only. On a local disk.
        fsync: `"everysec"`: a crash of the machine costs up to about two seconds of writes.
            `"always"`: none. The strictest wish of all users counts.
        linger: Seconds that the server stays after its last user. That of the process which
            starts the server counts.

    Raises:
        InvalidSetting: If *fsync* or *linger* is none of these.
    """

    def __init__(self, folder: Path, *, fsync: str = "everysec", linger: float = 3.0) -> None:
        if fsync not in _FSYNC:
            raise InvalidSetting("fsync", fsync, "everysec or always")
        if not 0 <= linger <= _LONGEST_LINGER:
            raise InvalidSetting("linger", linger, "a number of seconds from 0 to 86400")
        self.folder = folder
        self._fsync = fsync
        self._linger = linger
        self._layout = Layout(folder.resolve())
        self._lock = threading.Lock()
        self._count = 0
        self._user: tuple[Path, int] | None = None
        self._socket = ""
        with _instances_lock:
            _instances.add(self)

    def __repr__(self) -> str:
        return f"EmbeddedServer({str(self.folder)!r}, fsync={self._fsync!r}, linger={self._linger:g})"

    @property
    def socket(self) -> str:
        """Where the server listened when it was last joined or revived; empty before."""
        return self._socket

    def join(self, timeout: float = 20.0) -> str:
        """Use the server, started if needed, until as many calls of `leave`; return its socket's path.

        Args:
            timeout: Seconds that starting, or waiting for the end of the former server, may take.

        Raises:
            ServerUnsuitable: If there is no server program, or the folder cannot be used.
            ServerUnavailable: If the server does not answer in time, or cannot start.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            self._socket = self._reach(deadline)
            self._count += 1
            return self._socket

    def revive(self, timeout: float = 5.0) -> str:
        """Make sure that the server runs which this process has joined; return its socket's path.

        For one who found it gone: the guard was killed, or the server crashed and is coming back.

        Raises:
            ServerUnsuitable: As `join`.
            ServerUnavailable: As `join`; and if this process has not joined.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            if self._count == 0:
                raise ServerUnavailable(f"this process has not joined the embedded server in {self.folder}")
            self._socket = self._reach(deadline)
            return self._socket

    def leave(self) -> None:
        """Take back one `join`. More calls than joins do nothing, so that a forked child may call it too."""
        with self._lock:
            if self._count == 0:
                return
            self._count -= 1
            if self._count == 0:
                self._unregister()

    def _reach(self, deadline: float) -> str:
        was_registered = self._user is not None
        try:
            prepare(self._layout)
            socket = None
            while socket is None:
                self._go_in(deadline)
                socket = self._await_answer(deadline)
            if self._fsync == "always":
                ask(socket, "CONFIG", "SET", "appendfsync", "always", timeout=_left(deadline))
        except BaseException as error:
            if not was_registered:
                self._unregister()
            if isinstance(error, OSError) and not isinstance(error, ServerUnavailable):
                raise ServerUnavailable(f"no embedded server in {self.folder}: {error}") from error
            raise
        return socket

    def _go_in(self, deadline: float) -> None:
        """Register and, if there is no guard, start one: behind the door, where no guard ends meanwhile."""
        try:
            door = acquire(self._layout.door, _left(deadline))
        except TimeoutError:
            raise ServerUnavailable(
                f"the embedded server in {self.folder} could not be joined in time: another process has been "
                "starting or ending it all the while"
            ) from None
        try:
            self._layout.users.mkdir(mode=0o700, exist_ok=True)
            users.sweep(self._layout.users)
            if self._user is None:
                self._user = users.register(self._layout.users, self._fsync)
            if not is_held(self._layout.guard):
                start_guard(self._layout, socket_for(self._layout), self._linger, deadline)
        finally:
            release(door)

    def _await_answer(self, deadline: float) -> str | None:
        """Return the socket of the server once it answers, or None when its guard has ended."""
        last = "it has not said where it listens"
        while True:
            guard = self._layout.read_guard()
            if guard is not None:
                try:
                    last = ask(guard[1], "PING", timeout=_left(deadline))
                except OSError as error:
                    last = str(error)
                if last == "+PONG":
                    return guard[1]
            if not is_held(self._layout.guard):
                return None
            if time.monotonic() >= deadline:
                raise ServerUnavailable(
                    f"the embedded server in {self.folder} did not answer in time; the last was: {last}"
                )
            time.sleep(_POLL)

    def _unregister(self) -> None:
        if self._user is not None:
            path, descriptor = self._user
            self._user = None
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def forget(self) -> None:
        """Be as new, in a child that was just forked: the share is the parent's, and so is the lock."""
        self._lock = threading.Lock()
        self._count = 0
        if self._user is not None:
            os.close(self._user[1])
            self._user = None


def _left(deadline: float) -> float:
    # Never nothing at all: a server that is up answers within the least that is granted here.
    return max(0.05, deadline - time.monotonic())


_instances: weakref.WeakSet[EmbeddedServer] = weakref.WeakSet()
_instances_lock = threading.Lock()


def _after_fork_in_child() -> None:
    _instances_lock.release()
    for server in _instances:
        server.forget()


os.register_at_fork(
    before=_instances_lock.acquire,
    after_in_parent=_instances_lock.release,
    after_in_child=_after_fork_in_child,
)
