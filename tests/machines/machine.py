"""What every machine stands on: a server, a queue of its own on it, the model beside it."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize

from taskqueue.connect import Connector
from taskqueue.keys import Keys
from taskqueue.ranking import Order, policy
from taskqueue.store import Store
from tests.audit import audit
from tests.machines.model import LEASE, Model
from tests.machines.providers import ModelProvider
from tests.servers import RealServer

TYPES = ("GROK", "GEMINI", "CHATGPT")
TENANTS = ("acme", "acme.b", "zeta")
METERED = TENANTS[:2]
"""Tenants that may be granted something, at once or later; the other one never is."""
PROVIDERS = ("alpha", "beta")
CHAINS = ((), ("alpha",), ("beta", "alpha"), ("alpha", "beta"))

claims = Bundle("claims")
known = Bundle("known")
types, tenants = st.sampled_from(TYPES), st.sampled_from(TENANTS)
metered = st.sampled_from(METERED)
grants = st.sampled_from([10, 40, 0, None])


class Running:
    """The server and the event loop of the tests that run: a machine takes no fixtures."""

    server: RealServer
    loop: asyncio.AbstractEventLoop
    numbers = itertools.count(1)


def wait(awaitable: Any) -> Any:
    """Run a coroutine of the store to its end."""
    return Running.loop.run_until_complete(awaitable)


class Machine(RuleBasedStateMachine):
    """Opens a queue, and holds it against the model and the audit when the steps are over."""

    store: Store
    model: Model
    told: dict[str, float]
    """When the last claim of a type said that one of its providers opens, or a task is due; epoch ms."""

    @initialize(
        rule_name=st.sampled_from(["strict", "fair_within_priority", "fair_tenants"]),
        stride=st.sampled_from([None, None, 3]),
        granted=st.tuples(*[grants for _ in METERED]),
        chains=st.tuples(*[st.sampled_from(CHAINS) for _ in TYPES]),
        first=st.tuples(st.sampled_from([None, 2, 1]), st.sampled_from([1, 2, None])),
    )
    def open(
        self,
        rule_name: str,
        stride: int | None,
        granted: tuple[int | None, ...],
        chains: tuple[tuple[str, ...], ...],
        first: tuple[int | None, int | None],
    ) -> None:
        self.name = f"machine-{next(Running.numbers)}"
        self.model = Model(Order(stride), policy(rule_name), now=int(time.time() * 1000))
        self.model.providers.chains = {
            name: chain for name, chain in zip(TYPES, chains, strict=True) if chain
        }
        self.told: dict[str, float] = {}
        self.client = Running.server.client()
        self.connector = Connector.parse(Running.server.url)
        wait(self.connector.open())
        self.store = Store(self.connector.client(), Keys(self.name), clock=lambda: self.model.now)
        wait(self.store.open(Order(stride), rule_name))
        self.ids = itertools.count(1)
        self.requests = itertools.count(1)
        settings = {name: str(value) for name, value in zip(("max", "breaker"), first, strict=True) if value}
        if settings:
            wait(self.store.set_provider("alpha", settings))
            self.model.providers.known["alpha"] = ModelProvider(most=first[0], breaker=first[1])
        for tenant, amount in zip(METERED, granted, strict=True):
            if amount is not None:
                wait(self.store.grant(tenant, amount))
                self.model.grant(tenant, amount)

    def reap(self) -> None:
        """Take back what was lost, as the model says."""
        got, expected = wait(self.store.reap(LEASE)), self.model.reap()
        if expected is None:
            assert got.holding_ms > 0
        else:
            assert (set(got.requeued), set(got.dead), set(got.cancelled)) == expected

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            assert [problem for problem in audit(self.client, self.name) if not self.excuses(problem)] == []
            records = self.client.keys(f"{self.store.keys.task('').replace('{', '[{]')}*")
            assert len(records) == len(self.model.tasks)
            assert wait(self.store.repair(limit=1000)).changed == 0
            self.agree()
        finally:
            wait(self.store.close())
            self.client.flushall()
            self.client.close()

    def excuses(self, problem: str) -> bool:
        """Whether a sentence of the audit is about tasks that ended before their tenant was metered.

        Their records say what they cost, and it was not spent; the audit cannot tell them apart.
        """
        free = {each.tenant for each in self.model.accounts.history if each.credits and not each.is_metered}
        return any(problem.startswith(f"tenant {tenant} spent ") for tenant in free)

    def agree(self) -> None:
        """Every task is as the model has it, and what it cost; every delivery tells what it should."""
        tasks = list(self.model.tasks.values())
        for task, got in zip(tasks, wait(self.store.fetch([task.id for task in tasks])), strict=True):
            assert got is not None
            assert (got.state, got.not_before_ms, got.sequence, got.crashes, got.charged) == (
                task.state, task.due, task.sequence, task.crashes, task.charged if task.is_over else None,
            )  # fmt: skip
            assert (got.provider, got.tried[:9]) == (task.provider, task.tried[:9])
            if task.error is not None:
                assert got.error is not None
                assert got.error.code == task.error
            if task.is_delivery:
                assert (got.type, got.tenant, got.payload) == (task.type, task.tenant, {"task": task.told})
