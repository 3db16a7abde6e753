"""`taskqueue pause`, `resume` and `clear`: stop what is queued from being claimed, or drop it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from taskqueue.cli import options
from taskqueue.cli.exits import Stop
from taskqueue.cli.output import counted, write_json, write_line
from taskqueue.cli.runtime import open_queue, run

Provider = Annotated[
    str | None,
    typer.Option("--provider", metavar="NAME", help="Only at this provider.", show_default=False),
]


def pause(
    *,
    type_: options.TypeFilter = None,
    tenant: options.TenantFilter = None,
    provider: Provider = None,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Start nothing more of a type, of a tenant, at a provider, or of the whole queue. What runs goes on."""

    async def command() -> None:
        async with open_queue(url, queue) as opened:
            await opened.pause(type=type_, tenant=tenant, provider=provider)

    run(command())
    _report("paused", type_, tenant, provider, as_json=as_json)


def resume(
    *,
    type_: options.TypeFilter = None,
    tenant: options.TenantFilter = None,
    provider: Provider = None,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Undo the pause of a type, a tenant, a provider, or the whole queue; each has to be undone by itself."""

    async def command() -> None:
        async with open_queue(url, queue) as opened:
            await opened.resume(type=type_, tenant=tenant, provider=provider)

    run(command())
    _report("resumed", type_, tenant, provider, as_json=as_json)


def clear(
    *,
    type_: options.TypeFilter = None,
    tenant: options.TenantFilter = None,
    yes: options.Yes = False,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove every QUEUED task of a type, of a tenant, or of the whole queue, with its record.

    What is running or has ended stays. This cannot be undone, so it asks first; scripts say --yes.
    """
    if not yes:
        confirm(f"Remove every queued task of {_what(type_, tenant)}?")

    async def command() -> int:
        async with open_queue(url, queue) as opened:
            return await opened.clear(type=type_, tenant=tenant)

    cleared = run(command())
    if as_json:
        write_json({"cleared": cleared})
    else:
        write_line(f"{counted(cleared, 'queued task')} removed")


def confirm(question: str) -> None:
    """Ask on stderr and go on only after a yes.

    Raises:
        Stop: If the answer is no, or nobody is there to give one.
    """
    if not sys.stdin.isatty():
        raise Stop(f"{question} Nobody is here to ask: say --yes to do it")
    typer.echo(f"{question} [y/N]: ", err=True, nl=False)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Stop("nothing was done")


def _report(done: str, type_: str | None, tenant: str | None, provider: str | None, *, as_json: bool) -> None:
    if as_json:
        write_json({done: True, "type": type_, "tenant": tenant, "provider": provider})
    else:
        write_line(f"{done}: {_what(type_, tenant, provider)}")


def _what(type_: str | None, tenant: str | None, provider: str | None = None) -> str:
    scopes = (("type", type_), ("tenant", tenant), ("provider", provider))
    return " and ".join(f"{scope} {name}" for scope, name in scopes if name is not None) or "the whole queue"
