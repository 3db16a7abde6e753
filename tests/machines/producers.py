"""Tasks come in: alone or in bulks, with keys, delays, slots, prices and webhooks."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import multiple, precondition, rule

from taskqueue.codec import Entry, encode_entry
from taskqueue.errors import IdempotencyConflict, InsufficientCredits, LimitReached, QueueFull
from taskqueue.store import Accepted, Withheld
from taskqueue.task import TaskSpec
from tests.machines.machine import TENANTS, Machine, known, metered, tenants, types, wait
from tests.machines.model import ModelTask

MOST_QUEUED = 12
A_CROWD = 60
"""More tasks than one claim ends for lack of credits."""

HOOKS = ("https://a.example/hook", "https://b.example:8443/")
specs: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    type=types,
    tenant=tenants,
    priority=st.integers(1, 10),
    idempotency_key=st.sampled_from([None, None, None, "k1", "k2"]),
    delay=st.sampled_from([*[None] * 6, 1, 5_000, 60_000]),
    reserve=st.sampled_from([False, False, True]),
    text=st.sampled_from(["a", "b"]),
    cost=st.sampled_from([0, 1, 4, 9]),
    more=st.sampled_from([None, None, 0, 6]),
    webhook=st.sampled_from([None, None, *HOOKS]),
)
Word = tuple[Any, ...]


class Producers(Machine):
    """Enqueues, and says which task is accepted and which is refused, and why."""

    @rule(
        target=known,
        batch=st.lists(specs, min_size=1, max_size=4),
        atomic=st.booleans(),
        together=st.booleans(),
    )
    def enqueue(self, batch: list[dict[str, Any]], atomic: bool, together: bool) -> Any:
        entries = [self._entry(dict(spec), f"t{next(self.ids)}") for spec in batch]
        return multiple(*self._offer(entries, MOST_QUEUED, atomic=atomic, together=together))

    @rule(
        target=known,
        tenant=metered,
        type_=types,
        parts=st.lists(st.sampled_from([2, 3, 4]), min_size=2, max_size=3),
        more=st.sampled_from([None, 2, 8]),
        webhook=st.sampled_from([None, *HOOKS]),
        reserve=st.booleans(),
    )
    def enqueue_dear(  # noqa: PLR0917 - Hypothesis fills them by name
        self,
        tenant: str,
        type_: str,
        parts: list[int],
        more: int | None,
        webhook: str | None,
        reserve: bool,
    ) -> Any:
        """Tasks that cost quarters of all that their tenant has: not all can run at once."""
        if not self.model.accounts.is_metered(tenant):
            return multiple()
        left = max(0, int(self.model.accounts.left(tenant)))
        spec: dict[str, Any] = {"type": type_, "tenant": tenant, "text": "a", "delay": None, "more": more}
        spec |= {"webhook": webhook, "reserve": reserve}
        entries = [self._entry(spec | {"cost": left * part // 4}, f"t{next(self.ids)}") for part in parts]
        return multiple(*self._offer(entries, MOST_QUEUED, atomic=False, together=False))

    @precondition(lambda self: len(self.model.tasks) < A_CROWD)
    @rule(
        target=known,
        tenant=metered,
        type_=types,
        cost=st.integers(1, 3),
        left=st.integers(-3, 3),
        webhook=st.sampled_from([None, *HOOKS]),
    )
    def become_poor(self, tenant: str, type_: str, cost: int, left: int, webhook: str | None) -> Any:
        """More tasks come than one claim ends, and then the credits go."""
        spec: dict[str, Any] = {"type": type_, "tenant": tenant, "text": "a", "delay": None, "more": None}
        spec["webhook"] = webhook
        costs = [0 if number % 9 == 8 else cost for number in range(A_CROWD)]  # some can be paid later on
        entries = [self._entry(spec | {"cost": each}, f"t{next(self.ids)}") for each in costs]
        accepted = self._offer(entries, None, atomic=False, together=False)
        if self.model.accounts.is_metered(tenant):
            self._grant(tenant, left - int(self.model.accounts.left(tenant)))
        return multiple(*accepted[:3])

    @rule(tenant=metered, amount=st.sampled_from([-30, -8, -1, 0, 1, 5, 5, 12, 12, 40]))
    def grant(self, tenant: str, amount: int) -> None:
        self._grant(tenant, amount)

    def _grant(self, tenant: str, amount: int) -> None:
        balance = wait(self.store.grant(tenant, amount))
        self.model.grant(tenant, amount)
        assert balance.remaining == self.model.accounts.left(tenant)

    def _entry(self, spec: dict[str, Any], task_id: str) -> Entry:
        spec["payload"] = {"text": spec.pop("text")}
        delay, more = spec.pop("delay"), spec.pop("more")
        hold = None if more is None else spec["cost"] + more
        made = TaskSpec(id=task_id, hold=hold, **spec | ({"reserve": False} if delay else {}))
        entry = encode_entry(made, max_bytes=1000, order=self.model.order)
        entry.delay_ms = delay
        return entry

    def _offer(
        self, entries: list[Entry], max_queued: int | None, *, atomic: bool, together: bool
    ) -> list[str]:
        """Enqueue, hold every answer against the model, and return the ids of what was accepted."""
        options: dict[str, Any] = {"atomic": atomic, "together": together, "max_queued": max_queued}
        outcomes = wait(self.store.enqueue(entries, **options))
        expected = self._accept(entries, **options)
        assert [_word(outcome) for outcome in outcomes] == expected
        return [entry.id for entry, word in zip(entries, expected, strict=True) if word[0] == "accepted"]

    def _accept(
        self, entries: list[Entry], *, atomic: bool, together: bool, max_queued: int | None
    ) -> list[Word]:
        model = self.model
        words: list[Word] = []
        new: list[ModelTask] = []
        keys = {(task.tenant, task.key): task for task in model.tasks.values() if task.key}
        queued = {
            t: sum(x.tenant == t and x.state == "QUEUED" for x in model.tasks.values()) for t in TENANTS
        }
        room = {tenant: model.tenant_room(tenant) for tenant in TENANTS}
        funds = {tenant: model.accounts.left(tenant) for tenant in TENANTS}
        for entry in entries:
            task = self._task_of(entry)
            tenant = task.tenant
            holder = keys.get((tenant, task.key)) if task.key else None
            if max_queued is not None and not task.reserved and queued[tenant] >= max_queued:
                words.append(("full",))
            elif holder is not None:
                words.append(("taken", holder.id, holder.fingerprint == task.fingerprint))
            elif task.cost > funds[tenant]:
                words.append(("poor", task.cost, funds[tenant]))
            elif task.reserved and room[tenant] <= 0:
                words.append(("no_slot",))
            else:
                queued[tenant] += 1
                room[tenant] -= task.reserved
                funds[tenant] -= task.cost if together else 0
                if task.key:
                    keys[tenant, task.key] = task
                new.append(task)
                words.append(("accepted", task))
        if atomic and len(new) < len(entries):
            return [("withheld",) if word[0] == "accepted" else word for word in words]
        for task in new:
            model.sequence += 1
            task.sequence = model.sequence
            model.tasks[task.id] = task
        model.settle()
        return [
            ("accepted", word[1].sequence, word[1].due) if word[0] == "accepted" else word for word in words
        ]

    def _task_of(self, entry: Entry) -> ModelTask:
        spec, head, now = entry.spec, entry.head, self.model.now
        hook = HOOKS.index(str(spec.webhook)) if spec.webhook is not None else None
        return ModelTask(
            entry.id, head.type, head.tenant, head.priority, head.reserve, spec.idempotency_key,
            f"{head.type}{spec.payload}", 0, now, spec.cost,
            spec.cost if spec.hold is None else spec.hold,
            "" if hook is None else HOOK_WORDS[hook],
            due=now + entry.delay_ms if entry.delay_ms else None,
        )  # fmt: skip


def _word(outcome: Any) -> Word:
    match outcome:
        case Accepted():
            return "accepted", outcome.sequence, outcome.not_before_ms
        case IdempotencyConflict():
            return "taken", outcome.task_id, outcome.same_payload
        case QueueFull():
            return ("full",)
        case InsufficientCredits():
            return "poor", outcome.needed, outcome.balance
        case LimitReached():
            return ("no_slot",)
        case Withheld():
            return ("withheld",)
    raise AssertionError(outcome)


def _word_of_host(url: str) -> str:
    """Return the name that the queue gives to the host of an address, read from a record's header."""
    entry = encode_entry(TaskSpec(type="GROK", payload={}, webhook=url))
    return entry.blob.partition(b"\n")[0].split(b"|")[-2].decode()


HOOK_WORDS = [_word_of_host(url) for url in HOOKS]
