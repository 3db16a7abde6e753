"""What the model knows of credits: what was granted, what was charged and why, who waits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

POOR_AT_ONCE = 50
"""How many tasks one claim ends at the most because they cannot be paid."""


class Charge(NamedTuple):
    """One completed task of a tenant and what it cost; unmetered: nobody kept account of it."""

    tenant: str
    task: str
    credits: int
    is_metered: bool


@dataclass
class Accounts:
    """The credits of all tenants. What runs holds its credits in its own record, not here."""

    granted: dict[str, int] = field(default_factory=dict)
    history: list[Charge] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)

    def is_metered(self, tenant: str) -> bool:
        """Whether the tenant was ever granted anything, if only 0."""
        return tenant in self.granted

    def grant(self, tenant: str, credits: int) -> None:  # noqa: A002 - the field's word
        """Give or take back; whoever waits looks again."""
        self.granted[tenant] = self.granted.get(tenant, 0) + credits
        self.waiting.discard(tenant)

    def spent(self, tenant: str) -> int:
        """Return the sum of what was charged since the tenant is metered."""
        return sum(each.credits for each in self.history if each.is_metered and each.tenant == tenant)

    def left(self, tenant: str) -> float:
        """Return what is left of the grants, holds not counted; infinite for who is not metered."""
        return self.granted[tenant] - self.spent(tenant) if tenant in self.granted else math.inf

    def end_hold(self, tenant: str, hold: int | None, asked: int) -> int:
        """Return what a lease that ends is charged, at most what it held; its end ends the waiting."""
        if hold is None:
            return asked
        self.waiting.discard(tenant)
        return min(asked, hold)
