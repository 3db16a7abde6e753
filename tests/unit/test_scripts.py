"""A queue's scripts: put together when they are needed, from what was installed when the process began."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskqueue import scripts
from taskqueue.ranking import policy
from taskqueue.scripts import ScriptSet, load, script_names

STRICT = policy("strict").lua


def test_a_script_is_put_together_once_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker needs a few of some sixty scripts; each is tens of kilobytes of text."""
    made: list[str] = []

    def noted(name: str, policy: str, *, shebang: bool = True) -> scripts.Script:
        made.append(name)
        return load(name, policy, shebang=shebang)

    monkeypatch.setattr(scripts, "load", noted)
    found = ScriptSet(STRICT)
    assert not made

    assert found["claim"] is found["claim"]
    assert made == ["claim"]
    assert found["claim"] == load("claim", STRICT)
    assert [script.name for script in found] == script_names()


def test_only_what_was_asked_for_can_be_used() -> None:
    """A caller that opens a queue, and does not know its policy yet, must not call what needs one."""
    found = ScriptSet("", names=("open",))

    assert [script.name for script in found] == ["open"]
    with pytest.raises(KeyError, match="claim"):
        found["claim"]


def test_what_is_installed_meanwhile_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade replaces files under a running process: it goes on with those that it began with."""
    before = load("fetch", STRICT).source
    found = ScriptSet(STRICT)
    monkeypatch.setattr(scripts, "files", lambda package: tmp_path)
    (tmp_path / "lua").mkdir()

    assert found["fetch"].source == before
