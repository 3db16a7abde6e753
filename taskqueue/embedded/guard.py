"""The guard: owns the server of one folder as long as somebody uses it. Keep it light.

What it does: starts the server, starts it again when it crashed, and ends it when the last user
has been gone for some seconds or the guard gets SIGTERM.

What can go wrong: the guard itself is killed. On Linux its server then ends too, writing out its
data; elsewhere it is ended by the next guard. Users who find the server gone start a new guard.
A server that crashes again and again is given up: users then get errors, and the log stays.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from taskqueue.embedded.layout import Layout, write_text
from taskqueue.embedded.locks import acquire, release
from taskqueue.embedded.process import OrphanRemains, Server, note
from taskqueue.embedded.users import are_present, strictest_fsync, sweep

LOOK = 0.5  # seconds between two looks at the users: locks cannot be waited for together
STOP_GRACE = 10.0  # seconds that the server has to write out its data
DOOR_PATIENCE = 5.0  # seconds that a guard which must end waits for somebody at the door
ORPHAN_PATIENCE = 2.0  # seconds that the server of a killed guard has to end, and once more
CRASHES = 5  # so many within CRASH_WINDOW seconds, and the server is given up
CRASH_WINDOW = 60.0
FIRST_PAUSE = 0.1  # seconds before a crashed server is started again; doubles with each crash

READY, TAKEN, FAILED = "ready", "taken", "failed"


class Signals:
    """Waits for time, the end of the server, or SIGTERM, whichever comes first."""

    def __init__(self) -> None:
        self.stop_asked = False
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        # Whoever started us may have blocked signals, and that is inherited.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def wait(self, timeout: float) -> None:
        """Return after *timeout* seconds, or earlier if a signal came."""
        if select.select([self._reader], [], [], max(0.0, timeout))[0]:
            os.read(self._reader, 4096)

    def _stop(self, *_: object) -> None:
        self.stop_asked = True


class Guard:
    """One life of a guard; its `guard.lock` is held by the caller.

    Args:
        layout: The folder.
        server: Its server, not yet started.
        signals: What to wait on.
        linger: Seconds that the server stays after the last user has gone.
        report: Called once, with READY or FAILED.
    """

    def __init__(
        self, layout: Layout, server: Server, signals: Signals, linger: float, report: Callable[[str], None]
    ) -> None:
        self._layout = layout
        self._server = server
        self._signals = signals
        self._linger = linger
        self._report = report
        self._door: int | None = None
        self._empty_since: float | None = None
        self._crashes: list[float] = []

    def run(self, former_socket: str | None) -> bool:
        """Own the server until it is not needed any more; return whether all went well.

        Args:
            former_socket: Where the server of a guard that died may still listen.
        """
        went_well = self._start(former_socket) and self._watch()
        self._end(keep_log=not went_well or bool(self._crashes))
        return went_well

    def _start(self, former_socket: str | None) -> bool:
        try:
            self._server.claim_data(former_socket, ORPHAN_PATIENCE)
        except OrphanRemains:
            note(f"a server that was started earlier still has {self._layout.data} open: end that process")
            is_up = False
        else:
            is_up = self._bring_up()
        self._report(READY if is_up else FAILED)
        return is_up

    def _watch(self) -> bool:
        """Return True when nobody needs the server, False when it had to be given up."""
        while not self._signals.stop_asked:
            if self._server.has_ended() and are_present(self._layout.users):
                if not self._revive():
                    return False
                continue
            if self._is_over():
                break
            self._signals.wait(self._pause())
        return True

    def _bring_up(self) -> bool:
        """Start the server and wait until it answers; loading much data may take its time."""
        self._server.start(strictest_fsync(self._layout.users))
        pause = 0.002
        while not self._server.answers():
            if self._signals.stop_asked or self._server.has_ended():
                return False
            self._signals.wait(pause)
            pause = min(pause * 1.5, 0.1)
        return True

    def _revive(self) -> bool:
        while not self._signals.stop_asked:
            now = time.monotonic()
            self._crashes = [at for at in self._crashes if now - at < CRASH_WINDOW] + [now]
            if len(self._crashes) > CRASHES:
                note(f"the server ended {len(self._crashes)} times within {CRASH_WINDOW:g} s and is given up")
                return False
            self._signals.wait(FIRST_PAUSE * 2 ** (len(self._crashes) - 1))
            if not self._signals.stop_asked and self._bring_up():
                note("the server is up again")
                break
        return True

    def _pause(self) -> float:
        if self._empty_since is None:
            return LOOK
        return min(LOOK, self._empty_since + self._linger - time.monotonic())

    def _is_over(self) -> bool:
        """Whether the last user has been gone for long enough; if so the door is ours from now on."""
        now = time.monotonic()
        if are_present(self._layout.users):
            self._empty_since = None
            return False
        if self._empty_since is None:
            self._empty_since = now
        if now - self._empty_since < self._linger:
            return False
        try:
            self._door = acquire(self._layout.door)
        except TimeoutError:
            self._empty_since = now - self._linger + LOOK  # somebody is coming in: look again
            return False
        # Users register behind the door, so this answer stays true.
        if are_present(self._layout.users):
            release(self._door)
            self._door = None
            return False
        return True

    def _end(self, *, keep_log: bool) -> None:
        """Stop the server and leave the folder as it is at rest. Who comes meanwhile waits at the door."""
        if self._door is None:
            try:
                self._door = acquire(self._layout.door, DOOR_PATIENCE)
            except TimeoutError as error:
                note(f"ending all the same: {error}")
        self._server.stop(STOP_GRACE)
        if self._door is not None:
            sweep(self._layout.users)
            _remove_if_empty(self._layout.users)
        socket_folder = Path(self._server.socket).parent
        if socket_folder != self._layout.folder:
            _remove_if_empty(socket_folder)
        if not keep_log:
            self._layout.log.unlink(missing_ok=True)
        self._layout.guard.unlink(missing_ok=True)
        if self._door is not None:
            self._layout.door.unlink(missing_ok=True)


def _remove_if_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()


def main(arguments: list[str]) -> int:
    """Be the guard of a folder: `FOLDER BINARY SOCKET LINGER REPORT`, the last an open descriptor."""
    folder, binary, socket, linger, report_text = arguments
    report_to = int(report_text)
    os.set_inheritable(report_to, False)
    # The process that was started ends at once, so that the guard is nobody's child.
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    signals = Signals()
    layout = Layout(Path(folder))

    def report(word: str) -> None:
        try:
            os.write(report_to, f"{word}\n".encode())
        except BrokenPipeError:
            note(f"whoever started this guard did not wait for it to be {word}")
        finally:
            os.close(report_to)

    former = layout.read_guard()
    try:
        lock = acquire(layout.guard, LOOK)
    except TimeoutError:
        report(TAKEN)
        return 0
    write_text(lock, f"{os.getpid()}\n{socket}\n")
    guard = Guard(layout, Server(layout, binary, socket), signals, float(linger), report)
    return 0 if guard.run(former[1] if former else None) else 1
