"""The whole engine against a plain model: any order of verbs, right, stale and foreign tokens."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from taskqueue.codec import encode_entry, encode_error
from taskqueue.connect import Connector
from taskqueue.errors import IdempotencyConflict, LimitReached, QueueFull
from taskqueue.keys import Keys
from taskqueue.ranking import Order, policy
from taskqueue.store import Accepted, ClaimRequest, Completion, Failure, Release, Store, Withheld
from taskqueue.task import TaskError, TaskSpec
from tests.audit import audit
from tests.machines.model import LEASE, Model, ModelTask
from tests.servers import RealServer, available_servers

TYPES = ("GROK", "GEMINI", "CHATGPT")
TENANTS = ("acme", "acme.b", "zeta")
MOST_QUEUED = 12
ERROR = encode_error(TaskError("HANDLER_ERROR", "as told"))

types, tenants = st.sampled_from(TYPES), st.sampled_from(TENANTS)
specs: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    type=types,
    tenant=tenants,
    priority=st.integers(1, 10),
    idempotency_key=st.sampled_from([None, None, None, "k1", "k2"]),
    delay=st.sampled_from([None, None, None, 1, 5_000, 60_000]),
    reserve=st.booleans(),
    text=st.sampled_from(["a", "b"]),
)

_loop: asyncio.AbstractEventLoop
_server: RealServer
_numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True, params=available_servers())
def _running(request: pytest.FixtureRequest) -> Iterator[None]:
    global _loop, _server  # noqa: PLW0603 - a machine takes no fixtures
    with RealServer(request.param) as _server, asyncio.Runner() as runner:
        _loop = runner.get_loop()
        yield


def wait(awaitable: Any) -> Any:
    """Run a coroutine of the store to its end."""
    return _loop.run_until_complete(awaitable)


class Engine(RuleBasedStateMachine):
    """Drives store and model with the same steps."""

    claims = Bundle("claims")
    known = Bundle("known")

    @initialize(
        rule_name=st.sampled_from(["strict", "fair_within_priority", "fair_tenants"]),
        stride=st.sampled_from([None, None, 3]),
    )
    def open(self, rule_name: str, stride: int | None) -> None:
        self.name = f"machine-{next(_numbers)}"
        self.model = Model(Order(stride), policy(rule_name), now=int(time.time() * 1000))
        self.connector = Connector.parse(_server.url)
        wait(self.connector.open())
        self.store = Store(self.connector.client(), Keys(self.name), clock=lambda: self.model.now)
        wait(self.store.open(Order(stride), rule_name))
        self.ids = itertools.count(1)
        self.requests = itertools.count(1)
        self.seen: list[tuple[ModelTask, str]] = []

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            with _server.client() as client:
                assert audit(client, self.name) == []
            assert wait(self.store.repair(limit=1000)).changed == 0
            self.agree()
        finally:
            wait(self.store.close())
            with _server.client() as client:
                client.flushall()

    # Producers -----------------------------------------------------------------------------------

    @rule(target=known, batch=st.lists(specs, min_size=1, max_size=4), atomic=st.booleans())
    def enqueue(self, batch: list[dict[str, Any]], atomic: bool) -> Any:
        entries = [self._entry(dict(spec), f"t{next(self.ids)}") for spec in batch]
        outcomes = wait(self.store.enqueue(entries, atomic=atomic, max_queued=MOST_QUEUED))
        expected = self._accept(entries, atomic=atomic)
        assert [self._word(outcome) for outcome in outcomes] == expected
        accepted = [entry.id for entry, word in zip(entries, expected, strict=True) if word[0] == "accepted"]
        return multiple(*accepted)

    def _entry(self, spec: dict[str, Any], task_id: str) -> Any:
        spec["payload"] = {"text": spec.pop("text")}
        delay = spec.pop("delay")
        made = TaskSpec(id=task_id, **spec | ({"reserve": False} if delay else {}))
        entry = encode_entry(made, max_bytes=1000, order=self.model.order)
        entry.delay_ms = delay
        return entry

    def _accept(self, entries: list[Any], *, atomic: bool) -> list[tuple[Any, ...]]:
        model = self.model
        words: list[tuple[Any, ...]] = []
        new: list[ModelTask] = []
        keys = {(task.tenant, task.key): task for task in model.tasks.values() if task.key}
        queued = {
            t: sum(x.tenant == t and x.state == "QUEUED" for x in model.tasks.values()) for t in TENANTS
        }
        room = {tenant: model.tenant_room(tenant) for tenant in TENANTS}
        for entry in entries:
            spec, head, tenant = entry.spec, entry.head, entry.head.tenant
            holder = keys.get((tenant, spec.idempotency_key)) if spec.idempotency_key else None
            task = ModelTask(
                entry.id, head.type, tenant, head.priority, head.reserve, spec.idempotency_key,
                f"{head.type}{spec.payload}", 0, model.now,
            )  # fmt: skip
            if holder is not None:
                words.append(("taken", holder.id, holder.fingerprint == task.fingerprint))
            elif queued[tenant] >= MOST_QUEUED:
                words.append(("full",))
            elif task.reserved and room[tenant] <= 0:
                words.append(("no_slot",))
            else:
                queued[tenant] += 1
                room[tenant] -= task.reserved
                if task.key:
                    keys[tenant, task.key] = task
                task.due = model.now + entry.delay_ms if entry.delay_ms else None
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

    @staticmethod
    def _word(outcome: Any) -> tuple[Any, ...]:
        match outcome:
            case Accepted():
                return "accepted", outcome.sequence, outcome.not_before_ms
            case IdempotencyConflict():
                return "taken", outcome.task_id, outcome.same_payload
            case QueueFull():
                return ("full",)
            case LimitReached():
                return ("no_slot",)
            case Withheld():
                return ("withheld",)
        raise AssertionError(outcome)

    # Workers -------------------------------------------------------------------------------------

    @rule(
        target=claims,
        slots=st.dictionaries(types, st.integers(0, 4), min_size=1),
        limit=st.integers(0, 6),
        again=st.booleans(),
    )
    def claim(self, slots: dict[str, int], limit: int, again: bool) -> Any:
        request = f"r{next(self.requests)}"
        asked = ClaimRequest("worker", request, slots, limit, LEASE)
        got = wait(self.store.claim(asked))
        expected = self.model.claim(slots, limit, request)
        assert [(task.id, task.token) for task in got.tasks] == [(task.id, task.token) for task in expected]
        assert [(t.attempt, t.deliveries, t.crashes) for t in got.tasks] == [
            (t.attempt, t.deliveries, t.crashes) for t in expected
        ]
        if again and expected:
            repeated = wait(self.store.claim(asked))
            assert [task.token for task in repeated.tasks] == [task.token for task in expected]
        due = [task.due for task in self.model.tasks.values() if task.due is not None]
        wanted = max(0, min(due) - self.model.now) / 1000 if due else None
        assert got.next_in == wanted
        return multiple(*[(task.id, task.token) for task in got.tasks])

    @rule(held=claims, foreign=claims, kind=st.sampled_from([*["right"] * 3, "foreign", "garbage"]),
          outcome=st.sampled_from(["completed", "retried", "failed", "cancelled", "released"]),
          wait_ms=st.sampled_from([0, 1_000]), repeat=st.booleans())  # fmt: skip
    def report(  # noqa: PLR0917 - Hypothesis fills them by name
        self, held: Any, foreign: Any, kind: str, outcome: str, wait_ms: int, repeat: bool
    ) -> None:
        task_id, token = held
        token = {"right": token, "foreign": foreign[1] + "x", "garbage": ""}[kind]
        expected = self.model.report(task_id, token, outcome, wait_ms)
        for _ in range(2 if repeat else 1):
            assert self._report(task_id, token, outcome, wait_ms) == expected

    def _report(self, task_id: str, token: str, outcome: str, wait_ms: int) -> str:
        if outcome == "completed":
            return str(wait(self.store.complete([Completion(task_id, token, b"\xc0")]))[0][0])
        if outcome == "released":
            return str(wait(self.store.release([Release(task_id, token, wait_ms)]))[0])
        failure = Failure(
            task_id, token, ERROR, wait_ms if outcome == "retried" else None, outcome == "cancelled"
        )
        return str(wait(self.store.fail([failure]))[0])

    @rule(held=claims)
    def extend(self, held: Any) -> None:
        task_id, token = held
        answer = wait(self.store.extend("worker", [held], LEASE))
        task = self.model.tasks.get(task_id)
        if task is not None and task.state == "PROCESSING" and task.token == token:
            task.deadline = self.model.now + LEASE
            assert answer.lost == []
            assert answer.cancelled == ([task_id] if task.cancel else [])
        else:
            assert answer.lost == [task_id]

    # Time and maintenance ------------------------------------------------------------------------

    @rule(ms=st.sampled_from([1, 500, 4_000, 16_000, 61_000]))
    def time_passes(self, ms: int) -> None:
        self.model.now += ms

    @rule()
    def reap(self) -> None:
        got, expected = wait(self.store.reap(LEASE)), self.model.reap()
        if expected is None:
            assert got.holding_ms > 0
        else:
            assert (set(got.requeued), set(got.dead), set(got.cancelled)) == expected

    @rule()
    def leases_run_out(self) -> None:
        """Passes of the reaper at its usual pace, until every lease has had its time."""
        for _ in range(6):
            self.model.now += 6_000
            self.reap()

    @rule()
    def promote(self) -> None:
        assert wait(self.store.promote()).count == self.model.promote()

    @rule()
    def purge(self) -> None:
        wait(self.store.purge())

    @rule()
    def flush_scripts(self) -> None:
        with _server.client() as client:
            client.script_flush()

    # Operators -----------------------------------------------------------------------------------

    @rule(task_id=known)
    def cancel(self, task_id: str) -> None:
        got = wait(self.store.cancel(task_id))
        if task_id not in self.model.tasks:
            assert got is None
            return
        self.model.cancel(task_id)
        assert got.state == self.model.tasks[task_id].state

    @rule(task_id=consumes(known))
    def redrive(self, task_id: str) -> None:
        task = self.model.tasks.get(task_id)
        if task is not None and task.state in {"FAILED", "CANCELLED"}:
            got = wait(self.store.redrive(task_id))
            self.model.redrive(task_id)
            assert got.sequence == self.model.sequence

    @precondition(lambda self: len(self.model.tasks) > 6)
    @rule(tenant=st.none() | tenants, type_=st.none() | types)
    def clear(self, tenant: str | None, type_: str | None) -> None:
        assert wait(self.store.clear(tenant=tenant, type=type_)) == self.model.clear(tenant, type_)

    @rule(type_=types, most=st.sampled_from([None, 0, 1, 2]))
    def limit_type(self, type_: str, most: int | None) -> None:
        wait(self.store.set_limit(type=type_, concurrency=most))
        self.model.most_of_type.pop(type_, None)
        if most is not None:
            self.model.most_of_type[type_] = most

    @rule(tenant=tenants, most=st.sampled_from([None, 0, 1, 2]), weight=st.sampled_from([1, 2, 10]))
    def limit_tenant(self, tenant: str, most: int | None, weight: int) -> None:
        wait(self.store.set_limit(tenant=tenant, concurrency=most, weight=weight))
        self.model.most_of_tenant.pop(tenant, None)
        if most is not None:
            self.model.most_of_tenant[tenant] = most
        self.model.weights[tenant] = weight
        self.model.settle()

    @rule(scope=st.sampled_from([*(f"type:{t}" for t in TYPES), *(f"tenant:{t}" for t in TENANTS), "queue:"]))
    def pause_or_resume(self, scope: str) -> None:
        kind, _, name = scope.partition(":")
        where = {} if kind == "queue" else {kind: name}
        if scope in self.model.paused:
            wait(self.store.resume(**where))
        else:
            wait(self.store.pause(**where))
        self.model.paused ^= {scope}
        self.model.settle()

    # Agreement -----------------------------------------------------------------------------------

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "store"):
            return
        stats = wait(self.store.stats())
        states = [task.state for task in self.model.tasks.values()]
        assert stats.queued == states.count("QUEUED")
        assert stats.processing == states.count("PROCESSING")
        assert stats.delayed == sum(task.due is not None for task in self.model.tasks.values())

    def agree(self) -> None:
        """Every task is as the model has it."""
        tasks = list(self.model.tasks.values())
        for task, got in zip(tasks, wait(self.store.fetch([task.id for task in tasks])), strict=True):
            assert got is not None
            assert (got.state, got.not_before_ms, got.sequence, got.crashes) == (
                task.state, task.due, task.sequence, task.crashes,
            )  # fmt: skip


@pytest.mark.timeout(300)
def test_the_engine_does_what_the_model_says() -> None:
    """Any sequence of verbs; afterwards the audit finds nothing."""
    run_state_machine_as_test(
        Engine, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_engine_does_what_the_model_says_at_length() -> None:
    """The same, for much longer."""
    run_state_machine_as_test(
        Engine, settings=settings(max_examples=1500, stateful_step_count=60, deadline=None)
    )
