"""Going through a tenant's tasks page by page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from taskqueue.api.cursors import LONGEST, open_cursor, seal
from taskqueue.api.errors import Problem, invalid
from taskqueue.contract import TASK_TYPES
from taskqueue.queue import TaskQueue
from taskqueue.store import Position
from taskqueue.task import Task, TaskState

DEFAULT_LIMIT, HIGHEST_LIMIT = 20, 100

CURSOR = f"^[A-Za-z0-9_-]{{1,{LONGEST}}}$"
"""The form of a cursor, for documents: what is in it, only this service can read."""

STATUSES = ("QUEUED", "PROCESSING", "COMPLETED", "FAILED")

_STATES: Mapping[str, tuple[TaskState, ...]] = {
    "": (),
    "QUEUED": (TaskState.QUEUED,),
    "PROCESSING": (TaskState.PROCESSING,),
    "COMPLETED": (TaskState.COMPLETED,),
    # A cancelled task is shown as a failed one.
    "FAILED": (TaskState.FAILED, TaskState.CANCELLED),
}
_NUMBER = re.compile(r"[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Listing:
    """What a request asks for.

    Attributes:
        queue: Where the tasks are.
        tenant: Whose they are.
        status: Only tasks that are shown with it; empty for all.
        task_type: Only tasks of this type; empty for all.
        limit: Tasks of the page, 1 to 100.
        after: Where the page before ended; None for the first page.
    """

    queue: TaskQueue
    tenant: str
    status: str = ""
    task_type: str = ""
    limit: int = DEFAULT_LIMIT
    after: Position | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str], queue: TaskQueue, tenant: str) -> Listing:
        """Read the query's parameters.

        Raises:
            ApiError: 400 if one breaks its rule.
        """
        problems: list[Problem] = []
        status, task_type = query.get("status", ""), query.get("taskType", "")
        if "status" in query and status not in STATUSES:
            problems.append(_option("status", STATUSES))
        if "taskType" in query and task_type not in TASK_TYPES:
            problems.append(_option("taskType", TASK_TYPES))
        text = query.get("limit", str(DEFAULT_LIMIT))
        limit = int(text) if _NUMBER.fullmatch(text) else 0
        if not 1 <= limit <= HIGHEST_LIMIT:
            problems.append(Problem("limit", f"It must be a whole number from 1 to {HIGHEST_LIMIT}"))
        after = None
        if "cursor" in query:
            after = open_cursor(query["cursor"], _dataset(queue), (tenant, status, task_type))
            if after is None:
                told = "It must be the nextCursor of an earlier page of the same list"
                problems.append(Problem("cursor", told))
        if problems:
            raise invalid(problems)
        return cls(queue, tenant, status, task_type, limit, after)

    async def page(self) -> tuple[list[Task], str | None]:
        """Return the tasks of the page, and the cursor of the next one; None if this is the last."""
        tasks, position = await self.queue.store.list_tasks(
            self.tenant,
            limit=self.limit,
            states=_STATES[self.status],
            type=self.task_type or None,
            after=self.after,
        )
        if position is None:
            return tasks, None
        return tasks, seal(position, _dataset(self.queue), (self.tenant, self.status, self.task_type))


def _dataset(queue: TaskQueue) -> str:
    return queue.store.settings.dataset


def _option(field: str, options: tuple[str, ...]) -> Problem:
    return Problem(field, "Invalid option: expected one of " + "|".join(f'"{name}"' for name in options))
