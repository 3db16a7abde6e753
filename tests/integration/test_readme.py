"""The README keeps its word: its program runs, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import RealServer

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = sorted(set(re.findall(r"\]\(([^)#:]+)\)", README)))
FILES = sorted(set(re.findall(r"`(examples/[a-z_]+\.(?:py|jsonl))`", README)))


def test_the_program_of_the_readme_runs(tmp_path: Path) -> None:
    """As a reader would paste it into a file; only the server is another."""
    [program] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    file = tmp_path / "program.py"
    file.write_text(program)

    with RealServer() as server:
        done = subprocess.run(
            [sys.executable, str(file)],
            env=os.environ | {"TASKQUEUE_URL": server.url, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert (done.returncode, done.stdout) == (0, "hello Ada\n"), done.stderr


@pytest.mark.parametrize("target", [*LINKS, *FILES])
def test_what_the_readme_points_to_is_there(target: str) -> None:
    """Files and folders of the project."""
    assert (ROOT / target).exists()


def test_the_readme_points_somewhere() -> None:
    """The patterns of this file find something."""
    assert len(LINKS) > 5
    assert len(FILES) > 1
