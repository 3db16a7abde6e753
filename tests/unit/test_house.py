"""Rules of the house that no linter knows: sizes, and who may spell a key."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("taskqueue", "scheduler")
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for suffix in ("py", "lua")
    for path in (ROOT / package).rglob(f"*.{suffix}")
)
PYTHON = [path for path in SOURCES if path.endswith(".py")]
LUA = [path for path in SOURCES if path.endswith(".lua")]

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 60

KEY = re.compile(r"\btq:|^tq$")


@pytest.mark.parametrize("path", SOURCES)
def test_a_file_has_at_most_400_lines(path: str) -> None:
    """A longer one has two duties: split it."""
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())

    assert lines <= LINES_OF_A_FILE


@pytest.mark.parametrize("path", PYTHON)
def test_a_function_has_at_most_60_lines(path: str) -> None:
    """Its docstring does not count: it may say what needs to be said."""
    sizes = dict(functions((ROOT / path).read_text(encoding="utf-8")))

    assert {name: size for name, size in sizes.items() if size > LINES_OF_A_FUNCTION} == {}


@pytest.mark.parametrize("path", PYTHON)
def test_only_one_file_spells_a_key(path: str) -> None:
    """Everybody else asks taskqueue/keys.py, so that a key has one spelling."""
    if path != "taskqueue/keys.py":
        assert list(spelled_keys((ROOT / path).read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", LUA)
def test_no_script_spells_the_prefix_of_a_key(path: str) -> None:
    """Scripts are handed the prefix: queues of several names share them."""
    code = re.sub(r"--\[\[.*?\]\]|--[^\n]*", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.DOTALL)

    assert re.search(r"\btq:", code) is None


def test_the_rules_look_at_both_packages() -> None:
    """An empty list of files would keep every rule."""
    assert {path.split("/")[0] for path in PYTHON} == set(PACKAGES)
    assert "taskqueue/keys.py" in PYTHON
    assert LUA


def test_the_size_of_a_function_is_counted_without_its_docstring() -> None:
    """The measuring stick itself, on a function of two lines and one inside another."""
    docstring = '    """One.\n\n    Two."""\n'
    source = f"class A:\n  async def f(self):\n{docstring}    def g():\n      return 1\n    return g\n"

    assert dict(functions(source)) == {"f": 4, "g": 2}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('key = "tq:{a}:meta"', ["tq:{a}:meta"]),
        ('key = f"tq:{{{name}}}:meta"', ["tq:{"]),
        ('key = b"tq:" + name', ["tq:"]),
        ('key = ":".join(["tq", name])', ["tq"]),
        ('"""The keys tq:{name}: of a queue."""\nname = "tqdm"', []),
        ('def f():\n    """Reads tq:{name}:meta."""\n    return "https:"', []),
    ],
)
def test_spelled_keys_are_found_in_code_but_not_in_docstrings(source: str, found: list[str]) -> None:
    """The finder itself, on plain text, f-strings, bytes and parts."""
    assert list(spelled_keys(source)) == found


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Yield the name and the length in lines of every function, docstrings left out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            told = node.body[0] if ast.get_docstring(node) is not None else None
            yield node.name, size - ((told.end_lineno or 0) - told.lineno + 1 if told else 0)


def spelled_keys(source: str) -> Iterator[str]:
    """Yield the texts that spell a key or its first word, docstrings and notes left out."""
    tree = ast.parse(source)
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in told:
            continue
        value = node.value
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if isinstance(text, str) and KEY.search(text):
            yield text
