"""Stories of producers: tasks are handed in, looked at and waited for."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

from taskqueue import TaskQueue
from taskqueue.queue.task_queue import submissions_of
from taskqueue.store import Completion
from taskqueue.store.rates import RateTicket, Whole
from taskqueue.task import TaskSpec
from tests.faults.exploring import Story
from tests.faults.staging import RESULT, Stage

SOON = timedelta(seconds=5)


async def one(stage: Stage) -> None:
    """A task; a task with a key; the same key again, which is refused with the holder's id."""
    await stage.enqueue(priority=3)
    await stage.enqueue(idempotency_key="k")
    await stage.enqueue(idempotency_key="k")


async def at_once(stage: Stage) -> None:
    """Three callers share a call."""

    async def three() -> list[Any]:
        calls = (stage.queue.enqueue("GROK", {"number": number}, priority=number) for number in (1, 9, 5))
        return await asyncio.gather(*calls)

    for task in await stage.ask(three):
        stage.ledger.accepted[task.id] = task


async def many(stage: Stage) -> None:
    """A bulk of all kinds; then one of which only a part can be stored."""
    await stage.enqueue_many(
        {"priority": 2},
        {"priority": 9, "tenant": "acme", "idempotency_key": "k"},
        {"type": "GEMINI", "delay": SOON},
        {"id": "own", "webhook": "https://a.example"},
    )
    await stage.enqueue_many(
        {"id": "own", "webhook": "https://a.example"},
        {"tenant": "acme", "idempotency_key": "k"},
        {"tenant": "acme", "idempotency_key": "new"},
        return_exceptions=True,
    )
    await stage.enqueue_many({"priority": 3}, {"tenant": "acme", "idempotency_key": "new"})


async def delayed(stage: Stage) -> None:
    """Two tasks wait for their instant; then they run by their place."""
    await stage.enqueue(delay=SOON)
    await stage.enqueue(delay=SOON, priority=9)
    stage.scene.advance(5000)
    await stage.ask(lambda: stage.store.promote(1), repeated=lambda promoted: promoted.count <= 1)
    await stage.claim()


async def a_slot(stage: Stage) -> None:
    """The tenant has one slot."""
    await stage.queue.set_limit(tenant="acme", concurrency=1)


async def reserved(stage: Stage) -> None:
    """A reserved task has the slot; the next one is refused, until the first has ended."""
    await stage.enqueue(tenant="acme", reserve=True)
    await stage.enqueue(tenant="acme", reserve=True)
    await stage.claim()
    await stage.complete("made-1")
    await stage.enqueue(tenant="acme", reserve=True)


async def no_room(stage: Stage) -> None:
    """The queue has room for two."""
    await stage.enqueue_many({}, {}, {}, return_exceptions=True)
    await stage.enqueue()


async def requests(stage: Stage) -> None:
    """Tasks of requests, which are counted by the call that stores them."""
    submissions = submissions_of(stage.queue)
    spec = TaskSpec(type="GROK", payload={}, tenant="acme")
    for _ in range(3):
        ticket = RateTicket("key", "POST /a", 2)
        stage._accept(await stage.ask(partial(submissions.enqueue, spec, ticket)))
        stage.note(ticket.remaining)
    for total in (9, 2):
        whole = Whole(total, RateTicket("key", "POST /b", 9))
        answer = await stage.ask(partial(submissions.enqueue_batch, [spec, spec], whole))
        for each in answer if isinstance(answer, list) else ():
            stage._accept(each)


def without_replicas(stage: Stage) -> None:
    """No replica has to confirm, and so none is waited for."""
    stage.store._replicas = 0


async def durable(stage: Stage) -> None:
    """Both ends of a task are confirmed on the connection that they went by."""
    await stage.enqueue(durability="replicated")
    await stage.enqueue_many({"durability": "replicated"}, {"durability": "replicated", "delay": SOON})
    await stage.claim()
    await stage.complete("made-1", "made-2", durability="replicated")


async def not_synced(stage: Stage) -> None:
    """A server without an append-only file refuses the level, and stores nothing."""
    await stage.enqueue(durability="fsync")
    await stage.enqueue()


async def some(stage: Stage) -> None:
    """Tasks in several states, limits, a pause, a worker."""
    await stage.enqueue_many(
        {"id": "a"}, {"id": "b", "idempotency_key": "k"}, {"id": "c", "type": "GEMINI", "delay": SOON}
    )
    await stage.queue.set_limit(type="GEMINI", concurrency=3)
    await stage.queue.set_limit(provider="alpha", concurrency=3)
    await stage.grant("default", 5)
    [claimed] = await stage.claim(limit=1)
    await stage.store.extend("worker-1", [(claimed.id, claimed.token)], 15_000)
    await stage.complete("a")


async def looking_at_tasks(stage: Stage) -> None:
    """One by one, all of them, page by page."""
    queue, ask = stage.queue, stage.ask

    async def walk() -> list[Any]:
        return [task async for task in queue.tasks()]

    await ask(lambda: queue.get("a"))
    await ask(lambda: queue.get("unknown"))
    await ask(lambda: queue.find("default", "k"))
    await ask(walk)
    await ask(lambda: stage.store.list_tasks("default", limit=2))
    await ask(lambda: queue.wait("a", 0))


async def looking_at_the_queue(stage: Stage) -> None:
    """What there is, and what it may do."""
    queue, ask = stage.queue, stage.ask
    await ask(queue.stats)
    await ask(lambda: queue.stats(tenant="default", type="GROK"))
    await ask(queue.limits)
    await ask(queue.providers)
    await ask(queue.workers)
    await ask(queue.is_paused)
    await ask(lambda: queue.balance("default"))


async def waiting(stage: Stage) -> None:
    """Somebody waits for a task, and then somebody completes it."""
    claimed = stage.ledger.held.pop("b")

    async def complete() -> Any:
        while not any(call.script == "watch" for call in stage.injector.calls):
            await asyncio.sleep(0)
        return await stage.store.complete([Completion(claimed.id, claimed.token, RESULT)])

    await stage.ask(lambda: asyncio.gather(stage.queue.wait("b", 5), complete()))
    stage.ledger.completed["b"] += 1


async def held(stage: Stage) -> None:
    """Some, and one of them runs."""
    await some(stage)
    await stage.claim()


async def opening(stage: Stage) -> None:
    """A program connects, and looks."""

    async def look() -> Any:
        connecting = TaskQueue.connect(stage.url, name=stage.queue.name, clock=stage.scene.clock)
        async with connecting as queue:
            return await queue.stats()

    await stage.ask(look)
    await stage.ask(look)


def gone(stage: Stage) -> None:
    """The queue was never there."""
    stage.scene.client.delete(stage.scene.keys.meta)


STORIES = [
    Story("one task", one, ("enqueue",)),
    Story("three callers at once", at_once, ("enqueue",)),
    Story("many tasks", many, ("enqueue",)),
    Story("delayed tasks", delayed, ("enqueue", "promote", "claim")),
    Story("reserved tasks", reserved, ("enqueue", "claim", "complete"), a_slot),
    Story("a queue without room", no_room, ("enqueue",), options={"max_queued": 2}),
    Story("tasks of requests", requests, ("enqueue",), options={"max_queued": 5}),
    Story("durable tasks", durable, ("enqueue", "complete"), meddle=without_replicas),
    Story("a level that cannot be had", not_synced, ("enqueue",)),
    Story("tasks are looked at", looking_at_tasks, ("fetch", "list"), some),
    Story("the queue is looked at", looking_at_the_queue, ("stats", "providers"), some),
    Story("somebody waits", waiting, ("watch", "complete"), held, fresh=True),
    Story("a queue is opened", opening, ("open", "stats"), meddle=gone),
]
