"""What a command writes: answers to stdout, messages to stderr, and JSON where a script reads.

Text that came from elsewhere (payloads, errors of handlers, names) is shown without the control
characters that it may hold: a terminal would obey them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400

_PIPE_WIDTH = 200
"""Columns when nobody looks: tables that `grep` reads must not be cut to 80."""


def say(message: str) -> None:
    """Write one message for people to stderr."""
    typer.echo(plain(message), err=True)


def write_line(text: str) -> None:
    """Write one line of an answer to stdout."""
    typer.echo(plain(text))


def write_json(document: Any) -> None:
    """Write *document* as one line of JSON to stdout."""
    typer.echo(json_text(document))


def json_text(document: Any) -> str:
    """Return *document* as one line of JSON; bytes become `{"base64": ...}`."""
    return json.dumps(document, ensure_ascii=False, default=_json_value)


def counted(number: int, noun: str) -> str:
    """Return a number of things as people say it: `1 task`, `2,000 tasks`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def plain(text: str) -> str:
    """Return *text* with control characters escaped; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )


def console(*, stderr: bool = False) -> Console:
    """Return a Rich console for stdout, wide where the output is no terminal."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _PIPE_WIDTH
    return made


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    right: Sequence[str] = (),
) -> Table:
    """Return a table; cells are shown as plain text, never read as markup.

    Args:
        columns: Headings.
        rows: Cells, as many as there are columns; None is shown as a dash.
        title: A heading above it all.
        right: Columns that hold numbers.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text("-" if cell is None else plain(str(cell))) for cell in row))
    return made


def write_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    right: Sequence[str] = (),
) -> None:
    """Write a table to stdout (see `table`)."""
    console().print(table(columns, rows, title=title, right=right))


def utc(instant: datetime | None) -> str | None:
    """Return an instant as the contract writes it: ISO 8601 in UTC, milliseconds, `Z`."""
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span(seconds: float | timedelta | None) -> str | None:
    """Return a duration as people read it: `850 ms`, `2.4 s`, `5 min 3 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return None
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if seconds < _HOUR:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if seconds < 2 * _DAY:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def _json_value(value: object) -> object:
    """Return what JSON can carry in place of *value*: bytes as base64, instants as text."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return utc(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
