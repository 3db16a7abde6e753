"""The whole engine against a plain model: any order of verbs, right, stale and foreign tokens."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tests.machines.machine import TENANTS, TYPES, Running, wait
from tests.machines.operators import Operators
from tests.machines.producers import Producers
from tests.machines.workers import Workers
from tests.servers import RealServer, available_servers


@pytest.fixture(scope="module", autouse=True, params=available_servers())
def _running(request: pytest.FixtureRequest) -> Iterator[None]:
    with RealServer(request.param) as Running.server, asyncio.Runner() as runner:
        Running.loop = runner.get_loop()
        yield


class Engine(Producers, Workers, Operators):
    """Drives store and model with the same steps; after each of them they agree."""

    @invariant()
    def counts_agree(self) -> None:
        """Deliveries are counted in nothing that people look at."""
        if not hasattr(self, "store"):
            return
        stats = wait(self.store.stats())
        tasks = [task for task in self.model.tasks.values() if not task.is_delivery]
        states = [task.state for task in tasks]
        assert stats.queued == states.count("QUEUED")
        assert stats.processing == states.count("PROCESSING")
        assert stats.delayed == sum(task.due is not None for task in tasks)

    @invariant()
    def credits_agree(self) -> None:
        """Held is what running tasks hold; spent is what the steps so far have charged."""
        if not hasattr(self, "store"):
            return
        accounts = self.model.accounts
        for tenant, balance in zip(TENANTS, wait(self._balances()), strict=True):
            if accounts.is_metered(tenant):
                assert (balance.granted, balance.spent, balance.held) == (
                    accounts.granted[tenant], accounts.spent(tenant), self.model.held(tenant),
                )  # fmt: skip
            else:
                assert balance is None

    @invariant()
    def providers_agree(self) -> None:
        """Used is a recount of what runs there; a provider is open, full or probing as the model says."""
        if not hasattr(self, "store"):
            return
        model = self.model
        states = wait(self.store.providers())
        assert [state.name for state in states] == sorted(model.providers.known)
        for state in states:
            provider = model.providers.known[state.name]
            allowed, opens_at = provider.now_allowed, provider.opens_at(model.now)
            assert (state.used, state.failures) == (len(model.at(state.name)), provider.failures)
            assert state.allowed == (None if allowed == math.inf else math.floor(allowed))
            assert state.opens_in == (None if opens_at == math.inf else (opens_at - model.now) / 1000)
            assert state.condition == provider.condition(model.now, *model.used(state.name))

    @invariant()
    def nobody_sleeps_while_there_is_work(self) -> None:
        """A type that could run has its marker, or its last claim said an instant that has come."""
        if not hasattr(self, "store"):
            return
        for name in TYPES:
            if self.model.is_runnable(name) and self.model.has_provider(name):
                is_awake = self.client.exists(self.store.keys.wake(name))
                assert is_awake or self.told[name] <= self.model.now

    async def _balances(self) -> list[object]:
        return [await self.store.balance(tenant) for tenant in TENANTS]


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
