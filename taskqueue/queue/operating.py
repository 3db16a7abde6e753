"""What an operator does with a queue: cancel, clear, redrive, pause, limit, look."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from taskqueue.errors import InvalidSetting, TaskNotFound
from taskqueue.names import WEBHOOK_TYPE, check_provider, check_tenant, check_type
from taskqueue.queue.limiting import HIGHEST_CONCURRENCY, ProviderLimits
from taskqueue.rules import check_count, is_id
from taskqueue.store import UNSET, Limit, ProviderState, Stats, Store, Unset
from taskqueue.task import Task, TaskState

_HIGHEST_WEIGHT = 1000
_DISCARDED_AT_ONCE = 500


class OperatorCalls(ABC):
    """The half of `TaskQueue` that operators and their tools use."""

    @property
    @abstractmethod
    def store(self) -> Store:
        """The door to the server."""

    async def cancel(self, task_id: str) -> Task:
        """End a QUEUED task at once; ask the worker of a PROCESSING one to stop it.

        Returns:
            The task after that: CANCELLED; PROCESSING, until its handler has stopped; or as it had
            ended before. A completion that comes first wins.

        Raises:
            TaskNotFound: If it is unknown, cleared or purged.
        """
        task = await self.store.cancel(task_id) if is_id(task_id) else None
        if task is None:
            raise TaskNotFound(task_id)
        return task

    async def clear(self, *, tenant: str | None = None, type: str | None = None) -> int:  # noqa: A002
        """Remove QUEUED tasks with their records, delayed ones included, and return how many.

        Tasks that are accepted after the call began stay, and so does what is PROCESSING.

        Args:
            tenant: Only tasks of this tenant.
            type: Only tasks of this type.
        """
        return await self.store.clear(tenant=_tenant(tenant), type=_type(type))

    async def redrive(self, task_id: str) -> Task:
        """Submit a FAILED or CANCELLED task again, with a new place and its counts at zero.

        Raises:
            TaskNotFound: If it is unknown, cleared or purged.
            TaskNotFinished: If it is QUEUED, PROCESSING or COMPLETED.
        """
        if not is_id(task_id):
            raise TaskNotFound(task_id)
        return await self.store.redrive(task_id)

    async def discard(self, task_ids: Sequence[str]) -> int:
        """Remove the records of finished tasks now, dead letters too, and return how many there were.

        Unknown tasks, and those that have not finished, are left alone. Their idempotency keys are
        free again.
        """
        known = [task_id for task_id in task_ids if is_id(task_id)]
        steps = range(0, len(known), _DISCARDED_AT_ONCE)
        return sum([await self.store.discard(known[at : at + _DISCARDED_AT_ONCE]) for at in steps])

    def tasks(
        self,
        *,
        state: TaskState | str | None = None,
        type: str | None = None,  # noqa: A002
        tenant: str | None = None,
    ) -> AsyncIterator[Task]:
        """Go through the tasks that have records, page by page, in no promised order.

        `state=TaskState.FAILED` goes through the dead letters. It is no snapshot: a task that moves
        meanwhile may be missed, or come in a state that it has left since.

        Args:
            state: Only tasks in this state.
            type: Only tasks of this type.
            tenant: Only tasks of this tenant.
        """
        wanted = None
        if state is not None:
            if state not in set(TaskState):
                raise InvalidSetting("state", state, f"one of {', '.join(TaskState)}")
            wanted = TaskState(state)
        return self.store.tasks(state=wanted, type=_type(type), tenant=_tenant(tenant))

    async def stats(self, *, type: str | None = None, tenant: str | None = None) -> Stats:  # noqa: A002
        """Count the queue, a type, a tenant, or a type of a tenant.

        The more types there are, the more it costs.

        Args:
            type: Only this type.
            tenant: Only this tenant.
        """
        return await self.store.stats(type=_type(type), tenant=_tenant(tenant))

    async def pause(
        self,
        *,
        type: str | None = None,  # noqa: A002
        tenant: str | None = None,
        provider: str | None = None,
    ) -> None:
        """Start nothing more of a type, of a tenant, at a provider or, with none, of the whole queue.

        What runs goes on, and tasks are accepted as before. It holds for all workers, also for
        those that start later, until `resume()`. Tasks of a paused provider go to the next of their
        chain.

        Raises:
            InvalidSetting: If more than one is given.
        """
        if provider is None:
            await self.store.pause(type=_type(type), tenant=_tenant(tenant))
        else:
            await self.store.set_provider(_alone(provider, type, tenant), {"paused": "1"})

    async def resume(
        self,
        *,
        type: str | None = None,  # noqa: A002
        tenant: str | None = None,
        provider: str | None = None,
    ) -> None:
        """End a pause of a type, of a tenant, of a provider or, with none, of the whole queue.

        Raises:
            InvalidSetting: If more than one is given.
        """
        if provider is None:
            await self.store.resume(type=_type(type), tenant=_tenant(tenant))
        else:
            await self.store.set_provider(_alone(provider, type, tenant), {"paused": "none"})

    async def is_paused(self) -> bool:
        """Whether the whole queue is paused; `limits()` and `providers()` say what else is."""
        return await self.store.is_paused()

    async def set_limit(
        self,
        *,
        type: str | None = None,  # noqa: A002
        tenant: str | None = None,
        provider: str | None = None,
        concurrency: int | Unset | None = UNSET,
        weight: int | Unset = UNSET,
        lowest: int | Unset | None = UNSET,
        rate: int | Unset | None = UNSET,
        period: timedelta | Unset = UNSET,
        tokens: int | Unset | None = UNSET,
        breaker: int | Unset | None = UNSET,
        fresh: bool = False,
    ) -> None:
        """Change what a type, a tenant or a provider may use, for all workers, from the next claim on.

        What is left out stays as it is.

        Args:
            type: The type concerned; or else
            tenant: the tenant concerned; or else
            provider: the provider concerned. All that follow but *concurrency* and *weight* are for
                providers only.
            concurrency: How many tasks of it may run at once over all workers; None for no limit.
            weight: Share of the tenant under the fair policies, 1 to 1,000; without one it is 1.
            lowest: Lets the concurrency adapt: it is halved, down to this, when the provider fails or
                takes no more, and grows by one in as many answers as it allows; None: it does not.
            rate: How many tasks may start there in each *period*, at most a tenth of them at once;
                None for no limit.
            period: Of the rate, 1 second to 1 day; a minute if only the rate is given.
            tokens: How many may be used there in a minute, as handlers report them; None for no limit.
            breaker: After so many failures in a row it gets nothing for a while, and then one task at
                a time until one is answered; 0: never; None: the default, 5.
            fresh: Forget what was learned about the provider: breaker, cooling, adapted concurrency,
                spare tokens; and the provider, if it has no limits and no tasks.

        Raises:
            InvalidSetting: If not exactly one of *type*, *tenant* and *provider* is given, or a value is
                out of range.
        """
        limits = ProviderLimits(concurrency, lowest, rate, period, tokens, breaker)
        if provider is not None:
            if weight is not UNSET:
                raise InvalidSetting("weight", weight, "left out for a provider: only tenants have one")
            name, settings = _alone(provider, type, tenant), limits.settings()
            if not settings and not fresh:
                raise InvalidSetting("concurrency", None, "given, or else another limit or fresh=True")
            await self.store.set_provider(name, settings, fresh=fresh)
            return
        limits.refuse("tenant" if type is None else "type")
        if fresh:
            raise InvalidSetting("fresh", fresh, "left out: only about providers something is learned")
        if concurrency is UNSET and weight is UNSET:
            raise InvalidSetting("concurrency", None, "given, or else a weight")
        if concurrency is not None and concurrency is not UNSET:
            check_count("concurrency", concurrency, 0, HIGHEST_CONCURRENCY)
        if weight is not UNSET:
            check_count("weight", weight, 1, _HIGHEST_WEIGHT)
            if tenant is None:
                raise InvalidSetting("weight", weight, "left out for a type: only tenants have one")
        await self.store.set_limit(
            type=_type(type), tenant=_tenant(tenant), concurrency=concurrency, weight=weight
        )

    async def limits(self) -> list[Limit]:
        """Return every type and tenant that has a limit, a weight or a pause."""
        return await self.store.limits()

    async def providers(self) -> list[ProviderState]:
        """Return every provider that has limits or was used, by name, and what it is at."""
        return await self.store.providers()

    async def workers(self) -> list[tuple[str, float]]:
        """Return the workers that live, each with the seconds since its last beat."""
        return await self.store.workers()


def _type(value: str | None) -> str | None:
    if value == WEBHOOK_TYPE:
        return value
    return None if value is None else check_type(value)


def _tenant(value: str | None) -> str | None:
    return None if value is None else check_tenant(value)


def _alone(provider: object, type_: str | None, tenant: str | None) -> str:
    """Return the name of a provider where neither a type nor a tenant is given."""
    if type_ is not None or tenant is not None:
        raise InvalidSetting("provider", provider, "left out where a type or a tenant is given")
    return check_provider(provider)
