"""A queue with something of everything in it, and what may happen to it before a call is looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from taskqueue.store import ClaimedTask, Failure, RateRequest
from tests.lua.scene import BOOM, LEASE_MS, Scene

TYPES = ("GROK", "GEMINI")
CHAINS = {"ROUTED": ("alpha", "beta")}

Held = dict[str, ClaimedTask]
Act = Callable[[Scene, Held], Awaitable[object]]


async def prepare(scene: Scene) -> Held:
    """Fill the queue: two types, three tenants, every state, limits, keys, waiters; return what is held."""
    await scene.store.set_limit(tenant="acme", concurrency=9, weight=2)
    await scene.store.set_limit(type="GROK", concurrency=50)
    await scene.store.pause(tenant="paused")
    for tenant in ("acme", "zeta", "paused"):
        await scene.enqueue(f"{tenant}-1", f"{tenant}-2", tenant=tenant, priority=3)
        await scene.enqueue(f"{tenant}-key", tenant=tenant, type="GEMINI", priority=4, idempotency_key="k")
        await scene.enqueue(f"{tenant}-late", tenant=tenant, delay=timedelta(seconds=30))
    await scene.enqueue("reserved", tenant="acme", reserve=True)
    await scene.enqueue("dead", "done", "cancelled", tenant="acme", type="DONE", priority=9)
    await scene.enqueue("dead-key", tenant="acme", type="DONE", priority=9, idempotency_key="dead")
    dead, done, cancelled, dead_key = (await scene.claim(("DONE",))).tasks
    await scene.fail(dead, dead_key)
    await scene.complete(done)
    await scene.store.fail([Failure(cancelled.id, cancelled.token, BOOM, cancelled=True)])
    names = ("held", "held-key", "stopping", "expired", "expired-third")
    for name in names:
        key = "held" if name == "held-key" else None
        await scene.enqueue(name, tenant="acme", priority=10, type="HELD", idempotency_key=key)
    for _ in range(2):
        for claimed in (await scene.claim(("HELD",))).tasks:
            if claimed.id == "expired-third":
                scene.client.zadd(scene.keys.leased, {claimed.id: 1})
                await scene.store.reap(LEASE_MS)
            else:
                await scene.release(claimed)
    await prepare_credits(scene)
    await prepare_accounts(scene)
    await prepare_providers(scene)
    claim = await scene.claim(("HELD", "PAID", "ROUTED"), chains=CHAINS)
    held = {claimed.id: claimed for claimed in claim.tasks}
    await scene.store.cancel("stopping")
    await scene.store.watch([*names, "acme-1", "zeta-late"], "somebody")
    await scene.store.extend("worker-1", [(task.id, task.token) for task in held.values()], LEASE_MS)
    return held


async def prepare_credits(scene: Scene) -> None:
    """Meter two tenants: one has tasks that run, wait for credits and tell a webhook; one has none left."""
    await scene.store.grant("metered", 20)
    await scene.store.grant("broke", 5)
    for name, cost, hold in (("paid", 3, 9), ("paid-more", 4, None), ("paid-later", 8, None)):
        await scene.enqueue(
            name, tenant="metered", type="PAID", cost=cost, hold=hold, webhook="https://a.example"
        )
    await scene.enqueue("told", type="PAID", webhook="https://b.example/x")
    await scene.enqueue("broke-1", "broke-2", tenant="broke", cost=5, webhook="https://a.example")
    await scene.store.grant("broke", -3)


async def prepare_accounts(scene: Scene) -> None:
    """Give two tenants API keys, one of which ends soon and one of which is in use; a plan; secrets."""
    store = scene.store
    for number, tenant in enumerate(("acme", "acme", "zeta")):
        await store.create_key(f"key-{number}", f"digest-{number}", tenant=tenant, name="", rate=5)
    await store.rotate_key("key-0", "key-3", "digest-3", 60_000)
    await store.touch_keys(["key-1"], 1000)
    await store.admit([RateRequest("key-1", "GET /a", 5)])
    await store.set_plan("acme", per_cycle=500, resets_at_ms=1)
    for sealed in (b"first", b"second"):
        await set_secret(scene, "acme", sealed)


async def prepare_providers(scene: Scene) -> None:
    """Limit a provider in every way, so that two of three tasks find room there; its successor is paused."""
    limits = {"max": "2", "min": "1", "rate": "60", "period": "60000", "tokens": "1000", "breaker": "1"}
    await scene.store.set_provider("alpha", limits)
    await scene.store.set_provider("beta", {"paused": "1"})
    await scene.enqueue("routed-1", "routed-2", "routed-3", tenant="sent", type="ROUTED")


async def time_passes(scene: Scene, held: Held) -> None:
    """Make delayed tasks due."""
    scene.advance(30_000)


async def leases_run_out(scene: Scene, held: Held) -> None:
    """Let four leases end; the next reap takes two to the queue, one to the dead, one to its cancel."""
    gone = {name: scene.clock() - 1 for name in ("expired", "expired-third", "stopping", "routed-1")}
    scene.client.zadd(scene.keys.leased, gone)


async def claimed_before(scene: Scene, held: Held) -> None:
    """Make the claim whose repeat is looked at."""
    await scene.claim(TYPES, limit=2, request="again")


async def set_secret(scene: Scene, tenant: str, sealed: bytes) -> None:
    """Renew the secret of a tenant's webhooks, with an overlap."""
    await scene.store.set_webhook_secret(tenant, sealed, 60_000)


async def days_pass(scene: Scene) -> None:
    """Let everything expire that does."""
    scene.advance(48 * 3600 * 1000)


async def nothing_is_left(scene: Scene, held: Held) -> None:
    """Let the last task of a tenant expire that has a limit."""
    await scene.store.set_limit(tenant="gone", concurrency=3)
    await scene.enqueue("gone", tenant="gone", type="DONE")
    await scene.complete(*(await scene.claim(("DONE",))).tasks)
    await days_pass(scene)


async def break_indexes(scene: Scene) -> None:
    """Take away what a repair brings back."""
    scene.client.delete(scene.keys.lanes("GROK"), scene.keys.due)
