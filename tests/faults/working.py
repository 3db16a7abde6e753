"""Stories of workers: tasks are claimed, reported, lost, moved from provider to provider, told."""

from __future__ import annotations

from functools import partial
from typing import Any

from taskqueue.errors import ServerUnavailable
from taskqueue.store import Completion
from tests.faults.exploring import Story
from tests.faults.staging import RESULT, Call, Stage
from tests.lua.scene import LEASE_MS

CHAIN = {"ROUTED": ("alpha", "beta")}
HOOK = "https://a.example/x"


async def six(stage: Stage) -> None:
    """Six tasks of three priorities."""
    await stage.enqueue_many(*({"id": name, "priority": at % 3 + 1} for at, name in enumerate("abcdef")))


async def completed(stage: Stage) -> None:
    """Claimed by two workers; reported, and claimed again in the same call."""
    await stage.claim(limit=2)
    await stage.claim(limit=1, worker="worker-2")
    await stage.complete("c", slots=("GROK",))
    await stage.complete("f", "b")


async def two_held(stage: Stage) -> None:
    """Two tasks run; one of them has a webhook, and somebody waits for it."""
    await stage.enqueue_many({"id": "a"}, {"id": "b", "webhook": HOOK, "idempotency_key": "k"})
    await stage.claim()
    await stage.store.watch(["b"], "somebody")


async def failed(stage: Stage) -> None:
    """One is to be retried, the other is a dead letter; the first one's second attempt succeeds."""
    await stage.fail("a", 2000)
    await stage.fail("b")
    stage.scene.advance(2000)
    await stage.claim()
    await stage.complete("a")


async def given_back(stage: Stage) -> None:
    """One goes back at once, the other after a while; the first is to be cancelled, and obeys."""
    await stage.release("a")
    await stage.release("b", 1000)
    await stage.claim()
    await stage.ask(lambda: stage.queue.cancel("a"))
    await stage.fail("a", cancelled=True)


async def three_to_lose(stage: Stage) -> None:
    """Three tasks run: one for the first time, one whose worker died twice, one to be cancelled."""
    await stage.enqueue_many({"id": "a"}, {"id": "b", "webhook": HOOK}, {"id": "c"})
    for _ in range(2):
        claimed = {task.id: task for task in (await stage.scene.claim()).tasks}
        await stage.scene.release(claimed["a"], claimed["c"])
        stage.scene.client.zadd(stage.scene.keys.leased, {"b": 1})
        await stage.store.reap(LEASE_MS)
    await stage.claim()
    await stage.queue.cancel("c")
    stage.scene.client.zadd(stage.scene.keys.leased, dict.fromkeys("abc", stage.scene.clock() - 1))


async def lost(stage: Stage) -> None:
    """Leases have run out: one task is queued, one dead, one cancelled. Late reports are stale."""
    late = dict(stage.ledger.held)
    stage.ledger.held.clear()
    await stage.ask(lambda: stage.store.reap(LEASE_MS), repeated=_is_reaped)
    await stage.claim(worker="worker-2")
    await stage.ask(lambda: stage.store.complete([Completion("b", late["b"].token, RESULT)]))
    again = stage.ledger.held["a"]
    stage.ledger.held["a"] = late["a"]
    await stage.complete("a")
    stage.ledger.held["a"] = again
    await stage.complete("a")


def _is_reaped(reaped: Any) -> bool:
    """The one pass that took the tasks said so, and its reply is lost; the next one found none."""
    return not (reaped.requeued or reaped.dead or reaped.cancelled or reaped.holding_ms)


async def beating(stage: Stage) -> None:
    """A worker lives: it extends its leases, says how far it is, hears that a task is cancelled, and goes."""
    held = stage.ledger.held
    leases = [(name, held[name].token) for name in ("a", "b")] + [("gone", "1-x")]
    await stage.ask(lambda: stage.store.extend("worker-1", leases, LEASE_MS))
    await stage.ask(lambda: stage.store.progress("a", held["a"].token, b"\x05"))
    await stage.ask(lambda: stage.store.progress("a", "1-x", b"\x06"))
    await stage.ask(lambda: stage.queue.cancel("a"))
    heard = _until_it_works(lambda: stage.store.listen("worker-1", 0.01))
    # A message may be lost with its connection: the next beat says it again.
    message = "cancel a " + held["a"].token
    await stage.ask(heard, lost=lambda messages: set(messages) <= {message})
    await stage.ask(lambda: stage.store.extend("worker-1", leases, LEASE_MS))
    await stage.enqueue(id="c")
    woken = _until_it_works(lambda: stage.store.wait_wake(["GROK"], 0.01))
    # So may a marker: whoever is not woken looks after a while.
    await stage.ask(woken, lost=lambda answer: not answer)
    await stage.claim(limit=1)
    await stage.ask(lambda: stage.store.forget_worker("worker-1"))


def _until_it_works(call: Call) -> Call:
    """Return what a scheduler makes of a call that says at once that the connection is lost."""

    async def again() -> Any:
        while True:
            try:
                return await call()
            except ServerUnavailable:
                continue

    return again


async def two_providers(stage: Stage) -> None:
    """Two tasks for two providers, which take one each."""
    for name in ("alpha", "beta"):
        await stage.queue.set_limit(provider=name, concurrency=1, lowest=1, breaker=2)
    await stage.enqueue_many({"id": "a", "type": "ROUTED"}, {"id": "b", "type": "ROUTED"})


async def routed(stage: Stage) -> None:
    """A task fails at the first provider and goes to the second; the other one finds no room, and waits."""
    await stage.claim(("ROUTED",), limit=1, chains=CHAIN)
    token = stage.ledger.held["a"].token
    store = stage.store
    await stage.ask(
        lambda: store.switch("a", token, left="alpha", verdict="failed", tokens=3, following=["beta"])
    )
    await stage.claim(("ROUTED",), chains=CHAIN, worker="worker-2")
    await stage.ask(
        lambda: store.switch("a", token, left="beta", verdict="limited", after_ms=900, following=["alpha"])
    )
    await stage.complete("a", tokens=5)
    await stage.ask(stage.queue.providers)


async def one_to_tell(stage: Stage) -> None:
    """Two tasks with a webhook run."""
    await stage.enqueue_many({"id": "a", "webhook": HOOK}, {"id": "b", "webhook": HOOK, "tenant": "acme"})
    await stage.claim()


async def told(stage: Stage) -> None:
    """Their ends are told, in the order in which they ended."""
    await stage.complete("b", "a")
    hooks = await stage.claim(("_webhook",))
    for hook in hooks:
        name = hook.task().payload["task"]
        await stage.ask(partial(stage.queue.get, name))
        await stage.ask(partial(stage.queue.delivered, name))
    await stage.complete(*(hook.id for hook in hooks))


async def paying(stage: Stage) -> None:
    """Granted, refused, held, waited for, charged; what cannot be paid any more ends."""
    await stage.grant("acme", 10)
    await stage.enqueue(id="a", tenant="acme", cost=4, hold=8)
    await stage.enqueue(id="b", tenant="acme", cost=5)
    await stage.enqueue(id="c", tenant="acme", cost=11)
    await stage.claim()
    await stage.complete("a", charge=7)
    await stage.grant("acme", 1)
    await stage.claim()
    await stage.grant("acme", -2)
    await stage.claim()
    await stage.ask(lambda: stage.queue.balance("acme"))


async def three_tenants(stage: Stage) -> None:
    """Tenants with several tasks each, of different weights."""
    await stage.queue.set_limit(tenant="acme", weight=2)
    for at in range(3):
        await stage.enqueue_many(
            *({"id": f"{name}-{at}", "tenant": name} for name in ("acme", "beta", "zeta"))
        )


async def taking_turns(stage: Stage) -> None:
    """Claims of two at a time, each of which moves the tenants' virtual times."""
    for _ in range(2):
        await stage.claim(limit=2)
    await stage.release("acme-0")
    await stage.complete(*stage.ledger.held, slots={"GROK": 2})


STORIES = [
    Story("claims and completions", completed, ("claim", "complete"), six),
    Story("failures", failed, ("fail", "claim", "complete"), two_held),
    Story("tasks given back", given_back, ("release", "cancel", "fail"), two_held),
    Story("workers die", lost, ("reap", "claim", "complete"), three_to_lose),
    Story("a worker lives", beating, ("extend", "progress", "cancel", "fetch"), two_held),
    Story("providers", routed, ("claim", "switch", "complete", "providers"), two_providers),
    Story("webhooks", told, ("complete", "claim", "fetch", "delivered"), one_to_tell),
    Story("credits", paying, ("grant", "enqueue", "claim", "complete")),
    Story(
        "tenants take turns",
        taking_turns,
        ("claim", "release", "complete"),
        three_tenants,
        options={"policy": "fair_tenants"},
    ),
]
