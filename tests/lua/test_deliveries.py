"""The end of a task with a webhook leaves a task behind that delivers it, made by the same script."""

from __future__ import annotations

from taskqueue.codec import encode_error
from taskqueue.digests import digest_of_host
from taskqueue.names import WEBHOOK_TYPE
from taskqueue.store import ClaimedTask, Failure
from taskqueue.task import TaskError, TaskState
from tests.lua.scene import BOOM, Scene

HOOK = "https://a.example/hook"


async def deliveries(scene: Scene, **options: object) -> list[ClaimedTask]:
    """Claim every delivery that may go out now."""
    return (await scene.claim((WEBHOOK_TYPE,), **options)).tasks


async def test_every_end_is_delivered(scene: Scene) -> None:
    """COMPLETED, FAILED and CANCELLED, while it ran or before; one delivery each, in that order."""
    await scene.enqueue("done", "failed", "stopped", webhook=HOOK)
    await scene.enqueue("never", webhook=HOOK, priority=1)
    done, failed, stopped = (await scene.claim(limit=3)).tasks
    await scene.complete(done)
    await scene.fail(failed)
    await scene.store.fail([Failure(stopped.id, stopped.token, BOOM, cancelled=True)])
    await scene.store.cancel("never")

    found = [claimed.task() for claimed in await deliveries(scene)]

    assert [task.payload for task in found] == [
        {"task": name} for name in ("done", "failed", "stopped", "never")
    ]
    assert {task.type for task in found} == {WEBHOOK_TYPE}
    # How often it is tried is its handler's business.
    assert {task.max_attempts for task in found} == {None}


async def test_a_task_that_goes_on_is_not_delivered(scene: Scene) -> None:
    """Neither a retry nor a release is an end, and a cleared task never had one."""
    await scene.enqueue("a", webhook=HOOK)
    await scene.fail(await scene.claim_one(), retry_in_ms=0)
    await scene.release(await scene.claim_one())
    await scene.store.clear()

    assert await deliveries(scene) == []


async def test_a_repeated_report_makes_no_second_delivery(scene: Scene) -> None:
    """As when the reply to the first one was lost."""
    await scene.enqueue("a", webhook=HOOK)
    claimed = await scene.claim_one()

    await scene.complete(claimed)
    await scene.complete(claimed)

    assert len(await deliveries(scene)) == 1


async def test_a_redriven_task_is_delivered_again(scene: Scene) -> None:
    """It ends twice, and both ends are told."""
    await scene.enqueue("a", webhook=HOOK)
    await scene.fail(await scene.claim_one())
    await scene.store.redrive("a")
    await scene.complete(await scene.claim_one())

    assert [claimed.task().payload["task"] for claimed in await deliveries(scene)] == ["a", "a"]


async def test_deliveries_count_nowhere_in_their_tenant(scene: Scene) -> None:
    """Neither as queued nor as running, nor in its concurrency or its credits."""
    await scene.store.set_limit(tenant="acme", concurrency=1)
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", "b", tenant="acme", cost=1, webhook=HOOK)
    await scene.complete(await scene.claim_one())
    [delivery] = await deliveries(scene)

    stats = await scene.store.stats(tenant="acme")

    assert (stats.queued, stats.processing) == (1, 0)
    assert await scene.claimed_ids() == ["b"]
    balance = await scene.store.balance("acme")
    assert balance is not None
    assert (balance.spent, balance.held) == (1, 1)
    assert delivery.task().tenant.startswith("_acme.")


async def test_one_host_gets_four_at_a_time(scene: Scene) -> None:
    """Of one tenant; other hosts, and the same host of other tenants, are not held up."""
    for tenant, host in (("acme", "a.example"), ("acme", "b.example"), ("zeta", "a.example")):
        names = [f"{tenant}-{host[0]}{number}" for number in range(6)]
        await scene.enqueue(*names, tenant=tenant, webhook=f"https://{host}/")
    await scene.complete(*(await scene.claim()).tasks)

    first = await deliveries(scene)
    second = await deliveries(scene)
    await scene.complete(first[0])

    assert len(first) == 12
    assert second == []
    assert len(await deliveries(scene)) == 1


async def test_deliveries_are_no_tasks_of_the_queue_to_look_at(scene: Scene) -> None:
    """They are counted and listed only for who asks for their type."""
    await scene.enqueue("a", webhook=HOOK)
    await scene.complete(await scene.claim_one())

    everything = await scene.store.stats()
    asked = await scene.store.stats(type=WEBHOOK_TYPE)
    listed = [task.id async for task in scene.store.tasks()]

    assert (everything.queued, asked.queued) == (0, 1)
    assert listed == ["a"]


async def test_delivered_is_noted_once(scene: Scene) -> None:
    """The first instant stays; a task that has not ended, or is gone, has none."""
    await scene.enqueue("a", "b", webhook=HOOK)
    await scene.complete(await scene.claim_one())

    assert (await scene.task("a")).delivered_at is None
    assert await scene.store.delivered("a")
    first = (await scene.task("a")).delivered_at
    scene.advance(1000)
    assert await scene.store.delivered("a")

    assert (await scene.task("a")).delivered_at == first is not None
    assert not await scene.store.delivered("b")
    assert not await scene.store.delivered("nobody")


async def test_the_error_of_a_task_that_cannot_be_paid_is_one_that_people_read(scene: Scene) -> None:
    """A script writes its bytes itself: they are those that the rest of the package would write."""
    await scene.store.grant("acme", 1)
    await scene.enqueue("a", tenant="acme", cost=1, webhook=HOOK)
    await scene.store.grant("acme", -1)

    assert await scene.claimed_ids() == []

    task = await scene.task("a")
    message = "the balance of its tenant did not cover its price at its turn"
    assert task.state is TaskState.FAILED
    assert scene.run("a")["error"] == encode_error(TaskError("INSUFFICIENT_CREDITS", message))
    assert [claimed.task().payload["task"] for claimed in await deliveries(scene)] == ["a"]


async def test_deliveries_are_of_a_type_that_is_known(scene: Scene) -> None:
    """Whoever goes through all types meets them, and those to whom they go."""
    await scene.enqueue("a", webhook="https://a.example")
    await scene.complete(await scene.claim_one())

    assert b"_webhook" in scene.client.smembers(scene.keys.types)
    host = digest_of_host("https://a.example")
    assert scene.client.smembers(scene.keys.tenants) == {b"default", f"_default.{host}".encode()}


async def test_what_was_delivered_goes_soon(scene: Scene) -> None:
    """Its task is kept for a day; the delivery, for an hour from its end, whenever it was made."""
    await scene.enqueue("a", webhook=HOOK)
    await scene.complete(await scene.claim_one())
    [delivery] = await deliveries(scene)
    await scene.complete(delivery)

    expires = {
        name: scene.client.pexpiretime(scene.keys.task(name)) - scene.clock() for name in ("a", delivery.id)
    }

    assert expires == {"a": 24 * 3600 * 1000, delivery.id: 3600 * 1000}
