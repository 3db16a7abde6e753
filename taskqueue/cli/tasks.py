"""`taskqueue get`, `wait` and `cancel`: what single tasks are doing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from taskqueue.cli import options
from taskqueue.cli.documents import task_document
from taskqueue.cli.exits import ExitCode, Stop
from taskqueue.cli.output import json_text, say, span, utc, write_json, write_line, write_table
from taskqueue.cli.runtime import open_queue, run
from taskqueue.errors import TaskNotFound, WaitTimeout
from taskqueue.task import Task, TaskState

if TYPE_CHECKING:
    from taskqueue.queue import TaskQueue

_WORST_FIRST = (ExitCode.NEGATIVE, ExitCode.TIMED_OUT, ExitCode.OK)
_LONGEST_VALUE = 2_000


def get(
    task_id: options.TaskId,
    *,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Show one task: state, times, payload, result or error. Exit code 1 if it FAILED or is unknown."""
    task = run(_get(url, queue, task_id))
    show_task(task, as_json=as_json)
    raise typer.Exit(_code(task))


async def _get(url: str | None, name: str | None, task_id: str) -> Task:
    async with open_queue(url, name) as queue:
        task = await queue.get(task_id)
    if task is None:
        raise TaskNotFound(task_id)
    return task


def wait(
    task_ids: options.TaskIds,
    *,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", metavar="SECONDS", min=0, help="Give up then, with exit code 4; else wait for ever."
        ),
    ] = None,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Wait until tasks have finished; each is shown as it does.

    Exit code 0 if all were COMPLETED, 1 if one was not or is unknown, 4 if the time was up.
    """
    raise typer.Exit(run(_wait_for_all(url, queue, dict.fromkeys(task_ids), timeout, as_json=as_json)))


async def _wait_for_all(
    url: str | None, name: str | None, task_ids: dict[str, None], timeout: float | None, *, as_json: bool
) -> ExitCode:
    async with open_queue(url, name) as queue:
        codes = await asyncio.gather(
            *(_wait_for(queue, task_id, timeout, as_json=as_json) for task_id in task_ids)
        )
    return next(code for code in _WORST_FIRST if code in codes)


async def _wait_for(queue: TaskQueue, task_id: str, timeout: float | None, *, as_json: bool) -> ExitCode:
    try:
        task = await queue.wait(task_id, timeout=timeout)
    except WaitTimeout as error:
        say(str(error))
        return ExitCode.TIMED_OUT
    except TaskNotFound as error:
        say(str(error))
        return ExitCode.NEGATIVE
    if as_json:
        write_json(task_document(task))
    else:
        why = f"  {task.error.code}: {task.error.message}" if task.error else ""
        write_line(f"{task.id}  {task.type}  {task.state}  {span(task.latency) or '-'}{why}")
    return ExitCode.OK if task.state is TaskState.COMPLETED else ExitCode.NEGATIVE


def cancel(
    task_id: options.TaskId,
    *,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Cancel a task. A queued one ends at once; a running one is asked to stop and ends when it does.

    Exit code 1 if the task is unknown or had ended in another way before.
    """
    task = run(_cancel(url, queue, task_id))
    if as_json:
        write_json(task_document(task))
    elif task.state is TaskState.CANCELLED:
        write_line(f"task {task.id} is cancelled")
    elif task.state is TaskState.PROCESSING:
        write_line(
            f"task {task.id} is running and was asked to stop: taskqueue wait {task.id} tells when it has"
        )
    else:
        raise Stop(f"task {task.id} had already ended: {task.state}", ExitCode.NEGATIVE)
    if task.state in (TaskState.COMPLETED, TaskState.FAILED):
        raise typer.Exit(ExitCode.NEGATIVE)


async def _cancel(url: str | None, name: str | None, task_id: str) -> Task:
    async with open_queue(url, name) as queue:
        return await queue.cancel(task_id)


def show_task(task: Task, *, as_json: bool) -> None:
    """Write everything known of *task* to stdout, as a table or as JSON."""
    if as_json:
        write_json(task_document(task))
        return
    error = task.error
    rows = [
        ("id", task.id),
        ("type", task.type),
        ("state", task.state),
        ("priority", task.priority),
        ("tenant", task.tenant),
        ("idempotency key", task.idempotency_key),
        ("attempt", task.attempt if task.max_attempts is None else f"{task.attempt} of {task.max_attempts}"),
        ("created", utc(task.created_at)),
        ("not before", utc(task.not_before)),
        ("started", utc(task.started_at)),
        ("finished", utc(task.finished_at)),
        ("latency", span(task.latency)),
        ("worker", task.worker),
        ("payload", _shown(task.payload)),
        ("progress", _shown(task.progress)),
        ("result", _shown(task.result)),
        ("error", None if error is None else f"{error.code}: {error.message}"),
    ]
    write_table(("field", "value"), [row for row in rows if row[1] is not None])


def _shown(value: object) -> str | None:
    if value is None:
        return None
    text = json_text(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… (--json shows all of it)"


def _code(task: Task) -> ExitCode:
    return ExitCode.NEGATIVE if task.state is TaskState.FAILED else ExitCode.OK
