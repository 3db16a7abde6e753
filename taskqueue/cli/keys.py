"""`taskqueue keys`: the API keys of tenants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskqueue.cli import options
from taskqueue.cli.exits import ExitCode
from taskqueue.cli.output import console, say, utc, write_json, write_line
from taskqueue.cli.runtime import run

if TYPE_CHECKING:
    from taskqueue.accounts import Accounts, KeyInfo, NewKey
    from taskqueue.queue import TaskQueue

Tenant = Annotated[
    str, typer.Option("--tenant", metavar="TENANT", help="Whose key it is.", show_default=False)
]
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="Id of the key.", show_default=False)]


def create(
    *,
    tenant: Tenant,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="What people call the key.")] = "",
    rate: Annotated[
        int,
        typer.Option("--rate", metavar="N", min=1, max=1_000_000, help="Requests a second to each endpoint."),
    ] = 1000,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            metavar="N",
            min=0,
            max=10**9,
            help="Tasks that the tenant may run at once.",
            show_default=False,
        ),
    ] = None,
    credits: Annotated[  # noqa: A002  the word of the option
        int | None,
        typer.Option(
            "--credits",
            metavar="N",
            min=0,
            max=10**15,
            help="Credits to grant to the tenant, which is metered from then on.",
            show_default=False,
        ),
    ] = None,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Make an API key and print it, this once: only a digest of it is kept."""

    async def command() -> NewKey:
        async with opened(url, queue) as (tasks, accounts):
            made = await accounts.create_key(tenant, name=name, rate=rate)
            if concurrency is not None:
                await tasks.set_limit(tenant=tenant, concurrency=concurrency)
            if credits is not None:
                await tasks.grant(tenant, credits)
            return made

    _show(run(command()), as_json=as_json)


def list_(
    *,
    tenant: options.TenantFilter = None,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """List the API keys, without the keys themselves."""

    async def command() -> list[KeyInfo]:
        async with opened(url, queue) as (_, accounts):
            return await accounts.keys(tenant)

    found = run(command())
    if as_json:
        write_json([document(info) for info in found])
        return
    if not found:
        say("there are no keys; `taskqueue keys create --tenant NAME` makes one")
        return
    from rich.table import Table

    table = Table("id", "tenant", "name", "rate", "created", "last used", "expires")
    for info in found:
        told = document(info)
        instants = (told["createdAt"], told["lastUsedAt"] or "never", told["expiresAt"] or "")
        table.add_row(info.id, info.tenant, info.name, f"{info.rate:,}", *instants)
    console().print(table)


def revoke(
    key_id: KeyId,
    *,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """End an API key; services notice within five seconds."""

    async def command() -> bool:
        async with opened(url, queue) as (_, accounts):
            return await accounts.revoke(key_id)

    is_revoked = run(command())
    if as_json:
        write_json({"id": key_id, "revoked": is_revoked})
    else:
        say(f"key {key_id} is revoked" if is_revoked else f"there is no key {key_id}")
    if not is_revoked:
        raise typer.Exit(ExitCode.NEGATIVE)


def rotate(
    key_id: KeyId,
    *,
    overlap: Annotated[
        int, typer.Option("--overlap", metavar="SECONDS", min=0, help="For how long the old key still works.")
    ] = 0,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a new key in the place of another, and print it, this once."""

    async def command() -> NewKey:
        async with opened(url, queue) as (_, accounts):
            return await accounts.rotate(key_id, overlap=timedelta(seconds=overlap))

    _show(run(command()), as_json=as_json)


@asynccontextmanager
async def opened(url: str | None, name: str | None) -> AsyncIterator[tuple[TaskQueue, Accounts]]:
    """Open the queue that the options name, and its accounts."""
    from taskqueue.accounts import Accounts, load_secret
    from taskqueue.queue import TaskQueue
    from taskqueue.settings import Settings

    settings = Settings.load(url=url, name=name)
    async with TaskQueue.connect(settings.url, name=settings.name) as queue:
        secret = load_secret(settings.secret_text, folder=queue.connector.folder)
        async with Accounts(queue, secret) as accounts:
            yield queue, accounts


def document(info: KeyInfo) -> dict[str, Any]:
    """Return what may be told about a key."""
    return {
        "id": info.id,
        "tenant": info.tenant,
        "name": info.name,
        "rate": info.rate,
        "createdAt": utc(info.created_at),
        "lastUsedAt": None if info.last_used_at is None else utc(info.last_used_at),
        "expiresAt": None if info.expires_at is None else utc(info.expires_at),
    }


def _show(made: NewKey, *, as_json: bool) -> None:
    if as_json:
        write_json({"key": made.key, **document(made.info)})
        return
    write_line(made.key)
    say(f"key {made.info.id} of tenant {made.info.tenant}: shown this once, keep it now")
