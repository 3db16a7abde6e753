"""The verb of lists: a tenant's tasks, page by page, each page for what it costs itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

from taskqueue.store.producing import ProducerVerbs
from taskqueue.task import Task, TaskState

LOOKED_AT: Final = 10_000
"""Tasks that are looked at for one page, about: a filter may pass over most of them."""

_AT_ONCE = 1_000


class Position(NamedTuple):
    """Where a page ended. It names a place by values, so that it stays one whatever comes and goes.

    Attributes:
        section: `delayed`, `ready`, `leased` or `finished`.
        place: A score; in `leased` the cursor of a scan. Empty at the start of a section.
        id: The task behind which the next page begins. Empty at the start of a section.
    """

    section: str
    place: str
    id: str


class TaskPage(NamedTuple):
    """Some tasks, without payloads, progress, results and errors.

    Attributes:
        tasks: Up to as many as were asked for; there may be fewer, even none, before the last page.
        position: Behind which the next page begins; None if this is the last one.
    """

    tasks: list[Task]
    position: Position | None


class ListVerbs(ProducerVerbs):
    """What is asked about all tasks of a tenant."""

    async def list_tasks(
        self,
        tenant: str,
        *,
        limit: int,
        states: Collection[TaskState] = (),
        type: str | None = None,  # noqa: A002 - the field
        after: Position | None = None,
    ) -> TaskPage:
        """Return a page of the tasks that a tenant handed in; neither reserved ones nor deliveries.

        The order is that of a task's life: delayed tasks by the instant at which they are due; ready
        ones in the order of the queue; running ones in no order; finished ones by the instant at which
        they are forgotten, the last one first. A walk over all pages meets every task that stays where
        it is exactly once (a running one at least once), and every task that only moves on, from one
        section to a later one, at least once. One that goes back, as to another attempt, may be missed;
        so may one that runs if the server fails over meanwhile, or if, with a limit below 20, the leases
        of the queue become a tenth of what they were.

        A page costs O(types * (log n + limit)), wherever it begins, and looks at about 10,000 tasks if
        few of them are wanted. Which running tasks are the tenant's, only their records tell: while it
        has some, those of all tenants are looked at.

        Args:
            tenant: Whose tasks.
            limit: Tasks of the page at the most, from 1.
            states: Only tasks in one of these; all if there is none.
            type: Only tasks of this type.
            after: Where the page before ended, with the same states and type; None for the first.
        """
        tasks: list[Task] = []
        for _ in range(LOOKED_AT // _AT_ONCE):
            section, place, task_id = after or ("", "", "")
            _, found, *position = await self._run(
                "list",
                types=self.keys.types,
                leased=self.keys.leased,
                tenant=tenant,
                type=type or "",
                states=" ".join(states),
                limit=limit - len(tasks),
                most=_AT_ONCE,
                section=section,
                place=place,
                id=task_id,
            )
            tasks += self._listed(found)
            after = Position(*(part.decode() for part in position))
            if not after.section:
                return TaskPage(tasks, None)
            # Among leases a page that has some tasks is not filled up: what has little room left would have
            # to divide a step of the scan.
            if len(tasks) >= limit or (tasks and after.section == "leased"):
                break
        return TaskPage(tasks, after)

    def _listed(self, found: list[Any]) -> list[Task]:
        ids = [task_id.decode() for task_id, _ in found]
        return [task for task in self._tasks(ids, [reply for _, reply in found]) if task is not None]
