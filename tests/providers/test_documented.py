"""What docs/providers.md shows can be done as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.providers.catalogue import KINDS, provider_class
from scheduler.providers.configuration import read_configuration
from taskqueue.contract import TASK_TYPES

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
FILES = [block for block in re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL) if "kind =" in block]
PROGRAMS = re.findall(r"```python\n# (\S+)\n(.*?)```", GUIDE, re.DOTALL)
KEYS = dict.fromkeys(re.findall(r'env = "([A-Z_]+)"', GUIDE), "a-key")


@pytest.mark.parametrize("text", FILES, ids=["first", "kinds"])
def test_the_files_that_are_shown_have_no_problems(text: str, tmp_path: Path) -> None:
    """Each kind with its settings, each type with its chain."""
    path = tmp_path / "providers.toml"
    path.write_text(text)

    found = read_configuration(path, KEYS)

    assert found.problems == []
    assert set(found.chains) <= set(TASK_TYPES)


def test_every_kind_is_shown_with_what_it_answers(tmp_path: Path) -> None:
    """In the table and in the long file, which serves every type."""
    rows = re.findall(r"^\| `([a-z-]+)` \|([^|]+)\|([^|]*)\|", GUIDE, re.MULTILINE)
    path = tmp_path / "providers.toml"
    path.write_text(FILES[1])
    found = read_configuration(path, KEYS)

    assert {kind: extra.strip(" `") for kind, _, extra in rows} == {
        name: kind.extra for name, kind in KINDS.items()
    }
    for kind, answers, _ in rows:
        types = set(provider_class(kind).types)
        told = answers.strip()
        expected = {
            "all": set(TASK_TYPES),
            "the six answer engines": set(TASK_TYPES) - {"GOOGLE", "GOOGLE_NEWS"},
        }
        assert types == expected.get(told, set(told.split(", "))), kind
    assert set(found.kinds.values()) == set(KINDS)
    assert set(found.chains) == set(TASK_TYPES)


def test_the_provider_that_is_shown_passes_the_test_that_is_shown(tmp_path: Path) -> None:
    """As a reader would paste both into files."""
    for name, program in PROGRAMS:
        (tmp_path / name).write_text(program)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_acme.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert [name for name, _ in PROGRAMS] == ["acme.py", "test_acme.py"]
