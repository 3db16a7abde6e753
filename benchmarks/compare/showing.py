"""Prints ratios for people who wait at a terminal; everything else is in the files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.compare.tables import ratio_rows
from benchmarks.report import number


def show_ratios(console: Console, report: Mapping[str, Any]) -> None:
    """Print our ratios to the best peer, where there are peers, and to the raw limits."""
    peers = any(queue["kind"] == "peer" for queue in report["queues"].values())
    title = "Times as good as the other, above 1 we are better: median (lowest to highest of the rounds)"
    table = Table(title=title, title_justify="left", title_style="bold")
    columns = ("", "ours", "best peer", "its value", "ours to it", "raw limit", "ours to it")
    for at, column in enumerate(columns):
        if peers or at not in _OF_PEERS:
            table.add_column(column, justify="left" if at == 0 else "right", overflow="fold")
    for row in ratio_rows(report):
        table.add_row(*(cell for at, cell in enumerate(row) if peers or at not in _OF_PEERS))
    console.print(table)
    for each in report["limits"].values():
        console.print(f"{each['title']}: {number(each['median'])}/s", highlight=False)


_OF_PEERS = (2, 3, 4)
