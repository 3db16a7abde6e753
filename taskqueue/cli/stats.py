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
from taskqueue.cli.shown_limits import limit_document, provider_document, tables_of

if TYPE_CHECKING:
    from rich.console import Console, Group

    from taskqueue.queue import TaskQueue
    from taskqueue.store import ProviderState, Stats

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
    """Count what is queued and what runs, of the whole queue, a type, a tenant, or both.

    Of the whole queue it also shows what its providers are at.
    """
    is_whole = type_ is None and tenant is None

    async def command() -> tuple[Stats, list[ProviderState]]:
        async with open_queue(url, queue) as opened:
            found = await opened.stats(type=type_, tenant=tenant)
            return found, await opened.providers() if is_whole else []

    found, states = run(command())
    if as_json:
        write_json(stats_document(found) | (_providers_document(states) if is_whole else {}))
    else:
        screen = console()
        for part in (_summary_table([("", found)]), _priorities_table(found), *tables_of(found, states)):
            screen.print(part)


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
    """Watch the queue: counts by type and priority, limits, providers, and workers. Ctrl-C ends it.

    With --json every look is one line.
    """
    run(_top(url, queue, interval, once=once, as_json=as_json))


@dataclass(frozen=True, slots=True)
class Look:
    """What `top` saw at one time."""

    taken_at: datetime
    whole: Stats
    by_type: list[tuple[str, Stats]]
    providers: list[ProviderState]
    workers: list[tuple[str, float]]

    @property
    def document(self) -> dict[str, Any]:
        """The look as a JSON document."""
        return {
            "takenAt": utc(self.taken_at),
            **stats_document(self.whole),
            **_providers_document(self.providers),
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
    whole, providers, workers = await asyncio.gather(queue.stats(), queue.providers(), queue.workers())
    used = {limit.name: limit.used for limit in whole.limits if limit.scope == "type"}
    names = sorted(used, key=lambda name: (-used[name], name))[:MOST_TYPES]
    found = await asyncio.gather(*(queue.stats(type=name) for name in names))
    return Look(datetime.now(UTC), whole, list(zip(names, found, strict=True)), providers, workers)


def stats_document(found: Stats) -> dict[str, Any]:
    """Return counts as a JSON document, with the names of the contract where it has one."""
    age = found.oldest_age
    return {
        **_counts(found),
        "priorityBreakdown": [{"priority": key, "count": count} for key, count in found.by_priority.items()],
        "oldestAgeMs": None if age is None else round(age.total_seconds() * 1000),
        "limits": [limit_document(limit) for limit in found.limits],
    }


def _providers_document(states: list[ProviderState]) -> dict[str, Any]:
    return {"providers": [provider_document(state) for state in states]}


def _counts(found: Stats) -> dict[str, int]:
    return {
        "queuedTasks": found.queued,
        "processingTasks": found.processing,
        "delayedTasks": found.delayed,
    }


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
    parts += tables_of(look.whole, look.providers)
    parts.append(
        table(("worker", "last heard of"), [(name, f"{span(age)} ago") for name, age in look.workers])
    )
    return Group(*parts)
