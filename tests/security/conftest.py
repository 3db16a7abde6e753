"""The command line, for tests of what a whole life touches and shows."""

from __future__ import annotations

from tests.cli.conftest import cli, environment, program

__all__ = ["cli", "environment", "program"]
