"""Counts the calls that go to the server, and lets one of them meet a fault.

It stands at the narrowest places: a wire's `call` and `call_all`, a client's `execute_command`. There is
no other way from this package to a server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest
from redis import exceptions as redis_errors
from redis.asyncio import Redis

from taskqueue.connect import Wire
from taskqueue.ranking import policy
from taskqueue.scripts import Script, load, script_names
from tests.faults.faults import Fault, Sent

Words = tuple[Any, ...]
Send = Callable[..., Awaitable[Any]]

MAKE_IDS = ("codec", "queue.waiting", "store.crediting", "store.operating")
PAUSE = ("store.calling", "connect.connector", "queue.waiting")
POLICIES = ("strict", "fair_within_priority", "fair_tenants")


class Injector:
    """What stands between the package and the server.

    Attributes:
        calls: What went out since `watch` was called, in order.
        fault: What the call that is chosen meets; None: nothing happens.
        times: How many calls meet it, one after the other.
        met: The first call that met it; None if none did.
        made: How many ids were made: each run makes the same.
        spoil: Changes the words of scripts that go out after the fault: a guard that is missing.
    """

    def __init__(self) -> None:
        self.calls: list[Sent] = []
        self.fault: Fault | None = None
        self.times = 1
        self.met: Sent | None = None
        self.spoil: Callable[[Words], Words] | None = None
        self._is_watching = False
        self._number = 0
        self._left = 0
        self._late: Callable[[], Awaitable[Any]] | None = None
        self._names: dict[str, Script] = {}
        self.made = 0

    def watch(self, number: int = 0, fault: Fault | None = None) -> None:
        """Count from here on; call number *number*, from 1, meets *fault* if it can."""
        self.calls, self.met = [], None
        self._is_watching, self._number, self.fault, self._late = True, number, fault, None
        self._left = self.times

    def rest(self) -> None:
        """Let everything through, uncounted."""
        self._is_watching = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Stand there as long as the context lasts."""
        call, call_all, command = Wire.call, Wire.call_all, Redis.execute_command

        def wire_call(wire: Wire, *words: Any) -> Awaitable[Any]:
            return self._pass(words, partial(call, wire), wire.cut)

        def client_call(client: Redis, *words: Any, **options: Any) -> Awaitable[Any]:
            return self._pass(words, partial(command, client, **options), lambda: None)

        async def wire_call_all(wire: Wire, *commands: Words) -> list[Any]:
            return await self._pass_all(commands[0], partial(call_all, wire, *commands), wire.cut)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Wire, "call", wire_call)
            patch.setattr(Redis, "execute_command", client_call)
            patch.setattr(Wire, "call_all", wire_call_all)
            for module in MAKE_IDS:
                patch.setattr(f"taskqueue.{module}.new_id", self._make_id)
            for module in PAUSE:
                patch.setattr(f"taskqueue.{module}._FIRST_PAUSE", 0.0)
            yield

    def _make_id(self) -> str:
        self.made += 1
        return f"made-{self.made}"

    def _take(self, sent: Sent) -> Fault | None:
        """Count a call; return the fault that it meets."""
        if not self._is_watching:
            return None
        self.calls.append(sent)
        fault = self.fault
        is_its_turn = len(self.calls) == self._number or self.met is not None
        if fault is None or not (is_its_turn and self._left and fault.meets(sent)):
            return None
        self._left -= 1
        self.met = self.met or sent
        return fault

    def _pass(self, words: Words, send: Send, cut: Callable[[], None]) -> Awaitable[Any]:
        if not self._is_watching:
            return send(*words)
        # Counted here, not when it is awaited: calls are numbered in the order in which they are made.
        fault = self._take(self._seen(words))
        return self._meet(fault, words, send, cut)

    async def _meet(self, fault: Fault | None, words: Words, send: Send, cut: Callable[[], None]) -> Any:
        if fault is None:
            if self.met is not None and self.spoil is not None:
                words = self.spoil(words)
            reply = await send(*words)
            late, self._late = self._late, None
            if late is not None:
                # Nobody hears what it answers.
                with suppress(redis_errors.RedisError):
                    await late()
            return reply
        if fault.runs == "before":
            await send(*words)
        elif fault.runs == "late":
            self._late = partial(send, *words)
        if fault.cuts:
            cut()
        raise fault.error()

    async def _pass_all(
        self, words: Words, send: Callable[[], Awaitable[list[Any]]], cut: Callable[[], None]
    ) -> list[Any]:
        """Pass a script and the WAIT behind it."""
        fault = self._take(self._seen(words, is_durable=True)) if self._is_watching else None
        if fault is None:
            return await send()
        replies = await send() if fault.runs == "before" or fault.on_wait else []
        if fault.cuts:
            cut()
            raise fault.error()
        return [replies[0] if fault.on_wait else fault.error(), fault.error() if fault.on_wait else 0]

    def _seen(self, words: Words, *, is_durable: bool = False) -> Sent:
        command = str(words[0]).split(" ")[0]
        if command == "EVALSHA":
            script = self._script(words[1])
        elif command == "FCALL":
            script = self._script(words[1].removeprefix("tq_").rpartition("_")[0])
        elif command == "EVAL":
            shebang, name = words[1].split("\n", 2)[:2]
            return Sent(command, name.removeprefix("-- "), shebang, is_durable)
        else:
            return Sent(command)
        return Sent(command, script.name, script.source.split("\n", 1)[0], is_durable)

    def _script(self, known_as: str) -> Script:
        if known_as not in self._names:
            for name in script_names():
                for rule in ("", *(policy(each).lua for each in POLICIES)):
                    script = load(name, rule)
                    self._names[script.sha] = self._names[name] = script
        return self._names[known_as]
