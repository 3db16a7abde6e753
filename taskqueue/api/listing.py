"""Going through a tenant's tasks page by page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from taskqueue.api.errors import Problem, invalid
from taskqueue.api.schemas import is_visible
from taskqueue.contract import TASK_TYPES
from taskqueue.queue import TaskQueue
from taskqueue.task import Task, TaskState

DEFAULT_LIMIT, HIGHEST_LIMIT = 20, 100
FARTHEST = 10_000
"""Tasks that a list goes through; for more, ask by status or type."""

STATUSES = ("QUEUED", "PROCESSING", "COMPLETED", "FAILED")

_STATES: Mapping[str | None, tuple[TaskState | None, ...]] = {
    None: (None,),
    "QUEUED": (TaskState.QUEUED,),
    "PROCESSING": (TaskState.PROCESSING,),
    "COMPLETED": (TaskState.COMPLETED,),
    # A cancelled task is shown as a failed one.
    "FAILED": (TaskState.FAILED, TaskState.CANCELLED),
}
_NUMBER = re.compile(r"[0-9]{1,4}")
CURSOR = "^1-([0-9]{1,4})$"
"""Form of the cursor of a page. Its first number is the version of the form."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a request asks for.

    Attributes:
        status: Only tasks that are shown with it.
        task_type: Only tasks of this type.
        limit: Tasks of the page, 1 to 100.
        start: Tasks before it.
    """

    status: str | None = None
    task_type: str | None = None
    limit: int = DEFAULT_LIMIT
    start: int = 0

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Listing:
        """Read the query's parameters.

        Raises:
            ApiError: 400 if one breaks its rule.
        """
        problems: list[Problem] = []
        status, task_type = query.get("status"), query.get("taskType")
        if status is not None and status not in STATUSES:
            problems.append(_option("status", STATUSES))
        if task_type is not None and task_type not in TASK_TYPES:
            problems.append(_option("taskType", TASK_TYPES))
        text = query.get("limit", str(DEFAULT_LIMIT))
        limit = int(text) if _NUMBER.fullmatch(text) else 0
        if not 1 <= limit <= HIGHEST_LIMIT:
            problems.append(Problem("limit", f"It must be a whole number from 1 to {HIGHEST_LIMIT}"))
        start = _start(query.get("cursor"))
        if start is None:
            problems.append(Problem("cursor", "It must be the nextCursor of an earlier page"))
        if problems:
            raise invalid(problems)
        return cls(status, task_type, limit, start or 0)

    async def page(self, queue: TaskQueue, tenant: str) -> tuple[list[Task], str | None]:
        """Return the tasks of the page, and the cursor of the next one; None if this is the last."""
        found: list[Task] = []
        seen = 0
        async with aclosing(self._tasks(queue, tenant)) as tasks:
            async for task in tasks:
                seen += 1
                if seen <= self.start:
                    continue
                if len(found) == self.limit:
                    after = self.start + self.limit
                    return found, _cursor(after) if after < FARTHEST else None
                found.append(task)
        return found, None

    async def _tasks(self, queue: TaskQueue, tenant: str) -> Any:
        for state in _STATES[self.status]:
            tasks: AsyncIterator[Task] = queue.tasks(state=state, type=self.task_type, tenant=tenant)
            async for task in tasks:
                if is_visible(task, tenant):
                    yield task


def _option(field: str, options: tuple[str, ...]) -> Problem:
    return Problem(field, "Invalid option: expected one of " + "|".join(f'"{name}"' for name in options))


def _cursor(start: int) -> str:
    return f"1-{start}"


def _start(cursor: str | None) -> int | None:
    if cursor is None:
        return 0
    found = re.fullmatch(CURSOR, cursor)
    return None if found is None else int(found[1])
