"""How every machine offers tasks to the queue, and holds what it is told against the model."""

from __future__ import annotations

from typing import Any

from taskqueue.codec import Entry, encode_entry
from taskqueue.errors import IdempotencyConflict, InsufficientCredits, LimitReached, QueueFull
from taskqueue.store import Accepted, Withheld
from taskqueue.task import TaskSpec
from tests.machines.machine import TENANTS, Machine, wait
from tests.machines.model import ModelTask

HOOKS = ("https://a.example/hook", "https://b.example:8443/")
Word = tuple[Any, ...]


class Offers(Machine):
    """Says which task is accepted and which is refused, and why."""

    def entry(self, spec: dict[str, Any], task_id: str) -> Entry:
        """Return a task as it is offered."""
        spec["payload"] = {"text": spec.pop("text")}
        delay, more = spec.pop("delay"), spec.pop("more")
        hold = None if more is None else spec["cost"] + more
        made = TaskSpec(id=task_id, hold=hold, **spec | ({"reserve": False} if delay else {}))
        entry = encode_entry(made, max_bytes=1000, order=self.model.order)
        entry.delay_ms = delay
        return entry

    def offer(
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
