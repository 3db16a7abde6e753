"""The file of the secret where something is in its way: other users, full disks, links, races."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from taskqueue.accounts import load_secret
from taskqueue.errors import ServerUnsuitable

HEX = "0123456789abcdef" * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "server"


def test_a_generous_umask_changes_nothing(folder: Path) -> None:
    """The file is for its owner alone, and so is the folder."""
    before = os.umask(0)
    try:
        load_secret(folder=folder)
    finally:
        os.umask(before)

    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_who_comes_second_takes_what_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process makes the file between our look and our link: its secret stays."""
    link = os.link

    def late(source: Path, target: Path) -> None:
        target.write_text(HEX)
        target.chmod(0o600)
        link(source, target)

    monkeypatch.setattr(os, "link", late)

    assert load_secret(folder=folder) == bytes.fromhex(HEX)
    assert [each.name for each in folder.iterdir()] == ["secret"]


def test_a_file_that_cannot_be_written_whole_is_not_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk leaves no half of a secret; the next try makes a whole one."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ServerUnsuitable, match=r"No space left on device.*TASKQUEUE_SECRET"):
            load_secret(folder=folder)
    assert list(folder.iterdir()) == []

    assert len(load_secret(folder=folder)) == 32


def test_the_file_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wrote it knows it."""
    load_secret(folder=folder)
    owner = os.geteuid()
    asked: list[int] = []

    def other() -> int:
        # The folder, which is looked at first, is ours.
        asked.append(owner)
        return owner if len(asked) == 1 else owner + 1

    monkeypatch.setattr(os, "geteuid", other)

    with pytest.raises(ServerUnsuitable, match=f"belongs to user {owner}, and this is user {owner + 1}"):
        load_secret(folder=folder)


@pytest.mark.parametrize("kind", ["link to nothing", "folder"])
def test_what_is_no_plain_file_is_refused(folder: Path, tmp_path: Path, kind: str) -> None:
    """And nothing is written through it."""
    folder.mkdir(mode=0o700)
    target, path = tmp_path / "elsewhere", folder / "secret"
    if kind == "folder":
        path.mkdir(mode=0o700)
    else:
        path.symlink_to(target)

    with pytest.raises(ServerUnsuitable, match=f"cannot keep the secret of API keys in {path}"):
        load_secret(folder=folder)
    assert not target.exists()


@pytest.mark.parametrize("given", [f"{HEX}\n{HEX}", f"{HEX}\0", f"{HEX}\udcff", " " * 50])
def test_text_that_cannot_be_printed_is_refused_without_showing_it(given: str) -> None:
    """Lines, blanks, and bytes that the environment could not decode."""
    with pytest.raises(ValueError, match="openssl rand -hex 32") as caught:
        load_secret(given)
    assert "0123456789abcdef" not in f"{caught.value!r} {caught.value.args} {vars(caught.value)}"
