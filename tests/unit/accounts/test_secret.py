"""The secret of a process: from the settings, or from a file beside the embedded server's data."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from taskqueue.accounts import load_secret
from taskqueue.errors import InvalidSetting, ServerUnsuitable

HEX = "0123456789abcdef" * 4
BASE64 = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k="


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (HEX, bytes.fromhex(HEX)),
        (HEX.upper(), bytes.fromhex(HEX)),
        (f"  {HEX}\n", bytes.fromhex(HEX)),
        (HEX + "00", (HEX + "00").encode()),
        (BASE64, BASE64.encode()),
        (
            "a sentence that is long enough, with an é in it",
            b"a sentence that is long enough, with an \xc3\xa9 in it",
        ),
    ],
)
def test_a_given_secret_is_taken(given: str, expected: bytes) -> None:
    """64 hexadecimal digits as the bytes that they spell, anything longer as it stands."""
    assert load_secret(given) == expected
    assert len(expected) >= 32


@pytest.mark.parametrize(
    "given", [HEX[:-1], HEX[:-2], BASE64[:42], "changeme", "x" * 100, "ab" * 50, HEX * 17]
)
def test_a_weak_secret_is_refused_and_not_shown(given: str) -> None:
    """Too short, too long, or a text that waits to be replaced."""
    with pytest.raises(InvalidSetting, match="TASKQUEUE_SECRET") as caught:
        load_secret(given)
    assert given not in str(caught.value)
    assert given not in repr(vars(caught.value))


@pytest.mark.parametrize("given", [None, ""])
def test_without_an_embedded_server_a_secret_must_be_given(given: str | None) -> None:
    """Processes on several machines could not agree on one that each makes for itself."""
    with pytest.raises(InvalidSetting, match="openssl rand -hex 32"):
        load_secret(given)


def test_a_file_is_made_on_first_use_for_its_owner_alone(tmp_path: Path) -> None:
    """The next process finds the same secret; nothing else is left in the folder."""
    folder = tmp_path / "queue"

    first = load_secret(folder=folder)

    assert len(first) == 32
    assert load_secret(folder=folder) == first
    assert load_secret("", folder=folder) == first
    assert load_secret(HEX, folder=folder) != first
    [made] = folder.iterdir()
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert load_secret(folder=tmp_path / "other") != first


def _load(folder: Path) -> bytes:
    return load_secret(folder=folder)


def test_processes_that_come_together_agree_on_one_secret(tmp_path: Path) -> None:
    """Whoever is first makes it, whole; the others take it."""
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        for number in range(10):
            folder = tmp_path / str(number)

            found = set(pool.map(_load, [folder] * 8))

            assert len(found) == 1
            assert [path.name for path in folder.iterdir()] == ["secret"]


def test_a_slower_process_takes_the_secret_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both saw no file; the one that comes second does not replace what the first one uses already."""
    first = load_secret(folder=tmp_path)
    monkeypatch.setattr(Path, "exists", lambda path: False)

    assert load_secret(folder=tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The message says what to do about it, and not what is in it."""
    load_secret(folder=tmp_path)
    path = tmp_path / "secret"
    path.chmod(mode)

    with pytest.raises(ServerUnsuitable, match="chmod 600") as caught:
        load_secret(folder=tmp_path)
    assert path.read_text().strip() not in str(caught.value)


def test_a_link_or_a_pipe_is_no_file(tmp_path: Path) -> None:
    """Neither is followed or waited for."""
    (tmp_path / "elsewhere").write_text(HEX)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "secret").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "secret", 0o600)

    for folder in ("a", "b"):
        with pytest.raises(ServerUnsuitable, match="TASKQUEUE_SECRET"):
            load_secret(folder=tmp_path / folder)


@pytest.mark.parametrize("content", ["", "short\n", "x" * 5000])
def test_a_damaged_file_is_reported_by_its_name(tmp_path: Path, content: str) -> None:
    """It is not replaced: keys may have been made with what was in it."""
    path = tmp_path / "secret"
    path.write_text(content)
    path.chmod(0o600)

    with pytest.raises(InvalidSetting, match="secret: '\\*\\*\\*'"):
        load_secret(folder=tmp_path)
    assert path.read_text() == content


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """They could put a secret of their own there."""
    tmp_path.chmod(0o777)

    with pytest.raises(ServerUnsuitable, match="others may write"):
        load_secret(folder=tmp_path)
