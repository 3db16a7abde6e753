"""The tenant's credits."""

from __future__ import annotations

from typing import Final

from taskqueue.api.exchange import Exchange
from taskqueue.api.replies import Reply, json_reply
from taskqueue.api.schemas import instant
from taskqueue.api.service import Service
from taskqueue.store import Balance

UNMETERED: Final = 2**53 - 1
"""What a tenant without a balance is told to have: the largest integer that every JSON client keeps."""


def remaining(balance: Balance | None) -> int:
    """Return what the contract calls `remaining`."""
    return UNMETERED if balance is None else balance.remaining


async def get(service: Service, exchange: Exchange) -> Reply:
    """Tell the balance and the cycle (contract: GET /v1/credits)."""
    exchange.query()
    tenant = exchange.tenant
    balance, plan = await service.queue.balance(tenant), await service.accounts.plan(tenant)
    resets_at = None if plan.resets_at is None else instant(round(plan.resets_at.timestamp() * 1000))
    body = {"remaining": remaining(balance), "perCycle": plan.per_cycle, "cycleResetsAt": resets_at}
    return json_reply(body)
