"""`taskqueue dead`: tasks that used up their attempts, kept for a person to look at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from taskqueue.cli import options
from taskqueue.cli.control import confirm
from taskqueue.cli.documents import task_document
from taskqueue.cli.exits import ExitCode, Stop
from taskqueue.cli.output import counted, say, utc, write_json, write_line, write_table
from taskqueue.cli.runtime import open_queue, run
from taskqueue.cli.tasks import show_task
from taskqueue.errors import TaskNotFinished, TaskNotFound
from taskqueue.task import Task, TaskState

if TYPE_CHECKING:
    from taskqueue.queue import TaskQueue

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of the tasks.", show_default=False)
]
Everything = Annotated[bool, typer.Option("--all", help="Every dead letter that --type and --tenant leave.")]

_STEP = 100


def list_(
    *,
    type_: options.TypeFilter = None,
    tenant: options.TenantFilter = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show at most so many.")] = 100,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """List dead letters: tasks that FAILED. With --json a line for each."""

    async def command() -> tuple[list[Task], bool]:
        found: list[Task] = []
        async with open_queue(url, queue) as opened:
            async for task in _dead(opened, type_, tenant):
                if len(found) == limit:
                    return found, True
                found.append(task)
        return found, False

    tasks, is_cut = run(command())
    if as_json:
        for task in tasks:
            write_json(task_document(task))
    elif tasks:
        rows = ((t.id, t.type, t.tenant, t.priority, t.attempt, utc(t.finished_at), _why(t)) for t in tasks)
        columns = ("id", "type", "tenant", "priority", "attempts", "failed at", "why")
        write_table(columns, rows, right=("priority", "attempts"))
    else:
        say("no dead letters")
    if is_cut:
        say(f"only the first {limit:,} are shown; --limit shows more")


def show(
    task_id: options.TaskId,
    *,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Show one dead letter with its payload and its error. Exit code 1 if it is none."""

    async def command() -> Task:
        async with open_queue(url, queue) as opened:
            return _dead_letter(task_id, await opened.get(task_id))

    show_task(run(command()), as_json=as_json)


def redrive(
    task_ids: Ids = None,
    *,
    everything: Everything = False,
    type_: options.TypeFilter = None,
    tenant: options.TenantFilter = None,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Submit dead letters again: same id and payload, a new place at the end, attempts at zero.

    Exit code 1 if one of the ids is no dead letter.
    """
    _one_of(task_ids, everything=everything)

    async def command() -> tuple[int, bool]:
        async with open_queue(url, queue) as opened:
            redriven, is_complete = 0, True
            async for task_id in _chosen(opened, task_ids, type_, tenant):
                try:
                    task = await opened.redrive(task_id)
                except (TaskNotFound, TaskNotFinished) as error:
                    say(str(error))
                    is_complete = False
                    continue
                redriven += 1
                if as_json:
                    write_json(task_document(task))
            return redriven, is_complete

    redriven, is_complete = run(command())
    if not as_json:
        write_line(f"{counted(redriven, 'task')} queued again")
    if not is_complete:
        raise typer.Exit(ExitCode.NEGATIVE)


def purge(
    task_ids: Ids = None,
    *,
    everything: Everything = False,
    type_: options.TypeFilter = None,
    tenant: options.TenantFilter = None,
    yes: options.Yes = False,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove dead letters with their records, before their retention is over.

    This cannot be undone, so it asks first; scripts say --yes.
    """
    _one_of(task_ids, everything=everything)
    if not yes:
        confirm("Remove these dead letters for good?")

    async def command() -> int:
        async with open_queue(url, queue) as opened:
            purged = 0
            chosen = [task_id async for task_id in _chosen(opened, task_ids, type_, tenant)]
            for start in range(0, len(chosen), _STEP):
                purged += await _purge(opened, chosen[start : start + _STEP])
            return purged

    purged = run(command())
    if as_json:
        write_json({"purged": purged})
    else:
        write_line(f"{counted(purged, 'dead letter')} removed")
    if task_ids and purged < len(set(task_ids)):
        raise Stop(f"{len(set(task_ids)) - purged:,} of the ids were no dead letters", ExitCode.NEGATIVE)


def _one_of(task_ids: list[str] | None, *, everything: bool) -> None:
    if bool(task_ids) == everything:
        raise Stop("say which dead letters are meant: either their ids, or --all")


async def _chosen(
    queue: TaskQueue, task_ids: list[str] | None, type_: str | None, tenant: str | None
) -> AsyncIterator[str]:
    if task_ids:
        for task_id in dict.fromkeys(task_ids):
            yield task_id
        return
    # Collected first: what is redriven or purged leaves the index that is being walked.
    for task_id in [task.id async for task in _dead(queue, type_, tenant)]:
        yield task_id


async def _purge(queue: TaskQueue, task_ids: list[str]) -> int:
    """Remove those of *task_ids* that are dead letters, and nothing else that has finished."""
    tasks = await asyncio.gather(*(queue.get(task_id) for task_id in task_ids))
    return await queue.discard([task.id for task in tasks if task and task.state is TaskState.FAILED])


def _dead(queue: TaskQueue, type_: str | None, tenant: str | None) -> AsyncIterator[Task]:
    return queue.tasks(state=TaskState.FAILED, type=type_, tenant=tenant)


def _dead_letter(task_id: str, task: Task | None) -> Task:
    if task is None:
        raise TaskNotFound(task_id)
    if task.state is not TaskState.FAILED:
        raise Stop(f"task {task_id} is {task.state}, so it is no dead letter", ExitCode.NEGATIVE)
    return task


def _why(task: Task) -> str:
    return "-" if task.error is None else f"{task.error.code}: {task.error.message}"
