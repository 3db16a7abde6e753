"""The command line as a whole: which commands there are, and how every one of them ends."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from taskqueue.cli import (
    control,
    dead,
    doctor,
    enqueue,
    keys,
    limits,
    providers,
    serve,
    stats,
    tasks,
    webhooks,
    worker,
)
from taskqueue.cli.demo import command as demo
from taskqueue.cli.exits import EXIT_CODES, ExitCode, Stop, code_of
from taskqueue.cli.logs import silence_logging
from taskqueue.cli.output import say, write_line
from taskqueue.errors import TaskQueueError

_TRY, _RUN, _LOOK, _OPERATE = "Try it", "Submit and run", "Look", "Operate"

app = typer.Typer(
    name="taskqueue",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
)
_dead = typer.Typer(
    no_args_is_help=True, help="Tasks that used up their attempts: list, show, redrive, purge."
)
_limits = typer.Typer(no_args_is_help=True, help="How much may run at once, for the whole fleet: show, set.")

_providers = typer.Typer(
    invoke_without_command=True, help="The outside services that answer tasks: show, check."
)
_keys = typer.Typer(no_args_is_help=True, help="API keys of tenants: create, list, rotate, revoke.")
_webhooks = typer.Typer(no_args_is_help=True, help="How webhooks are signed: renew, show, set, remove.")

_state = {"debug": False}


def _show_version(wanted: bool) -> None:  # noqa: FBT001  called by Typer
    if wanted:
        from taskqueue.cli.doctor import version_of

        write_line(f"taskqueue {version_of('taskqueue-engine') or '(not installed)'}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end."),
    ] = False,
) -> None:
    """A priority task queue on Redis or Valkey: highest priority first, first in first out inside it."""
    _state["debug"] = debug


app.command("demo", rich_help_panel=_TRY)(demo.demo)
app.command("doctor", rich_help_panel=_TRY)(doctor.doctor)
app.command("serve", rich_help_panel=_TRY)(serve.serve)
app.command("enqueue", rich_help_panel=_RUN)(enqueue.enqueue)
app.command("worker", rich_help_panel=_RUN)(worker.worker)
app.command("get", rich_help_panel=_LOOK)(tasks.get)
app.command("wait", rich_help_panel=_LOOK)(tasks.wait)
app.command("stats", rich_help_panel=_LOOK)(stats.stats)
app.command("top", rich_help_panel=_LOOK)(stats.top)
app.command("cancel", rich_help_panel=_OPERATE)(tasks.cancel)
app.command("pause", rich_help_panel=_OPERATE)(control.pause)
app.command("resume", rich_help_panel=_OPERATE)(control.resume)
app.command("clear", rich_help_panel=_OPERATE)(control.clear)
app.add_typer(_providers, name="providers", rich_help_panel=_LOOK)
app.add_typer(_limits, name="limits", rich_help_panel=_OPERATE)
app.add_typer(_dead, name="dead", rich_help_panel=_OPERATE)
app.add_typer(_keys, name="keys", rich_help_panel=_OPERATE)
app.add_typer(_webhooks, name="webhooks", rich_help_panel=_OPERATE)
_providers.callback()(providers.providers)
_providers.command("check")(providers.check)
_webhooks.command("renew")(webhooks.renew)
_webhooks.command("show")(webhooks.show)
_webhooks.command("set")(webhooks.set_)
_webhooks.command("remove")(webhooks.remove)
_keys.command("create")(keys.create)
_keys.command("list")(keys.list_)
_keys.command("rotate")(keys.rotate)
_keys.command("revoke")(keys.revoke)
_limits.command("show")(limits.show)
_limits.command("set")(limits.set_)
_dead.command("list")(dead.list_)
_dead.command("show")(dead.show)
_dead.command("redrive")(dead.redrive)
_dead.command("purge")(dead.purge)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: `ExitCode` says with what.

    Args:
        arguments: What follows the program's name; None takes that of the process.
    """
    silence_logging()
    try:
        code = app(args=arguments, prog_name="taskqueue", standalone_mode=False)
    except Stop as stop:
        _fail(stop.message)
        code = stop.code
    except TaskQueueError as error:
        _fail(str(error))
        code = code_of(error)
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001  usage errors have no class of their own to name
        code = _other_error(error)
    sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _fail(message: str) -> None:
    if _state["debug"]:
        traceback.print_exc()
    say(f"taskqueue: {message}")


def _other_error(error: Exception) -> ExitCode:
    """Tell about a mistake in the arguments; anything else is a mistake of ours, or of a worker's module.

    Typer's class of such errors has moved between its versions, so it is known by what it can do.
    """
    tell = getattr(error, "format_message", None)
    if tell is None:
        _fail(f"unexpected {type(error).__name__}: {error} (taskqueue --debug shows where)")
        return ExitCode.UNEXPECTED
    # No message: help was asked for by saying nothing, and has been shown.
    if message := tell():
        context = getattr(error, "ctx", None)
        say(f"taskqueue: {message}")
        say(f"Try '{context.command_path if context is not None else 'taskqueue'} --help'.")
    return ExitCode.BAD_INPUT
