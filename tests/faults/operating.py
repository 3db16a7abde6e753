"""Stories of operators and of maintenance: cancel, clear, redrive, discard, limits, pauses, purge, repair."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from taskqueue.store import Purged
from tests.faults.exploring import Story
from tests.faults.staging import Stage

SOON = timedelta(seconds=5)


async def of_all_states(stage: Stage) -> None:
    """A ready, a delayed, a running, a dead and a cancelled task, and a completed one."""
    await stage.enqueue_many({"id": "done"}, {"id": "dead", "idempotency_key": "dead"}, {"id": "running"})
    await stage.claim()
    await stage.complete("done")
    await stage.fail("dead")
    await stage.enqueue_many(
        {"id": "ready", "idempotency_key": "ready", "webhook": "https://a.example"},
        {"id": "late", "delay": SOON},
        {"id": "cancelled"},
        {"id": "other", "type": "GEMINI", "tenant": "acme"},
    )
    await stage.queue.cancel("cancelled")


async def cancelling(stage: Stage) -> None:
    """Each of them is cancelled; some twice."""
    for name in ("ready", "late", "running", "dead", "done", "ready", "unknown"):
        await stage.ask(partial(stage.queue.cancel, name))
    await stage.ask(lambda: stage.store.cancel_queued("running"))
    await stage.ask(lambda: stage.store.cancel_queued("other"))
    await stage.ask(lambda: stage.store.cancel_queued("done"))


async def clearing(stage: Stage) -> None:
    """The tasks of a tenant go, then all; what comes afterwards stays."""
    stage.ledger.removed |= {"ready", "late", "other"}
    for tenant in ("acme", None):
        await stage.ask(partial(stage.queue.clear, tenant=tenant))
    await stage.enqueue(idempotency_key="ready")


async def redriving(stage: Stage) -> None:
    """Ended tasks are submitted again, one of them twice, which is refused; and run."""
    for name in ("dead", "cancelled", "done", "dead", "unknown"):
        await stage.ask(partial(stage.queue.redrive, name))
    await stage.claim()


async def discarding(stage: Stage) -> None:
    """Records of ended tasks go now; others are left alone. The key is free again."""
    stage.ledger.removed |= {"dead", "done"}
    await stage.ask(lambda: stage.queue.discard(["dead", "done", "ready", "unknown"]))
    await stage.enqueue(idempotency_key="dead")


async def limiting(stage: Stage) -> None:
    """Limits and pauses of a type, a tenant and the queue, set and lifted; claims between."""
    queue, ask = stage.queue, stage.ask
    await ask(lambda: queue.set_limit(tenant="acme", concurrency=0, weight=2))
    await ask(lambda: queue.pause(type="GROK"))
    await stage.claim(("GROK", "GEMINI"))
    await ask(lambda: queue.set_limit(tenant="acme", concurrency=None, weight=1))
    await ask(queue.pause)
    await stage.claim(("GROK", "GEMINI"))
    await ask(queue.resume)
    await ask(lambda: queue.resume(type="GROK"))
    await ask(lambda: queue.pause(tenant="default"))
    await stage.claim(("GROK", "GEMINI"))
    await ask(lambda: queue.resume(tenant="default"))


async def limiting_providers(stage: Stage) -> None:
    """Limits of a provider, one of which is refused; a pause; then it is forgotten."""
    queue, ask = stage.queue, stage.ask
    await ask(lambda: queue.set_limit(provider="alpha", concurrency=3, rate=60))
    await ask(lambda: queue.pause(provider="alpha"))
    await ask(lambda: queue.set_limit(provider="alpha", lowest=9))
    await ask(lambda: queue.set_limit(provider="alpha", concurrency=None, rate=None, fresh=True))
    await ask(lambda: queue.resume(provider="alpha"))


async def neglected(stage: Stage) -> None:
    """A worker fell silent; a tenant has nothing any more; a task is due, and an index is damaged."""
    await of_all_states(stage)
    await stage.store.extend("worker-1", [], 15_000)
    await stage.enqueue("GONE", id="gone", tenant="gone")
    await stage.claim(("GONE",))
    await stage.complete("gone")
    await stage.queue.discard(["gone"])
    stage.ledger.removed.add("gone")
    stage.scene.advance(61_000)
    stage.scene.client.delete(stage.scene.keys.lanes("GEMINI"))


async def maintaining(stage: Stage) -> None:
    """What is over is trimmed, what is damaged is mended, what is due is promoted."""
    store = stage.store
    await stage.ask(store.purge, repeated=lambda purged: purged == Purged(0, "0"))
    await stage.ask(store.promote, repeated=lambda promoted: promoted.count == 0)
    await stage.ask(store.repair, repeated=lambda repaired: repaired.changed == 0)


STORIES = [
    Story("cancels", cancelling, ("cancel", "fetch"), of_all_states),
    Story("clears", clearing, ("clear", "enqueue"), of_all_states),
    Story("redrives", redriving, ("redrive", "fetch", "claim"), of_all_states),
    Story("discards", discarding, ("discard", "enqueue"), of_all_states),
    Story("limits and pauses", limiting, ("set_limit", "pause", "resume", "claim"), of_all_states),
    Story("limits of providers", limiting_providers, ("set_provider",)),
    Story("maintenance", maintaining, ("purge", "promote", "repair"), neglected, begins_damaged=True),
]
