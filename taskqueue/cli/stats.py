"""`taskqueue stats` and `top`: how much is queued and how much runs, once or again and again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from taskqueue.cli import options
from taskqueue.cli.output import console, span, table, utc, write_json
from taskqueue.cli.runtime import open_queue, run

if TYPE_CHECKING:
    from rich.console import Console, Group

    from taskqueue.queue import TaskQueue
    from taskqueue.store import Limit, Stats

MOST_TYPES = 40
"""Types that `top` asks about one by one; the busiest come first."""


def stats(
    *,
    type_: options.TypeFilter = None,
    tenant: options.TenantFilter = None,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Count what is queued and what runs, of the whole queue, a type, a tenant, or both."""

    async def command() -> Stats:
        async with open_queue(url, queue) as opened:
            return await opened.stats(type=type_, tenant=tenant)

    found = run(command())
    if as_json:
        write_json(stats_document(found))
    else:
        screen = console()
        screen.print(_summary_table([("", found)]))
        screen.print(_priorities_table(found))
        if any(_is_notable(limit) for limit in found.limits):
            screen.print(limits_table([limit for limit in found.limits if _is_notable(limit)]))


def top(
    *,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.1, help="Time between two looks.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Show one look and end.")] = False,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Watch the queue: counts by type and priority, limits, and the workers that live. Ctrl-C ends it.

    With --json every look is one line.
    """
    run(_top(url, queue, interval, once=once, as_json=as_json))


@dataclass(frozen=True, slots=True)
class Look:
    """What `top` saw at one time."""

    taken_at: datetime
    whole: Stats
    by_type: list[tuple[str, Stats]]
    workers: list[tuple[str, float]]

    @property
    def document(self) -> dict[str, Any]:
        """The look as a JSON document."""
        return {
            "takenAt": utc(self.taken_at),
            **stats_document(self.whole),
            "byType": [{"taskType": name, **_counts(found)} for name, found in self.by_type],
            "workers": [{"worker": name, "silentSeconds": round(age, 1)} for name, age in self.workers],
        }


async def _top(url: str | None, name: str | None, interval: float, *, once: bool, as_json: bool) -> None:
    screen = console()
    async with open_queue(url, name) as queue:
        if screen.is_terminal and not once and not as_json:
            await _paint(queue, screen, interval)
        while True:
            look = await take_look(queue)
            if as_json:
                write_json(look.document)
            else:
                screen.print(_screen(look))
            if once:
                return
            await asyncio.sleep(interval)


async def _paint(queue: TaskQueue, screen: Console, interval: float) -> NoReturn:
    """Show look after look in the same place of a terminal, until interrupted."""
    from rich.live import Live

    with Live(_screen(await take_look(queue)), console=screen, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(interval)
            live.update(_screen(await take_look(queue)), refresh=True)


async def take_look(queue: TaskQueue) -> Look:
    """Ask the server for everything that one screen of `top` shows."""
    whole, workers = await asyncio.gather(queue.stats(), queue.workers())
    used = {limit.name: limit.used for limit in whole.limits if limit.scope == "type"}
    names = sorted(used, key=lambda name: (-used[name], name))[:MOST_TYPES]
    found = await asyncio.gather(*(queue.stats(type=name) for name in names))
    return Look(datetime.now(UTC), whole, list(zip(names, found, strict=True)), workers)


def stats_document(found: Stats) -> dict[str, Any]:
    """Return counts as a JSON document, with the names of the contract where it has one."""
    age = found.oldest_age
    return {
        **_counts(found),
        "priorityBreakdown": [{"priority": key, "count": count} for key, count in found.by_priority.items()],
        "oldestAgeMs": None if age is None else round(age.total_seconds() * 1000),
        "limits": [limit_document(limit) for limit in found.limits],
    }


def limit_document(limit: Limit) -> dict[str, Any]:
    """Return one limit as a JSON document."""
    return {
        limit.scope: limit.name,
        "concurrency": limit.concurrency,
        "used": limit.used,
        "paused": limit.paused,
        "weight": limit.weight,
    }


def limits_table(limits: list[Limit]) -> Any:
    """Return limits as a table."""
    columns = ("scope", "name", "runs at most", "runs now", "weight", "paused")
    rows = (
        (
            one.scope,
            one.name,
            one.concurrency or "no limit",
            one.used,
            one.weight,
            "yes" if one.paused else "no",
        )
        for one in limits
    )
    return table(columns, rows, right=("runs at most", "runs now", "weight"))


def _counts(found: Stats) -> dict[str, int]:
    return {
        "queuedTasks": found.queued,
        "processingTasks": found.processing,
        "delayedTasks": found.delayed,
    }


def _is_notable(limit: Limit) -> bool:
    return limit.concurrency is not None or limit.paused or limit.used > 0


def _summary_table(rows: list[tuple[str, Stats]]) -> Any:
    columns = ("type", "queued", "of these delayed", "processing", "oldest waits")
    cells = (
        (name or "all", found.queued, found.delayed, found.processing, span(found.oldest_age))
        for name, found in rows
    )
    return table(columns, cells, right=columns[1:])


def _priorities_table(found: Stats) -> Any:
    return table(("priority", "queued"), found.by_priority.items(), right=("priority", "queued"))


def _screen(look: Look) -> Group:
    from rich.console import Group

    parts = [_summary_table([("", look.whole), *look.by_type]), _priorities_table(look.whole)]
    if any(_is_notable(limit) for limit in look.whole.limits):
        parts.append(limits_table([limit for limit in look.whole.limits if _is_notable(limit)]))
    parts.append(
        table(("worker", "last heard of"), [(name, f"{span(age)} ago") for name, age in look.workers])
    )
    return Group(*parts)
