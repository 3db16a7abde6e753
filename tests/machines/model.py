"""A plain model of the engine: dictionaries and sorting, no Redis, no cleverness.

It says what every verb must answer and where every task must be. The state machine beside it drives
the real scripts and this model with the same steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from taskqueue.ranking import Order, Policy, virtual_cost

LEASE = 15_000
GAP = 7_500
CRASHES = 3

Lane = tuple[str, str]


@dataclass
class ModelTask:
    """What the model knows of one task."""

    id: str
    type: str
    tenant: str
    priority: int
    reserved: bool
    key: str | None
    fingerprint: str
    sequence: int
    created: int
    state: str = "QUEUED"
    due: int | None = None
    attempt: int = 0
    deliveries: int = 0
    crashes: int = 0
    token: str = ""
    outcome: str | None = None
    deadline: int = 0
    cancel: bool = False

    @property
    def lane(self) -> Lane:
        """Type and group."""
        return self.type, self.tenant + ("!" if self.reserved else "")

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in {"COMPLETED", "FAILED", "CANCELLED"}


@dataclass
class Model:
    """The whole queue."""

    order: Order
    policy: Policy
    now: int
    tasks: dict[str, ModelTask] = field(default_factory=dict)
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
        return max(0, self.most_of_tenant.get(name, 10**9) - self.used_by_tenant(name))

    def ready(self) -> dict[Lane, list[ModelTask]]:
        """Ready tasks by lane, best first."""
        lanes: dict[Lane, list[ModelTask]] = {}
        for task in self.tasks.values():
            if task.state == "QUEUED" and task.due is None:
                lanes.setdefault(task.lane, []).append(task)
        for tasks in lanes.values():
            tasks.sort(key=lambda task: -self.order.score(task.priority, task.sequence))
        return lanes

    def may_run(self, lane: Lane) -> bool:
        """Whether the lane is not parked."""
        tenant = lane[1].removesuffix("!")
        if f"tenant:{tenant}" in self.paused:
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
        """Choose and lend the best tasks."""
        self.promote()
        taken: list[ModelTask] = []
        left = {name: min(count, self.type_room(name)) for name, count in slots.items()}
        while len(taken) < limit and "queue:" not in self.paused:
            heads = {
                lane: tasks[0]
                for lane, tasks in self.ready().items()
                if left.get(lane[0], 0) > 0 and self.may_run(lane)
            }
            if not heads:
                break
            task = heads[max(heads, key=lambda lane: self._place(lane, heads[lane]))]
            left[task.type] -= 1
            self._serve(task.tenant)
            task.state = "PROCESSING"
            task.attempt += 1
            task.deliveries += 1
            task.token = f"{task.deliveries}-{request}"
            task.outcome = None
            task.deadline = self.now + LEASE
            taken.append(task)
        self.settle()
        return taken

    def _place(self, lane: Lane, head: ModelTask) -> tuple[float, bytes, int]:
        score = self.order.score(head.priority, head.sequence)
        rank = self.policy.rank(score, head.priority, self.virtual.get(head.tenant, 0))
        return float(rank), lane[1].encode(), score

    def _serve(self, tenant: str) -> None:
        if self.policy.uses_virtual_time:
            self.clock = max(self.clock, self.virtual.get(tenant, 0))
            cost = virtual_cost(self.weights.get(tenant, 1))
            self.virtual[tenant] = self.virtual.get(tenant, 0) + cost

    def report(self, task_id: str, token: str, outcome: str, retry_in: int | None = None) -> str:
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
            task.state = "QUEUED"
            task.due = self.now + retry_in if retry_in else None
        else:
            task.state = outcome.upper()
        task.outcome = outcome
        self.settle()
        return outcome

    def reap(self) -> tuple[set[str], set[str], set[str]] | None:
        """Take expired leases back; None while it holds."""
        gap = self.now - self.reaped_at if self.reaped_at is not None else 0
        self.reaped_at = self.now
        if gap > GAP:
            self.hold_until = self.now + LEASE
        if self.hold_until > self.now:
            return None
        requeued, dead, cancelled = set(), set(), set()
        for task in self.tasks.values():
            if task.state != "PROCESSING" or task.deadline > self.now:
                continue
            task.crashes += 1
            task.outcome = "reaped"
            if task.cancel:
                task.state = "CANCELLED"
                cancelled.add(task.id)
            elif task.crashes >= CRASHES:
                task.state = "FAILED"
                dead.add(task.id)
            else:
                task.state = "QUEUED"
                requeued.add(task.id)
        self.settle()
        return requeued, dead, cancelled

    def cancel(self, task_id: str) -> None:
        """End a queued task; ask for the end of a running one."""
        task = self.tasks[task_id]
        if task.state == "QUEUED":
            task.state, task.due, task.outcome = "CANCELLED", None, "cancelled"
        elif task.state == "PROCESSING":
            task.cancel = True
        self.settle()

    def clear(self, tenant: str | None, type_: str | None) -> int:
        """Drop queued tasks."""
        gone = [
            task.id
            for task in self.tasks.values()
            if task.state == "QUEUED" and tenant in {None, task.tenant} and type_ in {None, task.type}
        ]
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
            self.sequence, self.now,
        )  # fmt: skip
        self.settle()
