"""Credits: what tenants were granted, what their tasks hold and what they were charged."""

from __future__ import annotations

from abc import ABC, abstractmethod

from taskqueue.errors import InvalidSetting
from taskqueue.names import check_tenant
from taskqueue.store import Balance, Store

_MOST_CREDITS = 10**15


class CreditCalls(ABC):
    """The part of `TaskQueue` that keeps tenants' credits.

    A tenant that was never granted any is not metered. A metered one needs a balance that covers a
    task's cost when the task is accepted and again when it starts; then the task holds its cost, or
    its `hold`, until it ends. Only a COMPLETED task is charged.
    """

    @property
    @abstractmethod
    def store(self) -> Store:
        """The door to the server."""

    async def grant(self, tenant: str, credits: int) -> Balance:  # noqa: A002 - the word of the field
        """Give a tenant credits, or take some back. From its first grant on it is metered.

        Tasks that were refused for lack of credits are not brought back; tasks that wait for
        credits start as soon as there are enough.

        Args:
            tenant: Whose credits.
            credits: How many; below zero takes back, also more than there are left. 0 only makes
                the tenant metered.

        Returns:
            The balance after that.

        Raises:
            InvalidTask: If the tenant has no such name.
            InvalidSetting: If *credits* is no whole number up to 10**15.
        """
        if type(credits) is not int or abs(credits) > _MOST_CREDITS:
            raise InvalidSetting("credits", credits, f"a whole number up to {_MOST_CREDITS:,}")
        return await self.store.grant(check_tenant(tenant), credits)

    async def balance(self, tenant: str) -> Balance | None:
        """Return a tenant's credits; None if it is not metered."""
        return await self.store.balance(check_tenant(tenant))
