"""The command line `taskqueue`, and the only place that knows both packages.

Its modules import nothing heavy at their heads: `taskqueue --help` must not wait for a Redis
client. docs/cli.md describes every command.
"""

from taskqueue.cli.app import main

__all__ = ["main"]
