"""Marks tell which lines a test reaches, and change nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskqueue import scripts
from taskqueue.ranking import policy
from tests.lua.bytecode import compiled
from tests.mutation.mutants import mutants_of
from tests.mutation.reaching import Logs, Marked, marked_scripts, places_in

PART = """-- Says what is left.
local LEAST = 2
local function left_of(count)
  if count > LEAST
    and count < 9 then
    return count - LEAST
  elseif count == 1 then
    send("DEL",
      count + 1)
  end
  list[#list + 1] = count
end
"""


def test_each_statement_says_where_it_stands() -> None:
    """Definitions and what goes on with a statement have no mark of their own."""
    marked = Marked("part", PART)

    assert marked.source.split("\n")[1:13] == [
        '_reach("part:2") ',
        "local LEAST = 2",
        "local function left_of(count)",
        '  _reach("part:4") if count > LEAST',
        "    and count < 9 then",
        '    _reach("part:6") return count - LEAST',
        "  elseif count == 1 then",
        '    _reach("part:8") send("DEL",',
        "      count + 1)",
        "  end",
        '  _reach("part:11") list[#list + 1] = count',
        "end",
    ]


@pytest.mark.parametrize(
    ("line", "mark"),
    [(2, 2), (4, 4), (5, 4), (6, 6), (7, 4), (8, 8), (9, 8), (11, 11), (20, None)],
)
def test_a_line_is_reached_with_the_statement_that_it_is_of(line: int, mark: int | None) -> None:
    """Another branch of a condition, at the latest, with the first statement around it."""
    assert Marked("part", PART).mark_of(line) == mark


def test_marked_scripts_are_scripts_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each compiles, as a script and as a function; nearly every mutant knows the mark of its line."""
    sources = scripts._read_all()
    marked = marked_scripts(sources)
    texts = {name: each.source for name, each in marked.items()}
    monkeypatch.setattr(scripts, "_read_all", lambda: texts)
    monkeypatch.setattr("taskqueue.ranking._shipped_source", lambda name: sources[f"_rank_{name}"])

    for name in scripts.script_names():
        script = scripts.load(name, policy("strict").lua)
        compiled(script.source.partition("\n")[2])
        if script.library is not None:
            compiled(script.library.code.partition("\n")[2])
    unknown = {
        name
        for name, source in sources.items()
        for mutant in mutants_of(source)
        if marked[name].mark_of(mutant.line) is None
    }
    assert {name for name in unknown if not name.startswith("_rank_")} == set()


def test_a_log_is_read_once_and_says_what_was_reached(tmp_path: Path) -> None:
    """Between two tests only what is new is of the second one."""
    log = tmp_path / "tq-1" / "server.log"
    log.parent.mkdir()
    logs = Logs(tmp_path)
    assert logs.more() == ""

    log.write_text("1:M 00:00 # @reap:12@\n1:M 00:00 # @_base:3@\n1:M 00:00 * ready\n")
    assert places_in(logs.more()) == {("reap", 12), ("_base", 3)}
    with log.open("a") as file:
        file.write("1:M 00:01 # @reap:14@\n")
    assert places_in(logs.more()) == {("reap", 14)}
