"""The only door to the server: one typed method for each script.

`Store` speaks in tasks and words; keys, scripts and replies stay behind it. Its verbs stand in files
by who asks, producers, workers, maintenance, operators, and by what: lists, credits, accounts.
"""

from __future__ import annotations

from taskqueue.store.accounting import AccountVerbs, RateRequest, StoredKey
from taskqueue.store.crediting import CreditVerbs
from taskqueue.store.listing import ListVerbs, Position, TaskPage
from taskqueue.store.maintaining import CRASHES_ALLOWED, MaintenanceVerbs
from taskqueue.store.operating import UNSET, OperatorVerbs, Unset
from taskqueue.store.producing import MOST_BYTES, MOST_TASKS, Withheld
from taskqueue.store.providing import Condition, ProviderState, ProviderVerbs, Switched, Verdict
from taskqueue.store.replies import (
    Accepted,
    Balance,
    Claim,
    ClaimedTask,
    ClaimRequest,
    Completion,
    Ended,
    Extension,
    Failure,
    Limit,
    Promoted,
    Purged,
    QueueSettings,
    Reaped,
    Release,
    Repaired,
    Stats,
)
from taskqueue.store.working import CALLS_AT_ONCE, WorkerVerbs

__all__ = [
    "CALLS_AT_ONCE",
    "CRASHES_ALLOWED",
    "MOST_BYTES",
    "MOST_TASKS",
    "UNSET",
    "Accepted",
    "Balance",
    "Claim",
    "ClaimRequest",
    "ClaimedTask",
    "Completion",
    "Condition",
    "Ended",
    "Extension",
    "Failure",
    "Limit",
    "Position",
    "Promoted",
    "ProviderState",
    "Purged",
    "QueueSettings",
    "RateRequest",
    "Reaped",
    "Release",
    "Repaired",
    "Stats",
    "Store",
    "StoredKey",
    "Switched",
    "TaskPage",
    "Unset",
    "Verdict",
    "Withheld",
]


class Store(
    OperatorVerbs, ListVerbs, WorkerVerbs, MaintenanceVerbs, CreditVerbs, AccountVerbs, ProviderVerbs
):
    """All verbs of a queue; see the base classes. `open()` must be awaited first."""
