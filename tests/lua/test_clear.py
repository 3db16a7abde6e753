"""clear: QUEUED tasks go, with everything of them, up to a cut-off and in bounded steps."""

from __future__ import annotations

from datetime import timedelta

from taskqueue.ids import new_id
from tests.lua.scene import Scene


async def test_everything_that_is_queued_goes(scene: Scene) -> None:
    """Ready, delayed, in its backoff, reserved, with a key: no trace is left but the running task's."""
    await scene.enqueue("running", priority=9)
    await scene.enqueue("backoff", priority=8)
    _, backoff = (await scene.claim(limit=2)).tasks
    await scene.fail(backoff, retry_in_ms=5000)
    await scene.enqueue("ready", idempotency_key="k")
    await scene.enqueue("late", tenant="acme", delay=timedelta(seconds=60))
    await scene.enqueue("reserved", type="GEMINI", reserve=True)

    assert await scene.store.clear() == 4

    left = {name.decode().removeprefix(scene.keys.prefix) for name in scene.names()}
    assert {name for name in left if name.startswith(("task:", "run:"))} == {"task:running", "run:running"}
    assert not [name for name in left if name.startswith(("ready:", "delayed:", "idem:"))]
    assert (scene.lanes(), scene.lanes("GEMINI"), scene.due()) == ([], [], {})
    assert list(scene.leased()) == ["running"]
    assert scene.hash(scene.keys.limit_tenant("default")) == {"used": "1"}


async def test_a_cleared_key_is_free_again(scene: Scene) -> None:
    """The same idempotency key names a new task."""
    await scene.enqueue("a", idempotency_key="k")

    await scene.store.clear()

    await scene.enqueue("b", idempotency_key="k")


async def test_tasks_that_come_later_stay(scene: Scene) -> None:
    """The cut-off is the sequence at the start: a clear ends however fast new ones come in."""
    await scene.enqueue("a", "b", "c")
    await scene.enqueue("d", priority=9)
    await scene.enqueue("late", delay=timedelta(seconds=60))

    reply = await clear(scene, scene.keys.ready("GROK", "default"), cutoff=2)
    assert reply == (2, "")
    assert scene.ready() == ["d", "c"]
    assert await clear(scene, scene.keys.delayed("default"), cutoff=4, delayed=1) == (0, "")
    assert scene.delayed() == {"late": 60_000}


async def test_one_tenant_can_be_cleared(scene: Scene) -> None:
    """All of its types; the other tenant keeps its tasks."""
    await scene.enqueue("a1", tenant="acme")
    await scene.enqueue("a2", tenant="acme", type="GEMINI")
    await scene.enqueue("a3", tenant="acme", delay=timedelta(seconds=60))
    await scene.enqueue("z", tenant="zeta")

    assert await scene.store.clear(tenant="acme") == 3
    assert scene.lanes() == ["zeta"]
    assert scene.lanes("GEMINI") == []


async def test_one_type_can_be_cleared(scene: Scene) -> None:
    """Of all tenants, its delayed tasks too; the delayed tasks of other types stay."""
    await scene.enqueue("a", tenant="acme")
    await scene.enqueue("z", tenant="zeta", delay=timedelta(seconds=60))
    await scene.enqueue("other", tenant="zeta", type="GEMINI")
    await scene.enqueue("late", tenant="zeta", type="GEMINI", delay=timedelta(seconds=90))

    assert await scene.store.clear(type="GROK") == 2
    assert scene.ready("GEMINI", "zeta") == ["other"]
    assert scene.delayed("zeta") == {"late": 90_000}
    assert scene.due() == {"zeta": 90_000}


async def test_a_large_lane_is_cleared_in_steps(scene: Scene) -> None:
    """1,100 ready tasks of which every second one is older than the cut-off, 500 looked at a step."""
    first = [scene.entry(f"old-{number}", priority=1 + number % 10) for number in range(550)]
    second = [scene.entry(f"new-{number}", priority=1 + number % 10) for number in range(550)]
    await scene.offer(*first)
    await scene.offer(*second)
    source, cursor, cleared, steps = scene.keys.ready("GROK", "default"), "", 0, 0

    while not steps or cursor:
        count, cursor = await clear(scene, source, cutoff=550, cursor=cursor)
        cleared, steps = cleared + count, steps + 1

    assert (cleared, steps) == (550, 3)
    assert len(scene.ready()) == 550
    assert all(task_id.startswith("new") for task_id in scene.ready())


async def test_many_delayed_tasks_are_cleared_in_steps(scene: Scene) -> None:
    """1,100 delayed tasks of two types by turns: all of one type go, none of the other."""
    await scene.offer(
        *(
            scene.entry(type=("GROK", "GEMINI")[number % 2], delay=timedelta(seconds=60 + number))
            for number in range(1100)
        )
    )

    assert await scene.store.clear(type="GEMINI") == 550
    assert len(scene.delayed()) == 550
    assert await scene.store.clear() == 550
    assert scene.due() == {}


async def test_who_waits_is_told(scene: Scene) -> None:
    """Somebody waits for a task that goes: the message makes it look, and find nothing."""
    await scene.enqueue("a")
    await scene.store.watch(["a"], "inbox-1")

    await scene.store.clear()

    assert scene.inbox("inbox-1") == ["finished a"]
    assert await scene.store.fetch(["a"]) == [None]
    assert not scene.client.exists(scene.keys.waiters("a"))


async def test_cleared_reserved_tasks_give_their_slots_back(scene: Scene) -> None:
    """The tenant's ordinary tasks of a type that was not cleared may run then."""
    await scene.store.set_limit(tenant="default", concurrency=1)
    await scene.enqueue("reserved", reserve=True)
    await scene.enqueue("ordinary", type="GEMINI")

    await scene.store.clear(type="GROK")

    assert scene.lanes("GEMINI") == ["default"]
    assert scene.is_awake("GEMINI")


async def clear(
    scene: Scene, source: str, *, cutoff: int, cursor: str = "", delayed: int = 0
) -> tuple[int, str]:
    """Make one step of a clear, with a cut-off of the test's own."""
    answer = scene.keys.answer(new_id())
    _, count, following = await scene.store._run(
        "clear",
        source=source,
        answer=answer,
        cutoff=cutoff,
        type="",
        cursor=cursor,
        delayed=delayed,
        limit=500,
    )
    return int(count), following.decode()
