"""`taskqueue webhooks`: the secrets that tenants' webhooks are signed with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import typer

from taskqueue.cli import options
from taskqueue.cli.exits import ExitCode
from taskqueue.cli.keys import Tenant
from taskqueue.cli.output import say, write_json, write_line
from taskqueue.cli.runtime import open_queue, run

if TYPE_CHECKING:
    from taskqueue.webhooks import WebhookSecrets


def renew(
    *,
    tenant: Tenant,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a new secret and print it, this once; an earlier one signs nothing any more."""

    async def command() -> str:
        async with opened(url, queue) as secrets:
            return await secrets.renew(tenant)

    secret = run(command())
    if as_json:
        write_json({"tenant": tenant, "secret": secret})
        return
    write_line(secret)
    say(f"webhooks of tenant {tenant} are signed with it from now on: shown this once, keep it now")


def remove(
    *,
    tenant: Tenant,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Sign the tenant's webhooks no more."""

    async def command() -> bool:
        async with opened(url, queue) as secrets:
            return await secrets.remove(tenant)

    had = run(command())
    if as_json:
        write_json({"tenant": tenant, "removed": had})
    else:
        what = "are not signed any more" if had else "were not signed"
        say(f"webhooks of tenant {tenant} {what}")
    if not had:
        raise typer.Exit(ExitCode.NEGATIVE)


@asynccontextmanager
async def opened(url: str | None, name: str | None) -> AsyncIterator[WebhookSecrets]:
    """Open the secrets of the queue that the options name."""
    from taskqueue.accounts import load_secret
    from taskqueue.settings import Settings
    from taskqueue.webhooks import SecretBox, WebhookSecrets

    async with open_queue(url, name) as queue:
        secret = load_secret(Settings.load(url=url, name=name).secret_text, folder=queue.connector.folder)
        yield WebhookSecrets(queue, SecretBox(secret))
