"""The verbs of operators: cancel, clear, redrive, limits, pauses, statistics, lists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Literal

from taskqueue.errors import InvalidSetting, TaskNotFinished, TaskNotFound
from taskqueue.ids import new_id
from taskqueue.store.maintaining import WORKER_SILENCE_MS
from taskqueue.store.producing import ProducerVerbs
from taskqueue.store.replies import Limit, Stats
from taskqueue.store.working import CANCELLED
from taskqueue.task import Task, TaskState

Scope = Literal["type", "tenant", "queue"]


class Unset(Enum):
    """Leaves a limit as it is, where None would lift it."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET

_STEP = 500
_PAGE = 100


class OperatorVerbs(ProducerVerbs):
    """What people and their tools ask of the server."""

    async def cancel(self, task_id: str) -> Task | None:
        """End a QUEUED task, or ask the worker of a PROCESSING one to stop.

        Returns:
            The task after that; None if it is unknown.
        """
        await self._cancel(task_id, waiting=False)
        return (await self.fetch([task_id]))[0]

    async def cancel_queued(self, task_id: str) -> bool:
        """End a task if it is QUEUED; return whether it is cancelled. One that runs is left alone."""
        return await self._cancel(task_id, waiting=True) == b"cancelled"

    async def _cancel(self, task_id: str, *, waiting: bool) -> bytes:
        keys = self.keys
        reply = await self._run(
            "cancel",
            task=keys.task(task_id),
            run=keys.run(task_id),
            id=task_id,
            error=CANCELLED,
            waiting=int(waiting),
        )
        word: bytes = reply[0]
        return word

    async def clear(self, *, tenant: str | None = None, type: str | None = None) -> int:  # noqa: A002 - the field
        """Remove QUEUED tasks that were accepted before this call, and their records; return how many."""
        cutoff = int(await self._read("get", self.keys.seq) or 0)
        tenants = [tenant] if tenant is not None else await self._names(self.keys.tenants)
        types = [type] if type is not None else await self._names(self.keys.types)
        if type is None:
            # Deliveries of webhooks are no tasks of anybody's.
            tenants, types = _of_users(tenants), _of_users(types)
        cleared = 0
        for owner in tenants:
            for name in types:
                for group in (owner, f"{owner}!"):
                    cleared += await self._clear(self.keys.ready(name, group), cutoff, "", delayed=False)
            cleared += await self._clear(self.keys.delayed(owner), cutoff, type or "", delayed=True)
        return cleared

    async def _clear(self, source: str, cutoff: int, only_type: str, *, delayed: bool) -> int:
        cleared, cursor = 0, ""
        while True:
            _, count, following = await self._run(
                "clear",
                source=source,
                answer=self.keys.answer(new_id()),
                cutoff=cutoff,
                type=only_type,
                cursor=cursor,
                delayed=int(delayed),
                limit=_STEP,
            )
            cleared += int(count)
            cursor = following.decode()
            if not cursor:
                return cleared

    async def redrive(self, task_id: str) -> Task:
        """Submit a FAILED or CANCELLED task again: a new place, counts at zero, the same id.

        Raises:
            TaskNotFound: It is unknown or was purged.
            TaskNotFinished: It is in another state.
        """
        keys = self.keys
        reply = await self._run(
            "redrive",
            seq=keys.seq,
            task=keys.task(task_id),
            run=keys.run(task_id),
            answer=keys.answer(new_id()),
            id=task_id,
        )
        match reply[0]:
            case b"unknown":
                raise TaskNotFound(task_id)
            case b"not_failed":
                raise TaskNotFinished(task_id, reply[1].decode())
            case b"exhausted":
                raise self._exhausted()
        task = (await self.fetch([task_id]))[0]
        if task is None:
            raise TaskNotFound(task_id)
        return task

    async def discard(self, ids: Sequence[str]) -> int:
        """Remove the records of finished tasks now; return how many there were."""
        if not ids:
            return 0
        reply = await self._run("discard", dead=self.keys.dead, answer=self.keys.answer(new_id()), ids=ids)
        return int(reply[1])

    async def set_limit(
        self,
        *,
        type: str | None = None,  # noqa: A002 - the field
        tenant: str | None = None,
        concurrency: int | Unset | None = UNSET,
        weight: int | Unset = UNSET,
    ) -> None:
        """Change the limit of a type or a tenant for the whole fleet, from the next claim on."""
        scope, name, limit = self._scoped(type, tenant)
        lifted = "none" if concurrency is None else str(concurrency)
        text = "" if concurrency is UNSET else lifted
        await self._run(
            "set_limit",
            limit=limit,
            limited=self.keys.limited,
            scope=scope,
            name=name,
            concurrency=text,
            weight="" if weight is UNSET else str(weight),
        )

    async def pause(self, *, type: str | None = None, tenant: str | None = None) -> None:  # noqa: A002
        """Let claims pass over a type, a tenant or, with neither, the whole queue."""
        await self._set_paused("pause", type, tenant)

    async def resume(self, *, type: str | None = None, tenant: str | None = None) -> None:  # noqa: A002
        """End a pause."""
        await self._set_paused("resume", type, tenant)

    async def _set_paused(self, verb: str, type_: str | None, tenant: str | None) -> None:
        scope, name, limit = self._scoped(type_, tenant, allow_queue=True)
        await self._run(verb, limit=limit, limited=self.keys.limited, scope=scope, name=name)

    def _scoped(
        self, type_: str | None, tenant: str | None, *, allow_queue: bool = False
    ) -> tuple[Scope, str, str]:
        if type_ is not None and tenant is not None:
            raise InvalidSetting("tenant", tenant, "left out where a type is given")
        if type_ is not None:
            return "type", type_, self.keys.limit_type(type_)
        if tenant is not None:
            return "tenant", tenant, self.keys.limit_tenant(tenant)
        if allow_queue:
            return "queue", "", self.keys.meta
        raise InvalidSetting("type", None, "given, or else a tenant")

    async def limits(self) -> list[Limit]:
        """Return every type and tenant that has a limit, a weight or a pause."""
        limits = []
        for member in await self._names(self.keys.limited):
            scope, _, name = member.partition(":")
            key = self.keys.limit_type(name) if scope == "type" else self.keys.limit_tenant(name)
            most, used, paused, weight = await self._read("hmget", key, ["max", "used", "paused", "weight"])
            limits.append(
                Limit(
                    "type" if scope == "type" else "tenant",
                    name,
                    None if most is None else int(most),
                    int(used or 0),
                    paused == b"1",
                    int(weight or 1),
                )
            )
        return limits

    async def is_paused(self) -> bool:
        """Whether the whole queue is paused."""
        return bool(await self._read("hget", self.keys.meta, "paused") == b"1")

    async def stats(self, *, type: str | None = None, tenant: str | None = None) -> Stats:  # noqa: A002
        """Count the queue, a type, a tenant, or a type of a tenant. Costs O(types)."""
        _, age, limits, counts = await self._run(
            "stats", types=self.keys.types, type=type or "", tenant=tenant or ""
        )
        return _read_stats(age, limits, counts, type)

    async def workers(self) -> list[tuple[str, float]]:
        """Return the workers that live, with the seconds since their last beat."""
        beats = await self._read("zrange", self.keys.workers, 0, -1, withscores=True)
        now = await self._now_ms()
        ages = ((worker.decode(), (now - beat) / 1000) for worker, beat in beats)
        return [(worker, max(0.0, age)) for worker, age in ages if age * 1000 < WORKER_SILENCE_MS]

    async def _now_ms(self) -> float:
        given = self._caller.now()
        if given:
            return float(given)
        seconds, micros = await self._read("time")
        return int(seconds) * 1000 + int(micros) / 1000

    async def tasks(
        self,
        *,
        state: TaskState | None = None,
        type: str | None = None,  # noqa: A002 - the field
        tenant: str | None = None,
    ) -> AsyncIterator[Task]:
        """Go through the tasks that have records, page by page, in no promised order.

        It is no snapshot: a task that moves meanwhile may be missed or come twice.
        """
        seen: set[str] = set()
        async for page in self._pages(state, type, tenant):
            fresh = [task_id for task_id in page if task_id not in seen]
            seen.update(fresh)
            for task in await self.fetch(fresh):
                if (
                    task is not None
                    and (state is None or task.state == state)
                    and (task.type == type if type is not None else not task.type.startswith("_"))
                    and (tenant is None or task.tenant == tenant)
                ):
                    yield task

    async def _pages(
        self, state: TaskState | None, type_: str | None, tenant: str | None
    ) -> AsyncIterator[list[str]]:
        for index in await self._indexes(state, type_, tenant):
            start = 0
            while True:
                page = await self._read("zrange", index, start, start + _PAGE - 1, desc=True)
                if page:
                    yield [task_id.decode() for task_id in page]
                if len(page) < _PAGE:
                    break
                start += _PAGE

    async def _indexes(self, state: TaskState | None, type_: str | None, tenant: str | None) -> list[str]:
        """Return the sets in which tasks of that state stand."""
        keys = self.keys
        tenants = [tenant] if tenant is not None else sorted(await self._names(keys.tenants))
        types = [type_] if type_ is not None else sorted(await self._names(keys.types))
        indexes: list[str] = []
        if state in {None, TaskState.QUEUED}:
            groups = [group for owner in tenants for group in (f"{owner}!", owner)]
            indexes += [keys.ready(name, group) for name in types for group in groups]
            indexes += [keys.delayed(owner) for owner in tenants]
        if state in {None, TaskState.PROCESSING}:
            indexes.append(keys.leased)
        if state is None or state.is_finished:
            indexes += [keys.finished(owner) for owner in tenants]
        return indexes

    async def _names(self, key: str) -> list[str]:
        return [name.decode() for name in await self._read("smembers", key)]

    async def agree_on_partitions(self, wanted: int) -> int:
        """Return how many partitions there are of the queue that this is one of: *wanted* if it is new."""
        await self._read("hsetnx", self.keys.meta, "partitions", wanted)
        return int(await self._read("hget", self.keys.meta, "partitions") or 0)

    async def _read(self, command: str, *arguments: Any, **options: Any) -> Any:
        """Run a plain command, one that may be repeated, with the patience of a script."""

        async def call() -> Any:
            return await getattr(self._client, command)(*arguments, **options)

        return await self._caller.persist(call, command, None)


def _of_users(names: Iterable[str]) -> list[str]:
    """Leave out the names that scripts make."""
    return [name for name in names if not name.startswith("_")]


def _read_stats(age: bytes, limits: Sequence[bytes], counts: Sequence[bytes], only_type: str | None) -> Stats:
    found = []
    for at in range(0, len(limits), 4):
        scope, _, name = limits[at].decode().partition(":")
        most, used, paused = limits[at + 1 : at + 4]
        found.append(
            Limit(
                "type" if scope == "type" else "tenant",
                name,
                int(most) if most else None,
                int(used),
                paused == b"1",
            )
        )
    by_priority: dict[int, int] = {}
    delayed = processing = 0
    for name_bytes, value in zip(counts[::2], counts[1::2], strict=True):
        what, _, rest = name_bytes.decode().partition(":")
        type_, _, priority = rest.partition(":")
        if not rest or (only_type is not None and type_ != only_type):
            continue
        if what == "queued":
            by_priority[int(priority)] = by_priority.get(int(priority), 0) + int(value)
        elif what == "delayed":
            delayed += int(value)
        elif what == "processing":  # pragma: no branch - nothing else is counted
            processing += int(value)
    of_a_tenant = any(limit.scope == "tenant" for limit in found)
    if not of_a_tenant:
        processing = sum(limit.used for limit in found)
    return Stats(
        queued=sum(by_priority.values()),
        processing=processing,
        delayed=delayed,
        by_priority=dict(sorted(by_priority.items(), reverse=True)),
        oldest_age=timedelta(milliseconds=int(age)) if age else None,
        limits=tuple(found),
    )
