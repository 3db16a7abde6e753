"""Which partition a task belongs to: by its tenant, by its id, or in turn."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from itertools import count

from taskqueue.errors import InvalidSetting, InvalidTask
from taskqueue.names import check_queue_name, check_tenant
from taskqueue.rules import check_count, check_id
from taskqueue.settings import DEFAULT_TENANT
from taskqueue.task import TaskSpec

MOST_PARTITIONS = 1000

_MARKED = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}_(?P<number>0|[1-9][0-9]{0,3})")
_REMEMBERED = 8192
_KEPT = ("idempotency_key", "cost", "hold", "reserve")


def mark_of(number: int) -> str:
    """Return what stands behind the ids that a partition makes."""
    return f"_{number}"


def partition_names(name: str, partitions: int) -> list[str]:
    """Return the names of a queue's partitions: `name.0`, `name.1` and so on.

    Raises:
        InvalidSetting: If there are not 1 to 1,000, or a name would be too long for a queue.
    """
    check_count("partitions", partitions, 1, MOST_PARTITIONS)
    check_queue_name(name)
    return [check_queue_name(f"{name}.{number}") for number in range(partitions)]


@lru_cache(maxsize=_REMEMBERED)
def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


class Routing:
    """Finds the partition of tasks; the same in every process, for good.

    Args:
        partitions: How many there are.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._turns = count()

    def of_tenant(self, tenant: str) -> int:
        """Return where a tenant is: all of its tasks that are not spread, its credits, keys and limits."""
        return _hash(tenant) % self._partitions

    def of_id(self, task_id: str) -> int | None:
        """Return the partition that is marked in an id made here; None for an id made by a caller."""
        marked = _MARKED.fullmatch(task_id)
        number = self._partitions if marked is None else int(marked["number"])
        return number if number < self._partitions else None

    def places_of(self, task_id: str, tenant: str | None) -> list[int]:
        """Return the partitions in which a task may be."""
        number = self.of_id(task_id)
        if number is not None:
            return [number]
        if tenant is None:
            return list(range(self._partitions))
        spread = [_hash(task_id) % self._partitions] if tenant == DEFAULT_TENANT else []
        return list(dict.fromkeys([self.of_tenant(tenant), *spread]))

    def place(self, spec: TaskSpec, *, spread: bool) -> int:
        """Return the partition of a new task.

        Raises:
            InvalidTask: If it has a webhook, is to be spread and has what one partition must keep, or
                has an id that is marked with another partition.
        """
        if spec.webhook is not None:
            raise InvalidTask("webhook", spec.webhook, "left out: a partitioned queue delivers none")
        number = self._spread(spec) if spread else self.of_tenant(check_tenant(spec.tenant))
        if spec.id is not None and self.of_id(check_id(spec.id)) not in {None, number}:
            rule = "of a form of your own: this one is marked as one of another partition"
            raise InvalidTask("id", spec.id, rule)
        return number

    def _spread(self, spec: TaskSpec) -> int:
        """Return the next partition in turn; for an id of the caller's, always the same."""
        if spec.tenant != DEFAULT_TENANT:
            raise InvalidTask("tenant", spec.tenant, "left out where tasks are spread: it has one partition")
        if spec.idempotency_key is not None or spec.cost or spec.hold is not None or spec.reserve:
            field = next(name for name in _KEPT if getattr(spec, name) not in {None, 0})
            rule = "left out where tasks are spread: it needs one partition"
            raise InvalidTask(field, getattr(spec, field), rule)
        if spec.id is not None:
            marked = self.of_id(check_id(spec.id))
            return _hash(spec.id) % self._partitions if marked is None else marked
        return next(self._turns) % self._partitions


def divided(setting: str, whole: int, partitions: int) -> list[int]:
    """Return the shares of a limit: equal, or larger by one for the first ones.

    Raises:
        InvalidSetting: If a share would be 0, so that tasks of that partition would never run.
    """
    if 0 < whole < partitions:
        rule = f"0, or at least {partitions}: each partition gets its share"
        raise InvalidSetting(setting, whole, rule)
    return [whole // partitions + (number < whole % partitions) for number in range(partitions)]
