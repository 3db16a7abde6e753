"""`taskqueue webhooks`: the secrets that tenants' webhooks are signed with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from taskqueue.cli import options
from taskqueue.cli.exits import ExitCode
from taskqueue.cli.output import say, utc, write_json, write_line
from taskqueue.cli.runtime import open_queue, run

if TYPE_CHECKING:
    from taskqueue.webhooks import NewSecret, Signing, WebhookSecrets


Tenant = Annotated[
    str, typer.Option("--tenant", metavar="TENANT", help="Whose webhooks they are.", show_default=False)
]


def renew(
    *,
    tenant: Tenant,
    overlap: Annotated[
        str,
        typer.Option(
            "--overlap",
            metavar="DURATION",
            help="For how long the old secret still signs, such as 24h: time to teach receivers the new one.",
        ),
    ] = "0s",
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a new secret and print it, this once; it signs now, or after the overlap.

    During an overlap X-Cloro-Signature is made with the old secret, webhook-signature with both. Renewed
    again, the secret that was to follow is replaced, and the overlap ends when the last call said.
    """
    duration = _duration(overlap)

    async def command() -> NewSecret:
        async with opened(url, queue) as secrets:
            return await secrets.renew(tenant, overlap=duration)

    made = run(command())
    old_until = utc(made.old_until)
    if as_json:
        write_json({"tenant": tenant, "secret": made.secret, "oldSecretSignsUntil": old_until})
        return
    write_line(made.secret)
    since = "from now on" if old_until is None else f"from {old_until} on, and with the old one until then"
    say(f"webhooks of tenant {tenant} are signed with it {since}: shown this once, keep it now")
    if duration and old_until is None:
        say("there was no old secret that the overlap could keep")


def show(
    *,
    tenant: Tenant,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Say how the tenant's webhooks are signed, without the secrets."""

    async def command() -> Signing | None:
        async with opened(url, queue) as secrets:
            return await secrets.of(tenant)

    signing = run(command())
    old_until = None if signing is None else utc(signing.old_until)
    is_standard = signing is not None and signing.is_standard
    if as_json:
        write_json(
            {
                "tenant": tenant,
                "signed": signing is not None,
                "oldSecretSignsUntil": old_until,
                "standard": is_standard,
            }
        )
        return
    if signing is None:
        write_line(f"webhooks of tenant {tenant} are not signed")
        return
    overlap = "" if old_until is None else f", with the old secret until {old_until}, then with the new one"
    write_line(f"webhooks of tenant {tenant} are signed{overlap}")
    write_line(f"headers of Standard Webhooks: {'sent too' if is_standard else 'not sent'}")


def set_(
    *,
    tenant: Tenant,
    standard: Annotated[
        bool,
        typer.Option(
            "--standard/--no-standard",
            help="Whether webhook-id, webhook-timestamp and webhook-signature are sent too.",
            show_default=False,
        ),
    ],
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Send the headers of Standard Webhooks beside the others, or no more; the secret stays."""

    async def command() -> bool:
        async with opened(url, queue) as secrets:
            return await secrets.set_standard(tenant, wanted=standard)

    is_set = run(command())
    if as_json:
        write_json({"tenant": tenant, "signed": is_set, "standard": is_set and standard})
    elif is_set:
        what = "carry" if standard else "do not carry"
        say(f"webhooks of tenant {tenant} {what} the headers of Standard Webhooks from now on")
    else:
        say(
            f"webhooks of tenant {tenant} are not signed; `taskqueue webhooks renew --tenant {tenant}` makes "
            "a secret first"
        )
    if not is_set:
        raise typer.Exit(ExitCode.NEGATIVE)


def remove(
    *,
    tenant: Tenant,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Sign the tenant's webhooks no more, at once: all secrets go, and an overlap ends."""

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


def _duration(text: str) -> timedelta:
    from taskqueue.errors import InvalidSetting
    from taskqueue.settings import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidSetting("--overlap", text, str(error)) from None
