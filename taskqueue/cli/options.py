"""The options and arguments that several commands share, spelled once."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Server to use; else TASKQUEUE_URL, REDIS_URL, or an embedded one in your data folder.",
        show_default=False,
    ),
]
QueueName = Annotated[
    str | None,
    typer.Option(
        "--queue",
        metavar="NAME",
        help="Queue to use; else TASKQUEUE_NAME, or 'default'.",
        show_default=False,
    ),
]
ProvidersFile = Annotated[
    str | None,
    typer.Option(
        "--providers",
        metavar="FILE",
        help="TOML file with the outside services that answer tasks; else TASKQUEUE_PROVIDERS.",
        show_default=False,
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Do not start if anything is wrong with the providers.")
]
LogLevel = Annotated[
    str | None,
    typer.Option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")]
TaskId = Annotated[str, typer.Argument(metavar="ID", help="Id of the task.", show_default=False)]
TaskIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of the tasks.", show_default=False)]
TypeFilter = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="Only tasks of this type.", show_default=False)
]
TenantFilter = Annotated[
    str | None,
    typer.Option("--tenant", metavar="TENANT", help="Only tasks of this tenant.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
