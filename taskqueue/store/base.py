"""What all verbs of the store share: the queue's settings, its caller, its durability."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

from redis import exceptions as redis_errors

from taskqueue.connect.passing import may_be_retried
from taskqueue.connect.wire import REPLY_TIMEOUT, BlockingWires, close_client
from taskqueue.errors import InvalidSetting, QueueCorrupt, QueueMismatch, ServerUnsuitable
from taskqueue.keys import Keys
from taskqueue.ranking import Order, Policy, policy
from taskqueue.scripts import ScriptSet
from taskqueue.settings import DEFAULT_RETENTION
from taskqueue.store.calling import DEFAULT_PATIENCE, Caller, NoQueue
from taskqueue.store.replies import QueueSettings
from taskqueue.task import Durability

SCHEMA = 1
STRENGTH = {Durability.MEMORY: 0, Durability.REPLICATED: 1, Durability.FSYNC: 2}
LONGEST_WAIT = 10.0
"""Seconds for which a blocking command may wait on the server."""
CONFIRM_MS = 2000
"""How long a confirmation may take: well below the time-out of a reply, which would look like an outage."""


class StoreBase:
    """The connection of a store to its queue.

    Args:
        client: A redis-py asyncio client without retries of its own.
        keys: The queue's keys.
        patience: Seconds for which a call is repeated before it raises `ServerUnavailable`.
        shebang: False for a server that does not know `#!lua` (fakeredis).
        replicas: Confirmations that durability `replicated` waits for.
        clock: Epoch milliseconds to use in place of the server's clock; for tests.
    """

    def __init__(
        self,
        client: Any,
        keys: Keys,
        *,
        patience: float = DEFAULT_PATIENCE,
        shebang: bool = True,
        replicas: int = 1,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.keys = keys
        self.settings = QueueSettings(Order(), "strict", SCHEMA, "", DEFAULT_RETENTION)
        self._client = client
        self._waits = BlockingWires(client, key=keys.meta, reply_timeout=LONGEST_WAIT + REPLY_TIMEOUT)
        self._shebang = shebang
        self._replicas = replicas
        self._wanted: tuple[Order | None, Policy | None, timedelta | None] = (None, None, None)
        opening = ScriptSet("", names=("open",), shebang=shebang)
        self._caller = Caller(client, keys, opening, patience=patience, clock=clock)
        self._safe_levels: set[Durability] = {Durability.MEMORY}
        self._synced_by_server = False

    def sibling(self, client: Any) -> Self:
        """Return a store of the same queue, with the same options, on a client of another event loop.

        It must be opened, and closed, by itself.
        """
        return type(self)(
            client,
            self.keys,
            patience=self._caller.patience,
            shebang=self._shebang,
            replicas=self._replicas,
            clock=self._caller.clock,
        )

    async def open(
        self,
        order: Order | None = None,
        policy_wanted: str | Policy | None = None,
        retention: timedelta | None = None,
        *,
        patience: float | None = None,
    ) -> QueueSettings:
        """Make the queue if it is new, and follow its settings if it is not.

        Args:
            order: Refused if the queue has another one; None follows the queue (new: strict).
            policy_wanted: Likewise (new: `strict`).
            retention: Stored if given, also over another one.
            patience: Seconds, in place of the store's own.

        Raises:
            QueueMismatch: The queue exists with another order or policy.
            InvalidSetting: The queue's policy is not known in this process: register it first.
            ServerUnsuitable: A newer version of this package made the queue.
        """
        rule = None if policy_wanted is None else policy(policy_wanted)
        self._wanted = (order, rule, retention)
        new = order or Order()
        settings = {
            "schema": SCHEMA,
            "order": new.stored,
            "lowest_priority": new.lowest_priority,
            "highest_priority": new.highest_priority,
            "stride": 2**45 if new.stride is None else new.stride,
            "bounded": int(new.stride is not None),
            "max_sequence": new.max_sequence,
            "policy": rule.name if rule else "strict",
            "retention": _ms(retention or DEFAULT_RETENTION),
        }
        reply = await self._caller.run(
            "open",
            patience=patience,
            dataset=secrets.token_hex(8),
            retention="" if retention is None else _ms(retention),
            rest=[text for pair in settings.items() for text in pair],
        )
        values = {name.decode(): value.decode() for name, value in zip(reply[1::2], reply[2::2], strict=True)}
        self.settings = self._read_settings(values)
        self._refuse_mismatch(order, rule)
        scripts = ScriptSet(policy(self.settings.policy).lua, shebang=self._shebang)
        self._caller.scripts = scripts
        return self.settings

    def _read_settings(self, values: dict[str, str]) -> QueueSettings:
        try:
            schema = int(values["schema"])
            if schema > SCHEMA:
                raise ServerUnsuitable(
                    f"queue {self.keys.name!r} has layout {schema}, this version knows {SCHEMA}: update it"
                )
            order = Order.parse(
                values["order"],
                lowest_priority=int(values["lowest_priority"]),
                highest_priority=int(values["highest_priority"]),
            )
            retention = timedelta(milliseconds=int(values["retention"]))
            return QueueSettings(order, values["policy"], schema, values["dataset"], retention)
        except (KeyError, ValueError) as error:
            raise QueueCorrupt(f"{self.keys.meta} holds no settings of a queue: {error!r}") from error

    def _refuse_mismatch(self, order: Order | None, rule: Policy | None) -> None:
        stored = self.settings
        if order is not None:
            for setting in ("stride", "lowest_priority", "highest_priority"):
                ours, theirs = getattr(order, setting), getattr(stored.order, setting)
                if ours != theirs:
                    raise QueueMismatch(self.keys.name, setting, theirs, ours)
        if rule is not None and rule.name != stored.policy:
            raise QueueMismatch(self.keys.name, "policy", stored.policy, rule.name)

    async def _run(self, script: str, /, *, patience: float | None = None, **named: Any) -> Any:
        """Run a script; a queue that was wiped meanwhile is made again, as it was asked for."""
        try:
            return await self._caller.run(script, patience=patience, **named)
        except NoQueue:
            await self.open(*self._wanted, patience=patience)
            return await self._caller.run(script, patience=patience, **named)

    async def _run_durably(
        self, script: str, level: Durability, /, *, confirm_ms: int = CONFIRM_MS, **named: Any
    ) -> tuple[Any, tuple[int, int] | None]:
        """Run a script at a durability level; also return (wanted, reached) if it was not confirmed."""
        if level is Durability.MEMORY:
            return await self._run(script, **named), None
        await self._ensure_level(level)
        if level is Durability.FSYNC and self._synced_by_server:
            return await self._run(script, **named), None
        wanted = 1 if level is Durability.FSYNC else self._replicas
        try:
            reply, reached = await self._caller.run_durably(script, level, wanted, confirm_ms, **named)
        except NoQueue:
            await self.open(*self._wanted, patience=named.get("patience"))
            reply, reached = await self._caller.run_durably(script, level, wanted, confirm_ms, **named)
        return reply, None if reached >= wanted else (wanted, reached)

    async def _ensure_level(self, level: Durability) -> None:
        """Refuse a level that the server cannot give, before anything is written at it."""
        if level in self._safe_levels:
            return
        if level is Durability.FSYNC:
            await self._check_fsync()
        self._safe_levels.add(level)

    async def _check_fsync(self) -> None:
        async def read() -> Any:
            return await self._caller.wire.call("CONFIG", "GET", "append*")

        try:
            found = await self._caller.persist(read, "durability fsync", None)
            config = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
            config = {_text(name): _text(value) for name, value in config.items()}
        except ServerUnsuitable:
            config = {}
        if config.get("appendonly") == "yes" and config.get("appendfsync") == "always":
            self._synced_by_server = True
            return
        refusal = await self._caller.persist(self._try_waitaof, "durability fsync", None)
        if refusal is not None:
            raise ServerUnsuitable(  # pragma: no cover - tested; what traces Python 3.11 does not see it
                "durability 'fsync' needs `appendonly yes`, and either `appendfsync always` or a server with "
                f"WAITAOF (Redis 7.2, Valkey 7.2): {refusal}"
            ) from refusal

    async def _try_waitaof(self) -> Exception | None:
        try:
            await self._waits.call("WAITAOF", 1, 0, CONFIRM_MS)
        except redis_errors.ResponseError as error:
            if may_be_retried(error):
                raise
            return error
        return None

    async def close(self) -> None:
        """Close the store's connections and its client."""
        await self._caller.aclose()
        await self._waits.aclose()
        await close_client(self._client)


def _ms(duration: timedelta) -> int:
    ms = duration // timedelta(milliseconds=1)
    if ms <= 0:
        raise InvalidSetting("retention", duration, "longer than a millisecond")
    return ms


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
