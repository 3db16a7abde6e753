"""Every script in the middle of real work: a queue with something of everything, and one call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from taskqueue.codec import encode_value
from taskqueue.store import Completion, Failure, RateRequest, Release, Verdict
from taskqueue.store.rates import RateTicket, Whole
from tests.lua.prepared import (
    CHAINS,
    TYPES,
    Act,
    Held,
    break_indexes,
    claimed_before,
    days_pass,
    leases_run_out,
    nothing_is_left,
    set_secret,
    time_passes,
)
from tests.lua.scene import BOOM, LEASE_MS, Scene

RESULT = encode_value({"answer": 42}, field="result", max_bytes=100)
VALUE = b"\x05"
OF_ALL_STATES = ["acme-1", "zeta-late", "done", "dead", "cancelled", "held", "ghost"]


@dataclass(frozen=True)
class Call:
    """A script, and the arguments by name that the store gave it."""

    script: str
    arguments: dict[str, Any]

    async def make(self, scene: Scene) -> Any:
        """Make this one call, past everything that the store does around it."""
        return await scene.store._caller.run(self.script, **self.arguments)


@dataclass(frozen=True)
class Situation:
    """One call of a script, in the queue that `prepare` makes.

    Attributes:
        script: The script.
        about: What is special about it.
        act: The method of the store that makes the call, with the tasks that are held.
        meanwhile: What else is done before.
        halfway: What the call may have done alone if it fails later: scripts that are two in one.
    """

    script: str
    about: str
    act: Act
    meanwhile: Act | None = None
    halfway: Act | None = None

    def __str__(self) -> str:
        return f"{self.script}-{self.about}".replace(" ", "_")


def completions(held: Held) -> list[Completion]:
    """Report two tasks as done, one of them with a key."""
    return [Completion(name, held[name].token, RESULT) for name in ("held", "held-key")]


SITUATIONS = [
    Situation(
        "enqueue",
        "first of a type",
        lambda scene, held: scene.store.enqueue([scene.entry("first", type="NEW", tenant="new")]),
    ),
    Situation("open", "again", lambda scene, held: scene.store.open(retention=timedelta(hours=3))),
    Situation(
        "enqueue",
        "of all kinds",
        lambda scene, held: scene.offer(
            scene.entry("new-1", tenant="acme"),
            scene.entry("new-2", tenant="zeta", idempotency_key="new"),
            scene.entry("new-3", tenant="new", delay=timedelta(seconds=5)),
            scene.entry("new-4", tenant="acme", reserve=True),
            scene.entry("new-5", type="NEW"),
            scene.entry("acme-1", tenant="acme", priority=3),
            scene.entry("new-6", tenant="zeta", idempotency_key="k"),
            max_queued=100,
        ),
    ),
    Situation(
        "enqueue",
        "of requests",
        lambda scene, held: scene.store.enqueue(
            [scene.entry(name, tenant="acme", idempotency_key=name) for name in ("new-1", "new-2", "new-3")],
            tickets=[RateTicket(key_id, "GET /a", 1) for key_id in ("key-1", "key-2", "key-2")],
        ),
    ),
    Situation(
        "enqueue",
        "of a request without room",
        lambda scene, held: scene.store.enqueue(
            [scene.entry("new-1", tenant="acme")], whole=Whole(9, RateTicket("k", "GET /a", 1)), max_queued=9
        ),
    ),
    Situation("claim", "ready", lambda scene, held: scene.claim(TYPES, limit=4)),
    Situation(
        "claim",
        "due",
        lambda scene, held: scene.claim(TYPES, limit=9),
        meanwhile=time_passes,
        halfway=lambda scene, held: scene.store.promote(200),
    ),
    Situation(
        "claim",
        "replayed",
        lambda scene, held: scene.claim(TYPES, limit=2, request="again"),
        meanwhile=claimed_before,
    ),
    Situation("claim", "credits", lambda scene, held: scene.claim(("GROK", "PAID"), limit=9)),
    Situation("claim", "without room", lambda scene, held: scene.claim(("ROUTED",), chains=CHAINS)),
    Situation(
        "claim",
        "for a new provider",
        lambda scene, held: scene.claim(("ROUTED",), chains={"ROUTED": ("alpha", "gamma")}),
    ),
    Situation(
        "complete",
        "with tokens",
        lambda scene, held: scene.store.complete(
            [Completion("routed-1", held["routed-1"].token, RESULT, tokens=70)],
            scene.request(("ROUTED",), chains=CHAINS),
        ),
        halfway=lambda scene, held: scene.store.complete(
            [Completion("routed-1", held["routed-1"].token, RESULT, tokens=70)]
        ),
    ),
    Situation(
        "complete",
        "charged",
        lambda scene, held: scene.store.complete(
            [
                Completion("paid", held["paid"].token, RESULT, charge=7),
                Completion("told", held["told"].token, RESULT),
            ]
        ),
    ),
    Situation(
        "complete",
        "told",
        lambda scene, held: scene.store.complete([Completion("told", held["told"].token, RESULT)]),
    ),
    Situation("complete", "alone", lambda scene, held: scene.store.complete(completions(held))),
    Situation(
        "complete",
        "and claim",
        lambda scene, held: scene.store.complete(completions(held), scene.request(TYPES, limit=4)),
        halfway=lambda scene, held: scene.store.complete(completions(held)),
    ),
    Situation(
        "fail",
        "in all ways",
        lambda scene, held: scene.store.fail(
            [
                Failure("held", held["held"].token, BOOM, 5000),
                Failure("held-key", held["held-key"].token, BOOM),
                Failure("stopping", held["stopping"].token, BOOM, 0),
                Failure("expired", held["expired"].token, BOOM, 0),
                Failure("paid", held["paid"].token, BOOM, 0),
                Failure("told", held["told"].token, BOOM),
                Failure("routed-1", held["routed-1"].token, BOOM, 0),
            ]
        ),
    ),
    Situation(
        "release",
        "in all ways",
        lambda scene, held: scene.store.release(
            [
                Release("held", held["held"].token),
                Release("held-key", held["held-key"].token, 2000),
                Release("stopping", held["stopping"].token),
                Release("paid", held["paid"].token),
                Release("routed-1", held["routed-1"].token),
            ]
        ),
    ),
    Situation(
        "switch", "to a new provider", lambda scene, held: leave(scene, held, "failed", ["beta", "gamma"])
    ),
    Situation("switch", "to none", lambda scene, held: leave(scene, held, "limited", ["beta"])),
    Situation(
        "extend",
        "some",
        lambda scene, held: scene.store.extend(
            "worker-2",
            [("held", held["held"].token), ("stopping", held["stopping"].token), ("dead", "1-x")],
            9000,
        ),
    ),
    Situation(
        "progress", "held", lambda scene, held: scene.store.progress("held", held["held"].token, VALUE)
    ),
    Situation("promote", "due", lambda scene, held: scene.store.promote(), meanwhile=time_passes),
    Situation("reap", "expired", lambda scene, held: scene.store.reap(LEASE_MS), meanwhile=leases_run_out),
    Situation("reap", "hold", lambda scene, held: scene.store.reap(LEASE_MS), meanwhile=time_passes),
    Situation("cancel", "ready", lambda scene, held: scene.store.cancel("acme-1")),
    Situation("cancel", "delayed", lambda scene, held: scene.store.cancel("zeta-late")),
    Situation("cancel", "with a key", lambda scene, held: scene.store.cancel("acme-key")),
    Situation("cancel", "running", lambda scene, held: scene.store.cancel("held")),
    Situation("cancel", "what waits", lambda scene, held: scene.store.cancel_queued("acme-1")),
    Situation(
        "clear",
        "a lane",
        lambda scene, held: clear(scene, scene.keys.ready("GEMINI", "acme"), delayed=0),
    ),
    Situation(
        "clear",
        "delayed",
        lambda scene, held: clear(scene, scene.keys.delayed("zeta"), delayed=1),
    ),
    Situation("redrive", "dead", lambda scene, held: scene.store.redrive("dead-key")),
    Situation("discard", "finished", lambda scene, held: scene.store.discard(["dead", "done", "dead-key"])),
    Situation(
        "purge",
        "expired",
        lambda scene, held: scene.store.purge(),
        meanwhile=lambda scene, held: days_pass(scene),
    ),
    Situation("purge", "gone", lambda scene, held: scene.store.purge(), meanwhile=nothing_is_left),
    Situation("repair", "sound", lambda scene, held: scene.store.repair()),
    Situation(
        "repair",
        "broken",
        lambda scene, held: scene.store.repair(),
        meanwhile=lambda scene, held: break_indexes(scene),
    ),
    Situation("set_limit", "tenant", lambda scene, held: scene.store.set_limit(tenant="acme", concurrency=1)),
    Situation("set_limit", "type", lambda scene, held: scene.store.set_limit(type="GROK", concurrency=None)),
    Situation("pause", "tenant", lambda scene, held: scene.store.pause(tenant="acme")),
    Situation("pause", "type", lambda scene, held: scene.store.pause(type="GROK")),
    Situation("pause", "queue", lambda scene, held: scene.store.pause()),
    Situation("resume", "tenant", lambda scene, held: scene.store.resume(tenant="paused")),
    Situation("resume", "queue", lambda scene, held: scene.store.resume()),
    Situation(
        "set_provider",
        "limits",
        lambda scene, held: scene.store.set_provider("alpha", {"max": "9", "rate": "none"}),
    ),
    Situation(
        "set_provider",
        "forgotten",
        lambda scene, held: scene.store.set_provider("beta", {"paused": "none"}, fresh=True),
    ),
    Situation("providers", "two", lambda scene, held: scene.store.providers()),
    Situation("grant", "more", lambda scene, held: scene.store.grant("metered", 50)),
    Situation("grant", "less", lambda scene, held: scene.store.grant("metered", -50)),
    Situation("set_webhook_secret", "new", lambda scene, held: set_secret(scene, "zeta", b"new")),
    Situation("set_webhook_secret", "in an overlap", lambda scene, held: set_secret(scene, "acme", b"new")),
    Situation(
        "set_webhook_secret",
        "after an overlap",
        lambda scene, held: set_secret(scene, "acme", b"new"),
        meanwhile=lambda scene, held: days_pass(scene),
    ),
    Situation("set_webhook_secret", "again", lambda scene, held: set_secret(scene, "acme", b"second")),
    Situation("set_webhook_secret", "no more", lambda scene, held: scene.store.remove_webhook_secret("acme")),
    Situation(
        "set_webhook_standard",
        "on",
        lambda scene, held: scene.store.set_webhook_standard("acme", wanted=True),
    ),
    Situation("find_webhook_secrets", "two", lambda scene, held: scene.store.webhook_secrets("acme")),
    Situation("delivered", "first", lambda scene, held: scene.store.delivered("done")),
    Situation("create_key", "new", lambda scene, held: create_key(scene, "key-9", "digest-9")),
    Situation("create_key", "again", lambda scene, held: create_key(scene, "key-2", "digest-2")),
    Situation(
        "rotate_key",
        "with an overlap",
        lambda scene, held: scene.store.rotate_key("key-1", "key-9", "digest-9", 1000),
    ),
    Situation(
        "rotate_key",
        "at once, after another has ended",
        lambda scene, held: scene.store.rotate_key("key-1", "key-9", "digest-9", 0),
        meanwhile=lambda scene, held: days_pass(scene),
    ),
    Situation("revoke_key", "one of several", lambda scene, held: scene.store.revoke_key("key-1")),
    Situation("revoke_key", "the last", lambda scene, held: scene.store.revoke_key("key-2")),
    Situation(
        "find_keys", "known and unknown", lambda scene, held: scene.store.find_keys(["key-1", "key-8"])
    ),
    Situation(
        "touch_keys",
        "new, old and unknown",
        lambda scene, held: scene.store.touch_keys(["key-1", "key-2", "key-8"], 60_000),
    ),
    Situation(
        "admit",
        "in this second",
        lambda scene, held: scene.store.admit([*requests("key-1"), *requests("key-2")]),
    ),
    Situation(
        "admit",
        "in another second",
        lambda scene, held: scene.store.admit(requests("key-1")),
        meanwhile=time_passes,
    ),
    Situation(
        "set_plan",
        "some facts",
        lambda scene, held: scene.store.set_plan("acme", per_cycle=None, resets_at_ms=2),
    ),
    Situation("stats", "queue", lambda scene, held: scene.store.stats()),
    Situation("stats", "tenant", lambda scene, held: scene.store.stats(tenant="acme")),
    Situation("list", "of everything", lambda scene, held: scene.store.list_tasks("acme", limit=100)),
    Situation("list", "cut", lambda scene, held: scene.store.list_tasks("acme", limit=2)),
    Situation("fetch", "all states", lambda scene, held: scene.store.fetch(OF_ALL_STATES)),
    Situation("watch", "all states", lambda scene, held: scene.store.watch(OF_ALL_STATES, "someone")),
]


async def clear(scene: Scene, source: str, delayed: int) -> None:
    """Make one step of a clear."""
    answer = scene.keys.answer("clear")
    await scene.store._run(
        "clear", source=source, answer=answer, cutoff=1000, type="", cursor="", delayed=delayed, limit=500
    )


async def leave(scene: Scene, held: Held, verdict: Verdict, following: list[str]) -> None:
    """Take a running task away from its provider."""
    token = held["routed-1"].token
    await scene.store.switch(
        "routed-1", token, left="alpha", verdict=verdict, after_ms=500, tokens=7, following=following
    )


async def create_key(scene: Scene, key_id: str, digest: str) -> None:
    """Keep an API key of a tenant that has one."""
    await scene.store.create_key(key_id, digest, tenant="zeta", name="", rate=5)


def requests(key_id: str) -> list[RateRequest]:
    """Return requests to two endpoints, too many for one of them."""
    return [RateRequest(key_id, "GET /a", 5)] * 9 + [RateRequest(key_id, "GET /b", 5)]


class _Seen(Exception):
    """The call has been seen; it must not be made yet."""


async def call_of(scene: Scene, situation: Situation, held: Held) -> Call:
    """Return the script call that a situation's act makes, without making it."""
    calls: list[Call] = []

    async def see(name: str, /, *, patience: float | None = None, **named: Any) -> Any:
        del patience
        calls.append(Call(name, named))
        raise _Seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.store._caller, "run", see)
        with pytest.raises(_Seen):
            await situation.act(scene, held)
    [call] = calls
    assert call.script == situation.script
    return call
