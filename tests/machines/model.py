"""A plain model of the engine: dictionaries and sorting, no Redis, no cleverness.

It says what every verb must answer and where every task must be. The state machine beside it drives
the real scripts and this model with the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from taskqueue.names import WEBHOOK_TYPE
from taskqueue.ranking import Order, Policy, virtual_cost
from tests.machines.accounts import POOR_AT_ONCE, Accounts, Charge
from tests.machines.providers import Providers

LEASE = 15_000
GAP = 7_500
CRASHES = 3
DELIVERIES_A_HOST = 4

Lane = tuple[str, str]


@dataclass
class ModelTask:
    """What the model knows of one task; of a delivery too, which is one.

    `most` is the most that may be charged, `hold` what its lease holds; `hook` names the lane of its
    deliveries, `told` the task whose end a delivery tells. `provider` is where it runs or ended.
    """

    id: str
    type: str
    tenant: str
    priority: int
    reserved: bool
    key: str | None
    fingerprint: str
    sequence: int
    created: int
    cost: int = 0
    most: int = 0
    hook: str = ""
    told: str = ""
    state: str = "QUEUED"
    due: int | None = None
    attempt: int = 0
    deliveries: int = 0
    crashes: int = 0
    token: str = ""
    outcome: str | None = None
    deadline: int = 0
    cancel: bool = False
    hold: int | None = None
    charged: int = 0
    error: str | None = None
    provider: str | None = None
    is_probe: bool = False
    tried: tuple[str, ...] = ()

    @property
    def lane(self) -> Lane:
        """Type and group."""
        return self.type, self.tenant + ("!" if self.reserved else "")

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in {"COMPLETED", "FAILED", "CANCELLED"}

    @property
    def is_delivery(self) -> bool:
        """Whether it tells the end of another task, and counts in no tenant."""
        return self.type == WEBHOOK_TYPE


@dataclass
class Model:
    """The whole queue."""

    order: Order
    policy: Policy
    now: int
    tasks: dict[str, ModelTask] = field(default_factory=dict)
    accounts: Accounts = field(default_factory=Accounts)
    providers: Providers = field(default_factory=Providers)
    sequence: int = 0
    most_of_type: dict[str, int] = field(default_factory=dict)
    most_of_tenant: dict[str, int] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    virtual: dict[str, int] = field(default_factory=dict)
    clock: int = 0
    indexed: set[Lane] = field(default_factory=set)
    reaped_at: int | None = None
    hold_until: int = 0

    # What may run ------------------------------------------------------------------------------

    def used_by_type(self, name: str) -> int:
        """Slots of the type that are taken."""
        return sum(task.type == name and task.state == "PROCESSING" for task in self.tasks.values())

    def used_by_tenant(self, name: str) -> int:
        """Slots of the tenant that are taken; a reserved task holds its own until it ends."""
        return sum(
            task.tenant == name and (task.state == "PROCESSING" or (task.reserved and not task.is_over))
            for task in self.tasks.values()
        )

    def type_room(self, name: str) -> float:
        """Free slots of the type."""
        if f"type:{name}" in self.paused:
            return 0
        return max(0, self.most_of_type.get(name, 10**9) - self.used_by_type(name))

    def tenant_room(self, name: str) -> float:
        """Free slots of the tenant."""
        most = DELIVERIES_A_HOST if name.startswith("_") else 10**9
        return max(0, self.most_of_tenant.get(name, most) - self.used_by_tenant(name))

    def held(self, tenant: str) -> int:
        """Credits that the tenant's running tasks hold."""
        running = [t for t in self.tasks.values() if t.tenant == tenant and t.state == "PROCESSING"]
        return sum(task.hold or 0 for task in running)

    def at(self, provider: str) -> list[ModelTask]:
        """Return the tasks that run at a provider."""
        return [t for t in self.tasks.values() if t.provider == provider and t.state == "PROCESSING"]

    def provider_room(self, name: str) -> float:
        """How many tasks may start at a provider."""
        return self.providers.named(name).room(self.now, *self.used(name))

    def used(self, name: str) -> tuple[int, int]:
        """How many tasks run at a provider, and how many of them find out whether it works."""
        running = self.at(name)
        return len(running), sum(task.is_probe for task in running)

    def first_with_room(self, names: Iterable[str]) -> str | None:
        """Return the provider that gets the next task."""
        return next((name for name in names if self.provider_room(name) > 0), None)

    def has_provider(self, type_: str) -> bool:
        """Whether a task of that type could be sent somewhere, or need not be."""
        chain = self.providers.chains.get(type_)
        return not chain or self.first_with_room(chain) is not None

    def is_runnable(self, type_: str) -> bool:
        """Whether tasks of that type could run, as far as anything but providers is concerned."""
        if "queue:" in self.paused or self.type_room(type_) <= 0:
            return False
        return any(lane[0] == type_ and self.may_run(lane) for lane in self.ready())

    def first_opening(self, names: Iterable[str]) -> float:
        """When the first of these providers opens by itself; infinite if none does."""
        return min((self.providers.named(name).opens_at(self.now) for name in names), default=math.inf)

    def next_at(self, types: Iterable[str]) -> float:
        """When a claim of these types may find more than now: a task is due, or a provider opens."""
        due = [task.due for task in self.tasks.values() if task.due is not None]
        found = min(due, default=math.inf)
        for type_ in types:
            if self.is_runnable(type_) and not self.has_provider(type_):
                found = min(found, self.first_opening(self.providers.chains[type_]))
        return found

    def ready(self, without: Container[str] = ()) -> dict[Lane, list[ModelTask]]:
        """Ready tasks by lane, best first."""
        lanes: dict[Lane, list[ModelTask]] = {}
        for task in self.tasks.values():
            if task.state == "QUEUED" and task.due is None and task.id not in without:
                lanes.setdefault(task.lane, []).append(task)
        for tasks in lanes.values():
            tasks.sort(key=lambda task: -self.order.score(task.priority, task.sequence))
        return lanes

    def may_run(self, lane: Lane) -> bool:
        """Whether the lane is not parked."""
        tenant = lane[1].removesuffix("!")
        if f"tenant:{tenant}" in self.paused or tenant in self.accounts.waiting:
            return False
        return lane[1].endswith("!") or self.tenant_room(tenant) > 0

    def settle(self) -> None:
        """Follow the index: a tenant whose lane comes back starts at the queue's virtual time."""
        open_lanes = {lane for lane in self.ready() if self.may_run(lane)}
        for lane in open_lanes - self.indexed:
            tenant = lane[1].removesuffix("!")
            self.virtual[tenant] = max(self.virtual.get(tenant, 0), self.clock)
        self.indexed = open_lanes

    # Verbs -------------------------------------------------------------------------------------

    def promote(self) -> int:
        """Make ready what is due."""
        due = [task for task in self.tasks.values() if task.due is not None and task.due <= self.now]
        for task in due:
            task.due = None
        self.settle()
        return len(due)

    def claim(self, slots: dict[str, int], limit: int, request: str) -> list[ModelTask]:
        """Choose and lend the best tasks; end those that cannot be paid."""
        self.promote()
        taken: list[ModelTask] = []
        poor: dict[str, ModelTask] = {}
        closed: set[Lane] = set()
        left = {name: min(count, self.type_room(name)) for name, count in slots.items()}
        while len(taken) < limit and "queue:" not in self.paused:
            heads = {
                lane: tasks[0]
                for lane, tasks in self.ready(without=poor).items()
                if left.get(lane[0], 0) > 0 and lane not in closed and self.may_run(lane)
                and self.has_provider(lane[0])
            }  # fmt: skip
            if not heads:
                break
            task = heads[max(heads, key=lambda lane: self._place(lane, heads[lane]))]
            free = self.accounts.left(task.tenant) - self.held(task.tenant)
            if task.cost <= free:
                left[task.type] -= 1
                self._start(task, request, free)
                taken.append(task)
            elif task.cost <= self.accounts.left(task.tenant):
                self.accounts.waiting.add(task.tenant)
            elif len(poor) < POOR_AT_ONCE:
                poor[task.id] = task
            else:
                closed.add(task.lane)
        for task in poor.values():
            task.error = "INSUFFICIENT_CREDITS"
            self._end(task, "FAILED", "failed")
        self.settle()
        return taken

    def _start(self, task: ModelTask, request: str, free: float) -> None:
        self._serve(task.tenant)
        task.state = "PROCESSING"
        task.attempt += 1
        task.deliveries += 1
        task.token = f"{task.deliveries}-{request}"
        task.outcome = None
        task.deadline = self.now + LEASE
        task.hold = int(min(task.most, free)) if self.accounts.is_metered(task.tenant) else None
        self._send(task, self.providers.chains.get(task.type, ()))

    def _send(self, task: ModelTask, names: Iterable[str]) -> None:
        """Let a task run at the first of these providers that has room."""
        task.provider, task.is_probe = None, False
        if (name := self.first_with_room(names)) is not None:
            provider = self.providers.known.setdefault(name, self.providers.named(name))
            task.provider, task.is_probe = name, provider.has_failed

    def switch(
        self, lease: tuple[str, str], left: str, verdict: str, after: int, following: list[str]
    ) -> tuple[str | None, float | None] | None:
        """Move a running task: where it goes, or in how many ms another one opens; None if it is stale."""
        task_id, token = lease
        task = self.tasks.get(task_id)
        if task is None or task.state != "PROCESSING" or task.token != token:
            return None
        if task.provider == left:
            self.providers.known[left].judge(verdict, after, self.now, len(self.at(left)))
            task.tried += (f"{left}:{verdict}",)
            task.provider = None
            self._send(task, following)
        if task.provider is not None:
            return task.provider, None
        opens = self.first_opening(following)
        return None, opens - self.now if opens < math.inf else None

    def _end(self, task: ModelTask, state: str, outcome: str, asked: int = 0) -> None:
        """End a task that is queued or runs: charge it if it completes, tell its webhook."""
        is_metered = task.hold is not None
        task.charged = self._end_hold(task, asked)
        if state == "COMPLETED":
            if task.provider is not None:
                used = len(self.at(task.provider))
                self.providers.known[task.provider].judge("answered", 0, self.now, used)
            self.accounts.history.append(Charge(task.tenant, task.id, task.charged, is_metered))
        task.state, task.outcome, task.due = state, outcome, None
        if task.hook:
            self.sequence += 1
            name, owner = f"_hook-{self.sequence}", f"_{task.tenant}.{task.hook}"
            self.tasks[name] = ModelTask(
                name, WEBHOOK_TYPE, owner, 1, False, None, "", self.sequence, self.now, told=task.id
            )

    def _end_hold(self, task: ModelTask, asked: int = 0) -> int:
        charge = self.accounts.end_hold(task.tenant, task.hold, asked)
        task.hold = None
        return charge

    def _place(self, lane: Lane, head: ModelTask) -> tuple[float, bytes, int]:
        score = self.order.score(head.priority, head.sequence)
        rank = self.policy.rank(score, head.priority, self.virtual.get(head.tenant, 0))
        return float(rank), lane[1].encode(), score

    def _serve(self, tenant: str) -> None:
        if self.policy.uses_virtual_time:
            self.clock = max(self.clock, self.virtual.get(tenant, 0))
            cost = virtual_cost(self.weights.get(tenant, 1))
            self.virtual[tenant] = self.virtual.get(tenant, 0) + cost

    def report(
        self, task_id: str, token: str, outcome: str, retry_in: int | None = None, charge: int | None = None
    ) -> str:
        """End a lease: `outcome` is completed, failed, cancelled, retried or released."""
        task = self.tasks.get(task_id)
        if task is None or not task.token or task.token != token:
            return "stale"
        if task.state != "PROCESSING":
            return "stale" if task.outcome in {None, "reaped"} else task.outcome
        if task.cancel and outcome != "completed":
            outcome = "cancelled"
        if outcome == "released":
            task.attempt -= 1
        if outcome in {"retried", "released"}:
            self._requeue(task, outcome)
            task.due = self.now + retry_in if retry_in else None
        elif outcome == "completed":
            self._end(task, "COMPLETED", outcome, task.cost if charge is None else charge)
        else:
            self._end(task, outcome.upper(), outcome)
        self.settle()
        return outcome

    def _requeue(self, task: ModelTask, outcome: str) -> None:
        self._end_hold(task)
        task.state, task.outcome, task.provider = "QUEUED", outcome, None

    def reap(self) -> tuple[set[str], set[str], set[str]] | None:
        """Take expired leases back, the oldest first; None while it holds."""
        gap = self.now - self.reaped_at if self.reaped_at is not None else 0
        was_holding = self.reaped_at is not None and self.hold_until > self.reaped_at
        self.reaped_at = self.now
        if gap > (LEASE if was_holding else GAP):
            self.hold_until = self.now + LEASE
        if self.hold_until > self.now:
            return None
        requeued, dead, cancelled = set(), set(), set()
        expired = [t for t in self.tasks.values() if t.state == "PROCESSING" and t.deadline <= self.now]
        for task in sorted(expired, key=lambda task: (task.deadline, task.id)):
            task.crashes += 1
            if task.cancel:
                self._end(task, "CANCELLED", "reaped")
                cancelled.add(task.id)
            elif task.crashes >= CRASHES:
                self._end(task, "FAILED", "reaped")
                dead.add(task.id)
            else:
                self._requeue(task, "reaped")
                requeued.add(task.id)
        self.settle()
        return requeued, dead, cancelled

    def cancel(self, task_id: str) -> None:
        """End a queued task; ask for the end of a running one."""
        task = self.tasks[task_id]
        if task.state == "QUEUED":
            self._end(task, "CANCELLED", "cancelled")
        elif task.state == "PROCESSING":
            task.cancel = True
        self.settle()

    def grant(self, tenant: str, credits: int) -> None:  # noqa: A002 - the field's word
        """Give a tenant credits, or take some back."""
        self.accounts.grant(tenant, credits)
        self.settle()

    def clear(self, tenant: str | None, type_: str | None) -> int:
        """Drop queued tasks."""
        gone = [
            task.id
            for task in self.tasks.values()
            if task.state == "QUEUED" and not task.is_delivery
            and tenant in {None, task.tenant} and type_ in {None, task.type}
        ]  # fmt: skip
        for task_id in gone:
            del self.tasks[task_id]
        self.settle()
        return len(gone)

    def redrive(self, task_id: str) -> None:
        """Submit an ended task again."""
        old = self.tasks.pop(task_id)
        self.sequence += 1
        self.tasks[task_id] = ModelTask(
            old.id, old.type, old.tenant, old.priority, old.reserved, old.key, old.fingerprint,
            self.sequence, self.now, old.cost, old.most, old.hook,
        )  # fmt: skip
        self.settle()
