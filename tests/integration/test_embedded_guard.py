"""The guard's own decisions, step by step: one pass after the other, with a clock made of passes.

The guard runs inside the test, with a real server; only what it waits on is the test's.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskqueue.embedded import find_server_binary, guard, process, users
from taskqueue.embedded.guard import FAILED, READY, TAKEN, Guard, Signals, main
from taskqueue.embedded.layout import Layout
from taskqueue.embedded.locks import acquire, is_held, release
from taskqueue.embedded.process import OrphanRemains, Server
from taskqueue.embedded.wire import ask
from tests.servers import wait_until


class KnownServer(Server):
    """Remembers what its guard knows of it.

    Attributes:
        is_known_up: Whether the guard has seen it answer, and has not seen it end since.
    """

    is_known_up = False

    def answers(self) -> bool:
        self.is_known_up = super().answers()
        return self.is_known_up

    def has_ended(self) -> bool:
        has_ended = super().has_ended()
        self.is_known_up = self.is_known_up and not has_ended
        return has_ended


class Script(Signals):
    """Instead of waiting, the guard lets the test take its next step; it is told to end after the last.

    Waits while the server comes up are not steps: they pass by themselves. When it is up is for the
    guard to say: it may have looked just before, and a step that crashes the server then would be a
    server that never came up.
    """

    def __init__(self, server: KnownServer, *steps: Callable[[], object]) -> None:
        self.stop_asked = False
        self._server = server
        self._steps = list(steps)

    def wait(self, timeout: float) -> None:
        if not self._server.is_known_up:
            time.sleep(min(max(0.0, timeout), 0.02))
        elif self._steps:
            self._steps.pop(0)()
        else:
            self.stop_asked = True


@pytest.fixture
def layout() -> Iterator[Layout]:
    """A folder that exists, as it does whenever a guard is started."""
    with tempfile.TemporaryDirectory(prefix="tq-") as folder:
        found = Layout(Path(folder).resolve())
        found.users.mkdir()
        yield found


@pytest.fixture
def server(layout: Layout) -> Iterator[KnownServer]:
    """The folder's server, not started; stopped after the test."""
    made = KnownServer(layout, find_server_binary(), str(layout.socket))
    yield made
    made.stop(grace=1.0)


@pytest.fixture
def user(layout: Layout) -> Iterator[Callable[[], None]]:
    """A user of the folder, present until it is called or the test ends."""
    present = [users.register(layout.users, "everysec")]

    def leave() -> None:
        while present:
            path, descriptor = present.pop()
            path.unlink()
            os.close(descriptor)

    yield leave
    leave()


def make(layout: Layout, server: Server, signals: Signals, linger: float = 0.0) -> tuple[Guard, list[str]]:
    """Return a guard, and what it reports."""
    reports: list[str] = []
    return Guard(layout, server, signals, linger, reports.append), reports


def kill(layout: Layout) -> None:
    """Crash the server, and return when its end can be seen."""
    pid = int(layout.server.read_text())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT), "the server has ended")


def test_it_ends_when_nobody_came(layout: Layout, server: KnownServer) -> None:
    """Whoever started it was killed meanwhile: no user, no linger time, no server."""
    one, reports = make(layout, server, Script(server))

    assert one.run(None)

    assert reports == [READY]
    assert list(layout.folder.iterdir()) == [layout.data]


def test_it_removes_the_folder_of_a_socket_that_lived_elsewhere(layout: Layout) -> None:
    """As that of a folder whose path is too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="tq-") as elsewhere:
        folder = Path(elsewhere) / "taskqueue-socket"
        folder.mkdir()
        server = KnownServer(layout, find_server_binary(), str(folder / "server.sock"))
        one, reports = make(layout, server, Script(server))

        assert one.run(None)

        assert reports == [READY]
        assert not folder.exists()


def test_it_stays_for_the_linger_time_and_then_ends(
    layout: Layout, server: KnownServer, user: Callable[[], None]
) -> None:
    """The user leaves; a bit later somebody comes back, for a while; the count starts anew."""
    seen: list[str] = []
    guest: list[tuple[Path, int]] = []

    def come_back() -> None:
        seen.append(ask(server.socket, "PING"))
        guest.append(users.register(layout.users, "everysec"))
        steps.insert(0, go_again)

    def go_again() -> None:
        path, descriptor = guest.pop()
        path.unlink()
        os.close(descriptor)

    script = Script(server, user, come_back)
    steps = script._steps
    steps += [lambda: seen.append(ask(server.socket, "PING")), lambda: time.sleep(0.1)]
    one, _ = make(layout, server, script, linger=0.1)

    assert one.run(None)

    assert seen == ["+PONG", "+PONG"]
    assert not script.stop_asked
    assert list(layout.folder.iterdir()) == [layout.data]


def test_it_does_not_end_while_somebody_is_at_the_door(
    layout: Layout, server: KnownServer, user: Callable[[], None]
) -> None:
    """A process holds the door, to register, when the linger time is over: it must find a server."""
    door = acquire(layout.door)
    seen: list[str] = []
    steps = [user, lambda: seen.append(ask(server.socket, "PING")), lambda: release(door)]
    script = Script(server, *steps, lambda: time.sleep(guard.LOOK))
    one, _ = make(layout, server, script)

    assert one.run(None)

    assert seen == ["+PONG"]
    assert not script.stop_asked


def test_it_looks_once_more_behind_the_door(
    layout: Layout, server: KnownServer, user: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user came between the last look and the door: the server stays."""
    answers = iter([False, True, True])
    monkeypatch.setattr(guard, "are_present", lambda _: next(answers, True))
    script = Script(server, lambda: None)
    one, _ = make(layout, server, script)

    assert one.run(None)

    assert script.stop_asked, "it ended although a user was there"
    assert not is_held(layout.door)


def test_a_crashed_server_is_started_again_for_its_users(
    layout: Layout, server: KnownServer, user: Callable[[], None], capfd: pytest.CaptureFixture[str]
) -> None:
    """The server gets kill -9: the guard says so and brings it back; its log is kept for whoever asks."""
    layout.log.touch()
    seen: list[str] = []
    script = Script(server, lambda: kill(layout), lambda: seen.append(ask(server.socket, "PING")))
    one, reports = make(layout, server, script)

    assert one.run(None)

    assert seen == ["+PONG"]
    assert reports == [READY]
    assert layout.log.exists()
    assert "ended by signal 9" in capfd.readouterr().err


def test_a_crashed_server_without_users_stays_down(
    layout: Layout, server: KnownServer, user: Callable[[], None]
) -> None:
    """Nobody needs it: there is nothing to bring back."""

    def leave_and_crash() -> None:
        user()
        kill(layout)

    one, _ = make(layout, server, Script(server, leave_and_crash))

    assert one.run(None)

    assert list(layout.folder.iterdir()) == [layout.data]


def test_a_server_that_crashes_again_and_again_is_given_up(
    layout: Layout,
    server: KnownServer,
    user: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """After so many crashes in so short a time the guard ends, keeps the log, and its user's place."""
    monkeypatch.setattr(guard, "CRASHES", 2)
    monkeypatch.setattr(guard, "FIRST_PAUSE", 0.01)
    layout.log.touch()
    script = Script(server, *[lambda: kill(layout)] * 5)
    one, _ = make(layout, server, script)

    assert not one.run(None)

    assert "3 times within 60 s" in capfd.readouterr().err
    assert set(layout.folder.iterdir()) == {layout.data, layout.log, layout.users}


def test_a_crashed_server_is_not_waited_for_when_the_guard_must_end(
    layout: Layout, server: KnownServer, user: Callable[[], None], capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM arrives while the guard pauses before the next start."""
    script = Script(server, lambda: kill(layout))
    waits: list[float] = []

    def wait(timeout: float) -> None:
        if script._steps:
            Script.wait(script, timeout)
        else:
            waits.append(timeout)
            script.stop_asked = True

    script.wait = wait  # type: ignore[method-assign]
    one, _ = make(layout, server, script)

    assert one.run(None)

    assert waits == [guard.FIRST_PAUSE]
    assert "is up again" not in capfd.readouterr().err


def test_a_guard_that_must_end_does_not_wait_at_the_door_for_ever(
    layout: Layout,
    server: KnownServer,
    user: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A frozen process holds the door: the server ends all the same, and the door stays its holder's."""
    monkeypatch.setattr(guard, "DOOR_PATIENCE", 0.05)
    door = acquire(layout.door)
    one, _ = make(layout, server, Script(server))

    assert one.run(None)

    assert not layout.socket.exists()
    assert layout.door.exists()
    assert "ending all the same" in capfd.readouterr().err
    release(door)


def test_a_program_that_cannot_be_run_fails_the_start(
    layout: Layout, capfd: pytest.CaptureFixture[str]
) -> None:
    """The path of the program leads nowhere: said at once, and nothing but the log stays."""
    missing = KnownServer(layout, "/nowhere/valkey-server", str(layout.socket))
    layout.log.touch()
    one, reports = make(layout, missing, Script(missing, lambda: None))

    assert not one.run(None)

    assert reports == [FAILED]
    assert set(layout.folder.iterdir()) == {layout.data, layout.log}
    assert "cannot run /nowhere/valkey-server" in capfd.readouterr().err


@pytest.fixture
def orphan(layout: Layout, server: Server) -> Server:
    """A server whose guard is no more: it holds its lock alone."""
    server.claim_data(None, patience=0.1)
    server.start("everysec")
    wait_until(server.answers, "the server answers")
    assert server._lock is not None
    os.close(server._lock)
    server._lock = None
    return server


def test_the_server_of_a_guard_that_died_is_told_to_end(
    layout: Layout, orphan: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no system ends it with its guard: the data has one server at a time."""
    after = Server(layout, find_server_binary(), str(layout.socket))
    # The first wait is in vain, the second for an event.
    patience = iter([0.0, 10.0])
    monkeypatch.setattr(process, "acquire", lambda path, _: acquire(path, next(patience)))

    after.claim_data(orphan.socket, patience=2.0)

    wait_until(orphan.has_ended, "the former server has ended")
    after.stop(grace=1.0)


def test_a_former_server_that_stays_fails_the_start(
    layout: Layout, orphan: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It cannot be reached: a second server on its data would destroy it."""
    monkeypatch.setattr(guard, "ORPHAN_PATIENCE", 0.05)
    after = KnownServer(layout, find_server_binary(), str(layout.folder / "other.sock"))
    one, reports = make(layout, after, Script(after))

    assert not one.run(str(layout.folder / "nowhere.sock"))

    assert reports == [FAILED]
    said = capfd.readouterr().err
    assert "was told to end" in said
    assert "still has" in said
    assert orphan.answers()
    with pytest.raises(OrphanRemains):
        after.claim_data(None, patience=0.05)


def test_a_server_that_does_not_end_is_killed(
    layout: Layout, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    """It hangs: the guard waits for its grace, no longer."""
    server.claim_data(None, patience=0.1)
    server.start("everysec")
    wait_until(server.answers, "the server answers")
    os.kill(int(layout.server.read_text()), signal.SIGSTOP)

    server.stop(grace=0.2)

    assert "is killed" in capfd.readouterr().err
    assert not layout.server.exists()


def test_a_server_that_is_told_to_end_before_it_runs_does_not_run(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM meets a fork of the guard, which has a handler of its own that the server will not have."""
    monkeypatch.setattr(process, "_parent_binding", lambda: lambda: os.kill(os.getpid(), signal.SIGTERM))
    kept = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.claim_data(None, patience=0.1)

        server.start("everysec")

        wait_until(server.has_ended, "the server has ended")
    finally:
        signal.signal(signal.SIGTERM, kept)
    assert "ended by signal 15" in capfd.readouterr().err


def test_a_server_is_not_started_on_data_that_was_not_claimed(server: Server) -> None:
    """Two servers on one append-only file would destroy it: the order of the calls is checked."""
    with pytest.raises(RuntimeError, match="claim_data"):
        server.start("everysec")


def start_main(layout: Layout, report_to: int) -> int:
    """Run the guard's `main` in a forked child, which becomes nobody's; return the child's exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = main([str(layout.folder), find_server_binary(), str(layout.socket), "0", str(report_to)])
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_whoever_starts_a_guard_does_not_become_its_parent(layout: Layout) -> None:
    """The process that was started ends at once; the guard itself says when the server is ready."""
    reader, writer = os.pipe()

    assert start_main(layout, writer) == 0

    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == f"{READY}\n"
    wait_until(lambda: list(layout.folder.iterdir()) == [layout.data], "the guard has ended")


def test_a_second_guard_leaves_the_folder_to_the_first(layout: Layout) -> None:
    """Its starter was quicker than the first guard could take its lock."""
    reader, writer = os.pipe()
    lock = acquire(layout.guard)

    assert start_main(layout, writer) == 0

    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == f"{TAKEN}\n"
    assert not layout.data.exists()
    release(lock)


def test_a_guard_whose_starter_died_goes_on(layout: Layout, server: Server, user: Callable[[], None]) -> None:
    """Nobody reads its report any more; others may be waiting for the server."""
    reader, writer = os.pipe()
    os.close(reader)

    assert start_main(layout, writer) == 0

    os.close(writer)
    wait_until(server.answers, "it is up")
    user()
    wait_until(lambda: not layout.guard.exists(), "the guard has ended")


def test_where_the_system_cannot_bind_a_server_to_its_guard_it_runs_all_the_same(
    layout: Layout, server: KnownServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On macOS, and where Python was built without ctypes."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert process._parent_binding() is None
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert process._parent_binding() is None

    one, reports = make(layout, server, Script(server))
    assert one.run(None)
    assert reports == [READY]


def test_a_wait_ends_with_time_or_with_a_signal() -> None:
    """SIGTERM ends a wait at once and is remembered; Ctrl-C is for programs in front of a person."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)}
    kept |= {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signals = Signals()
        began = time.monotonic()
        signals.wait(0.05)
        assert time.monotonic() - began >= 0.05
        was_asked = signals.stop_asked
        assert not was_asked

        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        signals.wait(10)

        assert signals.stop_asked
        assert time.monotonic() - began < 5
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in kept.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
