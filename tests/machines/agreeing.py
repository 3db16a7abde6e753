"""What holds after every step: counts, credits and providers are those of the model, and nobody sleeps."""

from __future__ import annotations

import math

from hypothesis.stateful import invariant

from tests.machines.machine import TENANTS, TYPES, Machine, wait


class Agreeing(Machine):
    """Compares the queue with the model after every step."""

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
