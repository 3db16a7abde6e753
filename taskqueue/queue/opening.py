"""Opening a queue: its options are checked, its server is looked at, its settings are compared."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskqueue.connect import Connector, close_client
from taskqueue.errors import InvalidSetting, QueueMismatch
from taskqueue.keys import Keys
from taskqueue.names import check_queue_name
from taskqueue.ranking import Order, Policy
from taskqueue.ranking import policy as find_policy
from taskqueue.rules import DURABILITY_RULE, check_count
from taskqueue.scripts import ScriptSet
from taskqueue.server_checks import check_server, refuse_unsuitable
from taskqueue.settings import DEFAULT_MAX_PAYLOAD, DEFAULT_NAME, HIGHEST_MAX_PAYLOAD
from taskqueue.store import Store
from taskqueue.store.calling import DEFAULT_PATIENCE, Caller
from taskqueue.task import Durability

LONGEST_OPENING = 5.0
"""Seconds in which a server must answer for the first time, if patience does not end before."""

_SHORTEST_RETENTION, _LONGEST_RETENTION = timedelta(seconds=1), timedelta(days=365)

_log = logging.getLogger("taskqueue.queue")


@dataclass(slots=True, kw_only=True)
class QueueOptions:
    """How a queue is opened; `TaskQueue.connect()` says what each option means.

    `mark` stands behind the ids that are made here, for queues that are partitions of one.

    Raises:
        InvalidSetting: If one breaks its rule.
    """

    name: str = DEFAULT_NAME
    policy: str | Policy | None = None
    stride: int | None = None
    highest_priority: int | None = None
    durability: Durability | str = Durability.MEMORY
    retention: timedelta | None = None
    max_payload: int = DEFAULT_MAX_PAYLOAD
    max_queued: int | None = None
    patience: float = DEFAULT_PATIENCE
    clock: Callable[[], int] | None = None
    mark: str = ""

    def __post_init__(self) -> None:
        check_queue_name(self.name)
        if self.policy is not None:
            find_policy(self.policy)
        Order(**self.order_given)
        if self.durability not in set(Durability):
            raise InvalidSetting("durability", self.durability, DURABILITY_RULE)
        self.durability = Durability(self.durability)
        if self.retention is not None and not (
            isinstance(self.retention, timedelta)
            and _SHORTEST_RETENTION <= self.retention <= _LONGEST_RETENTION
        ):
            raise InvalidSetting("retention", self.retention, "a timedelta from 1 second to 365 days")
        check_count("max_payload", self.max_payload, 1, HIGHEST_MAX_PAYLOAD)
        if self.max_queued is not None:
            check_count("max_queued", self.max_queued, 1, 10**12)
        if (
            isinstance(self.patience, bool)
            or not isinstance(self.patience, int | float)
            or not (math.isfinite(self.patience) and self.patience >= 0)
        ):
            raise InvalidSetting("patience", self.patience, "a number of seconds, 0 or more")
        if self.clock is not None and not callable(self.clock):
            raise InvalidSetting("clock", self.clock, "a function that returns epoch milliseconds")

    @property
    def order_given(self) -> dict[str, Any]:
        """The settings of the order that the caller named; the others follow the queue."""
        named = {"stride": self.stride, "highest_priority": self.highest_priority}
        return {setting: value for setting, value in named.items() if value is not None}


@asynccontextmanager
async def open_store(connector: Connector, options: QueueOptions) -> AsyncIterator[Store]:
    """Open a queue on the server that *connector* names, and close it in the end.

    Raises:
        ServerUnavailable: If the server does not answer in time.
        ServerUnsuitable: If it cannot keep the promises; `QueueMismatch` if the queue exists with
            other settings.
    """
    await connector.open(min(LONGEST_OPENING, options.patience))
    try:
        store = Store(
            connector.client(),
            Keys(options.name),
            patience=options.patience,
            shebang=connector.kind != "memory",
            clock=options.clock,
        )
        try:
            await _look_at_server(connector, options)
            await _open_queue(store, options)
            yield store
        finally:
            await store.close()
    finally:
        await connector.close()


async def _look_at_server(connector: Connector, options: QueueOptions) -> None:
    client = connector.client()
    try:
        caller = Caller(client, Keys(options.name), ScriptSet("", names=()), patience=options.patience)
        findings = await caller.persist(lambda: check_server(client), "looking at the server", None)
    finally:
        await close_client(client)
    refuse_unsuitable(findings)
    for finding in findings:
        if finding.level == "warning":
            _log.warning("%s: %s. %s", connector.url_shown, finding.message, finding.advice)


async def _open_queue(store: Store, options: QueueOptions) -> None:
    given = options.order_given
    try:
        await store.open(Order(**given) if given else None, options.policy, options.retention)
    except QueueMismatch as mismatch:
        # It may only concern what was filled in because the caller named the other half.
        if mismatch.setting == "policy" or mismatch.setting in given:
            raise
        settings = await store.open(None, options.policy, options.retention)
        for setting, wanted in given.items():
            stored = getattr(settings.order, setting)
            if stored != wanted:
                raise QueueMismatch(options.name, setting, stored, wanted) from None
