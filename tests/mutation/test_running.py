"""The whole way, for one small script and its own tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def mutated(*words: str) -> subprocess.CompletedProcess[str]:
    """Try the mutants of progress.lua."""
    command = [sys.executable, "-m", "tests.mutation", "--only", "progress", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)


def test_mutants_are_tried_recorded_and_not_tried_again(tmp_path: Path) -> None:
    """A changed field of a hash is noticed; with a record, a second run has nothing left to do."""
    record = tmp_path / "verdicts"
    words = ("--tests", "tests/lua/test_progress.py", "--record", str(record))
    first = mutated(*words, "--sample", "4", "--seed", "1")

    verdicts = [json.loads(line) for line in record.read_text().splitlines()]
    assert len(verdicts) == 4, first.stdout + first.stderr
    killed = [each for each in verdicts if each["verdict"] == "killed"]
    assert killed
    assert all(each["test"].startswith("tests/lua/test_progress.py::") for each in killed)
    assert f"{len(killed)} of 4 killed" in first.stdout

    second = mutated(*words, "--sample", "4", "--seed", "1")
    assert " tests, 0 mutants" in second.stdout
    assert len(record.read_text().splitlines()) == 4


def test_tests_that_fail_anyway_prove_nothing(tmp_path: Path) -> None:
    """A mutant that such a test does not like was not noticed by it."""
    failing = tmp_path / "test_failing.py"
    failing.write_text("def test_fails():\n    assert False\n")

    found = mutated("--tests", str(failing))

    assert found.returncode == 2
    assert "these tests fail without any change" in found.stdout
