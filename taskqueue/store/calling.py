"""Runs scripts on the server, and deals with everything that can go wrong on the way.

Every script may be run again with the same arguments: enqueue knows its ids, a claim its request,
a report its token, others a name of the call. So a call whose fate is unknown (a lost connection, no
reply in time) is simply made again, with full jitter, until `patience` is over; then
`ServerUnavailable` says what was tried.

| reply                                        | was it run?    | what is done                    |
|----------------------------------------------|----------------|---------------------------------|
| no reply, connection lost                    | unknown        | again                           |
| NOSCRIPT                                     | no             | at once, with the source (EVAL) |
| "Function not found"                         | no             | at once, loaded; later: again   |
| LOADING READONLY MASTERDOWN CLUSTERDOWN ...  | no             | again                           |
| TRYAGAIN, ASK, "non local key" (moving slot) | no: read first | again                           |
| MOVED                                        | no             | again, where the slot is now    |
| BUSY NOREPLICAS MISCONF                      | no             | again                           |
| a WAIT that a demoted master refuses         | yes            | again                           |
| OOM                                          | no             | ServerFull                      |
| NOAUTH WRONGPASS NOPERM                      | no             | ServerUnsuitable                |
| WRONGTYPE and other errors of a script       | no: read first | QueueCorrupt                    |
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from redis import exceptions as redis_errors

from taskqueue.connect.passing import NO_FUNCTION, NOT_ALLOWED, may_be_retried
from taskqueue.connect.wire import REPLY_TIMEOUT, BlockingWires, Wire
from taskqueue.errors import QueueCorrupt, ServerFull, ServerUnavailable, ServerUnsuitable, TaskQueueError
from taskqueue.functions import Library
from taskqueue.keys import Keys
from taskqueue.scripts import Script, ScriptSet
from taskqueue.task import Durability

logger = logging.getLogger("taskqueue.store")

DEFAULT_PATIENCE = 30.0
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0


class NoQueue(TaskQueueError):
    """The queue has no settings: it was wiped, or never opened. The caller opens it again."""


def explained(error: Exception, what: str) -> Exception:
    """Return the error of this package that tells a person what *error* means for them."""
    if isinstance(error, redis_errors.OutOfMemoryError) or str(error).startswith("OOM"):
        return ServerFull(f"{what}: the server has reached its memory limit and takes no new tasks")
    if isinstance(error, NOT_ALLOWED):
        return ServerUnsuitable(f"{what}: the server refuses this user: {error}")
    if isinstance(error, redis_errors.ResponseError):
        return QueueCorrupt(f"{what}: the server reports {error}")
    return error


class Caller:
    """Calls the scripts of one queue over one client.

    Args:
        client: A redis-py asyncio client (standalone, Sentinel or cluster) without retries of its own.
        keys: The queue's keys.
        scripts: The queue's scripts.
        patience: Seconds for which a call is made again before it gives up.
        clock: Epoch milliseconds to use in place of the server's clock; for tests.
    """

    def __init__(
        self,
        client: Any,
        keys: Keys,
        scripts: ScriptSet,
        *,
        patience: float = DEFAULT_PATIENCE,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.client = client
        self.wire = Wire(client, key=keys.meta)
        self._confirming = BlockingWires(client, key=keys.meta, reply_timeout=REPLY_TIMEOUT)
        self.keys = keys
        self.scripts = scripts
        self.patience = patience
        self.clock = clock
        self._takes_functions = True

    def now(self) -> int | str:
        """Return what the scripts take as `now`: nothing, unless a test owns the clock."""
        return "" if self.clock is None else self.clock()

    async def run(self, name: str, /, *, patience: float | None = None, **named: Any) -> Any:
        """Run one script and return its reply.

        Args:
            name: The script.
            patience: Seconds, in place of the caller's own.
            named: Every KEYS and ARGV name of its header but meta, prefix and now.

        Raises:
            NoQueue: The queue has no settings.
            ServerUnavailable: No usable answer within *patience*.
            ServerFull: The server is out of memory, and the script needs some.
            ServerUnsuitable: The server refuses this user.
            QueueCorrupt: The script met something that no version of this package writes.
        """
        script = self.scripts[name]
        arguments = script.arguments(meta=self.keys.meta, prefix=self.keys.prefix, now=self.now(), **named)
        reply = await self.persist(lambda: self._evaluate(script, arguments), name, patience, None)
        return _settled(reply)

    async def run_durably(
        self,
        name: str,
        level: Durability,
        copies: int,
        timeout_ms: int,
        /,
        *,
        patience: float | None = None,
        **named: Any,
    ) -> tuple[Any, int]:
        """Run one script and wait for its durability on the same connection.

        Returns:
            The reply of the script, and how many confirmations came within *timeout_ms*.

        Raises:
            What `run` raises.
        """
        script = self.scripts[name]
        arguments = script.arguments(meta=self.keys.meta, prefix=self.keys.prefix, now=self.now(), **named)
        confirm = ("WAITAOF", 1, 0) if level is Durability.FSYNC else ("WAIT", copies)

        async def call() -> tuple[Any, Any]:
            # WAIT counts what its own connection wrote; from another one it would say too much.
            async def send(*command: str) -> list[Any]:
                return await self._confirming.call_all((*command, *arguments), (*confirm, timeout_ms))

            reply, confirmed = await send("EVALSHA", script.sha)
            if isinstance(reply, redis_errors.NoScriptError):
                reply, confirmed = await send("EVAL", script.source)
            for answer in (reply, confirmed):
                if isinstance(answer, Exception):
                    raise answer
            return reply, confirmed

        reply, confirmed = await self.persist(call, name, patience)
        return _settled(reply), confirmed[0] if isinstance(confirmed, list) else confirmed

    async def persist(
        self, call: Callable[[], Any], what: str, patience: float | None, within: float | None = REPLY_TIMEOUT
    ) -> Any:
        """Await *call* again and again while its errors allow it and patience lasts.

        Each try has *within* seconds; None leaves that to the call. The clients have no time-out of
        their own: theirs costs a task for every write. A wire has.
        """
        loop = asyncio.get_running_loop()
        allowed = self.patience if patience is None else patience
        started = loop.time()
        pause = _FIRST_PAUSE
        tries = 0
        while True:
            tries += 1
            try:
                if within is None:
                    return await call()
                async with asyncio.timeout(within):
                    return await call()
            except (redis_errors.RedisError, redis_errors.RedisClusterException, OSError) as error:
                spent = loop.time() - started
                if not may_be_retried(error):
                    raise explained(error, what) from error
                if spent >= allowed:
                    raise ServerUnavailable(
                        f"{what}: no usable answer after {tries} tries in {spent:.1f} s; "
                        f"the last problem was: {error}"
                    ) from error
                logger.debug("%s: %r, trying again", what, error)
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, not a secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def aclose(self) -> None:
        """Drop the connections for scripts. The client is left to its owner."""
        await self.wire.aclose()
        await self._confirming.aclose()

    async def _evaluate(self, script: Script, arguments: list[Any]) -> Any:
        if script.library is not None and self._takes_functions and self.wire.is_direct:
            try:
                return await self.wire.call("FCALL", script.library.name, *arguments)
            except redis_errors.ResponseError as error:
                # None of these calls did anything.
                if str(error).startswith(NO_FUNCTION):
                    if await self._load(script.library):
                        return await self.wire.call("FCALL", script.library.name, *arguments)
                elif isinstance(error, redis_errors.NoPermissionError) or "unknown command" in str(error):
                    self._give_functions_up(error)
                else:
                    raise
        try:
            return await self.wire.call("EVALSHA", script.sha, *arguments)
        except redis_errors.NoScriptError:
            # After a restart, a failover or SCRIPT FLUSH. EVAL also loads it for the next call.
            return await self.wire.call("EVAL", script.source, *arguments)

    async def _load(self, library: Library) -> bool:
        """Have the server learn a function; return whether it did."""
        try:
            await self.wire.call("FUNCTION", "LOAD", "REPLACE", library.code)
        except redis_errors.ResponseError as error:
            if not may_be_retried(error) and not isinstance(error, redis_errors.OutOfMemoryError):
                self._give_functions_up(error)
            return False
        return True

    def _give_functions_up(self, error: Exception) -> None:
        """Use scripts from now on, which do the same in more of the server's time."""
        self._takes_functions = False
        logger.info("the server takes no functions (%s); scripts are used in their place", error)


def _settled(reply: Any) -> Any:
    if reply and reply[0] == b"no_queue":
        raise NoQueue("the queue has no settings: its data was wiped while it was in use")
    return reply
