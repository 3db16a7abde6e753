"""The mutator changes what it says, one thing at a time, and nothing that means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import taskqueue
from taskqueue import scripts
from tests.mutation.__main__ import all_of, explained
from tests.mutation.mutants import Mutant, mutants_of

SCRIPTS = Path(taskqueue.__file__).parent / "lua"
HEADED = '#!lua name=x\n--[[\nKEYS\n  a == b\n]]\ncall("SET", key, 1)\n'


def of(kind: str, source: str) -> list[str]:
    """Return what lines become, for one kind of mutants."""
    return [mutant.after for mutant in mutants_of(source) if mutant.kind == kind]


@pytest.mark.parametrize(
    ("kind", "line", "after"),
    [
        ("flip", "if a == b then", ["if a ~= b then"]),
        ("flip", "if a < b then", ["if a >= b then"]),
        ("flip", "while c >= d and e do", ["while c < d and e do", "while c >= d or e do"]),
        ("edge", "while a <= b do", ["while a < b do"]),
        ("edge", "if a == b then", []),
        ("sign", "local c = a + 1", ["local c = a - 1"]),
        ("sign", "return -1", []),
        ("name", 'local key = prefix .. "run:"', ['local key = prefix .. "run:~"']),
        ("name", 'call("ZADD", key, "")', []),
        ("drop", 'call("DEL", key)', [""]),
        ("drop", "count = count + 1", [""]),
        ("drop", "return nil, found", [""]),
        ("drop", "local a = 1", []),
        ("drop", 'call("DEL",', []),
        ("flip", "-- a == b", []),
        ("name", "-- say 'so'", []),
        ("flip", 'x = "a == b"', []),
    ],
)  # fmt: skip
def test_a_line_becomes(kind: str, line: str, after: list[str]) -> None:
    """Comments and strings are no code; names of commands and locals stay."""
    assert of(kind, line) == after


def test_headers_stay() -> None:
    """They say what a script takes; nothing runs there."""
    assert [(mutant.kind, mutant.line) for mutant in mutants_of(HEADED)] == [("drop", 6)]


def test_a_mutant_is_the_script_with_one_line_changed() -> None:
    """In each script of the package: the other lines are as they were."""
    names = [file.stem for file in SCRIPTS.glob("*.lua")]
    assert len(names) > 50
    for name in names:
        source = scripts._read(name)
        for mutant in mutants_of(source):
            assert _changed(source, mutant) == [(mutant.line, mutant.before, mutant.after)]


def _changed(source: str, mutant: Mutant) -> list[tuple[int, str, str]]:
    pairs = zip(source.split("\n"), mutant.source.split("\n"), strict=True)
    return [(at, old.strip(), new.strip()) for at, (old, new) in enumerate(pairs, 1) if old != new]


def test_each_mutant_that_is_explained_can_be_made() -> None:
    """A reason that is left over hides that its line has changed."""
    made = {str(each) for name, source in scripts._read_all().items() for each in all_of(name, source)}

    assert set(explained()) - made == set()


def test_twins_have_names_of_their_own() -> None:
    """Two lines that look the same are two mutants: the reason of one is none for the other."""
    names = [str(each) for each in all_of("part", "if a then\n  x()\nend\nx()\n")]

    assert names == ["part: drop: x() -> ", "part: drop: x() ->  #2"]
