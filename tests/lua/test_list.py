"""list: a tenant's tasks page by page, in the order of a task's life, each page for what it costs itself."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from taskqueue.errors import QueueCorrupt
from taskqueue.ranking import Order
from taskqueue.store import ClaimedTask, Position, listing
from taskqueue.task import Task, TaskState
from tests.lua.conftest import MakeScene
from tests.lua.scene import LEASE_MS, Scene

LATE = timedelta(seconds=60)
TYPES = ("GROK", "GEMINI")
STATES: list[tuple[TaskState, ...]] = [
    (),
    *((state,) for state in TaskState),
    (TaskState.FAILED, TaskState.CANCELLED),
    (TaskState.QUEUED, TaskState.COMPLETED),
]
# By bytes: digits, capital letters, _, small letters; not as any language sorts them.
IDS = ("-", "0", "9z", "A", "B", "Z9", "_", "a", "aa", "b", "zz")


async def pages(scene: Scene, limit: int, tenant: str = "acme", **options: Any) -> AsyncIterator[list[Task]]:
    """Walk to the last page; a page has no more tasks than it may."""
    position: Position | None = None
    for _ in range(1000):
        tasks, position = await scene.store.list_tasks(tenant, limit=limit, after=position, **options)
        assert len(tasks) <= limit
        yield tasks
        if position is None:
            return
    pytest.fail("the walk does not end")


async def walk(scene: Scene, limit: int = 100, tenant: str = "acme", **options: Any) -> list[str]:
    """Return the ids of all tasks, as they come."""
    return [task.id async for page in pages(scene, limit, tenant, **options) for task in page]


async def filled(scene: Scene) -> list[str]:
    """Fill a queue for acme with everything there is; return the ids as a list has them.

    Many share an instant: those that are due at once, and those that were accepted and ended at once.
    """
    await scene.enqueue(*(f"ended{each}" for each in IDS), tenant="acme", type="DONE")
    claimed = {task.id: task for task in (await scene.claim(("DONE",))).tasks}
    await scene.complete(*(claimed[f"ended{each}"] for each in IDS[::2]))
    await scene.fail(*(claimed[f"ended{each}"] for each in IDS[1::2]))
    scene.advance(10)
    await scene.enqueue("running-1", "running-2", tenant="acme", type="HELD")
    await scene.claim(("HELD",))
    await scene.enqueue("low", tenant="acme", type="GEMINI", priority=1)
    await scene.enqueue("high", tenant="acme", priority=9)
    await scene.enqueue("middle-1", tenant="acme", type="GEMINI", priority=5)
    await scene.enqueue("middle-2", tenant="acme", priority=5)
    await scene.enqueue("latest", tenant="acme", delay=2 * LATE)
    await scene.enqueue(*(f"late{each}" for each in reversed(IDS)), tenant="acme", delay=LATE)
    await scene.enqueue("gone", tenant="acme")
    await scene.store.cancel("gone")
    return [
        *(f"late{each}" for each in IDS),
        "latest",
        *("high", "middle-1", "middle-2", "low"),
        *("running-1", "running-2"),
        "gone",
        *(f"ended{each}" for each in reversed(IDS)),
    ]


async def test_the_order_is_that_of_a_tasks_life(scene: Scene) -> None:
    """Delayed ones by when they are due, ready ones as they run, running ones, finished ones newest first."""
    assert await walk(scene) == []
    wanted = await filled(scene)

    assert await walk(scene) == wanted


async def test_the_order_holds_below_zero(make_scene: MakeScene) -> None:
    """Under a bounded order scores are small, and negative ones are as good as others."""
    scene = await make_scene(Order(lowest_priority=0, highest_priority=3, stride=4))
    for number in range(20):
        await scene.enqueue(f"task-{number}", tenant="acme", priority=number % 4, type=TYPES[number % 2])
    claim = await scene.store.claim(scene.request(TYPES))
    by_claim = [task.id for task in claim.tasks]
    for task in claim.tasks:
        await scene.release(task)

    assert await walk(scene, 3) == by_claim


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 29, 30, 31])
async def test_pages_of_any_size_make_up_the_same_list(scene: Scene, limit: int) -> None:
    """Also where a page ends among tasks of one instant; all but the last are full."""
    wanted = await filled(scene)

    found = [[task.id for task in page] async for page in pages(scene, limit)]

    assert [task_id for page in found for task_id in page] == wanted
    assert {len(page) for page in found[:-1]} <= {limit}
    assert found[-1]


async def test_a_filter_leaves_the_rest_out(scene: Scene) -> None:
    """By states, by type, by both: what is left comes as it came without."""
    everything = [await scene.task(task_id) for task_id in await filled(scene)]

    for states, type_ in itertools.product(STATES, (None, "GEMINI", "DONE", "NOBODY")):
        wanted = [
            task.id
            for task in everything
            if task.state in (states or TaskState) and type_ in {None, task.type}
        ]
        for limit in (1, 4, 100):
            assert await walk(scene, limit, states=states, type=type_) == wanted


async def test_a_task_comes_without_what_may_be_long(scene: Scene) -> None:
    """All that was said of it but the payload, all that became of it but progress, result and error."""
    key, webhook = "k" * 255, "https://example.com/" + "x" * 2000
    fields: dict[str, Any] = {"idempotency_key": key, "webhook": webhook, "cost": 7, "priority": 3}
    await scene.enqueue("a", "late", tenant="acme", payload={"text": "hello"})
    await scene.enqueue("keyed", tenant="acme", delay=LATE, **fields)
    [first, _] = (await scene.claim()).tasks
    await scene.store.progress(first.id, first.token, b"\x05")
    await scene.complete(first, result={"text": "x"})

    listed = {task.id: task async for page in pages(scene, 10) for task in page}

    for task_id in ("a", "late", "keyed"):
        task = await scene.task(task_id)
        task.payload, task.progress, task.result, task.error = {}, None, None, None
        assert repr(listed[task_id]) == repr(task)
    assert listed["keyed"].idempotency_key == key
    assert listed["keyed"].not_before_ms == scene.clock() + 60_000


async def test_only_what_the_tenant_handed_in_is_listed(scene: Scene) -> None:
    """No other tenant's, reserved one or delivery, in no state; also where a name is part of another."""
    tenants = ("acm", "acme", "acme-x", "zeta")
    for name in ("done", "run", "again", "ready"):
        for tenant in tenants:
            await scene.enqueue(f"{tenant}-{name}-reserved", tenant=tenant, reserve=True)
            if name != "again":
                await scene.enqueue(f"{tenant}-{name}", tenant=tenant, webhook="https://a.example")
        claimed = (await scene.claim()).tasks if name != "ready" else []
        if name == "done":
            await scene.complete(*claimed)
        elif name == "again":
            for each in claimed:
                await scene.release(each, delay_ms=1000)
    for tenant in tenants:
        await scene.enqueue(f"{tenant}-late", tenant=tenant, delay=LATE)
    assert len(scene.leased()) == 8
    assert len(scene.delayed("acme")) == 2

    for tenant in tenants:
        for limit in (1, 100):
            names = ("late", "ready", "run", "done")
            assert await walk(scene, limit, tenant) == [f"{tenant}-{name}" for name in names]
    assert await walk(scene, tenant="_acme-x") == []


async def test_what_has_expired_is_not_listed(make_scene: MakeScene) -> None:
    """Its record is gone; the index still has it until a purge."""
    scene = await make_scene(retention=timedelta(milliseconds=1))
    await scene.enqueue("old", "kept", tenant="acme")
    await scene.complete(*(await scene.claim(limit=1)).tasks)
    scene.client.delete(scene.keys.task("old"), scene.keys.run("old"))
    assert scene.finished("acme") == {"old"}

    assert await walk(scene) == ["kept"]
    scene.advance(2)
    await scene.store.purge()


async def test_a_record_that_is_damaged_is_said(scene: Scene) -> None:
    """By hand: a header without an end."""
    await scene.enqueue("a", tenant="acme")
    record = scene.client.get(scene.keys.task("a"))
    scene.client.set(scene.keys.task("a"), record.replace(b"\n", b"|"))

    with pytest.raises(QueueCorrupt):
        await walk(scene)
    scene.client.set(scene.keys.task("a"), record)


async def test_what_lost_its_record_hides_nothing(scene: Scene) -> None:
    """By hand: a lane begins with ids that stand for nothing; a page of one task passes over them."""
    await scene.enqueue(*(f"lost-{number}" for number in range(5)), "a", tenant="acme")
    await scene.enqueue("b", "c", tenant="acme", type="GEMINI")
    start = scene.snapshot()
    scene.client.delete(*(scene.keys.task(f"lost-{number}") for number in range(5)))

    found = await walk(scene, 1)

    scene.restore(start)
    assert found == ["a", "b", "c"]


# What it costs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ready", "delayed", "finished"])
async def test_a_page_far_down_costs_what_the_first_one_costs(scene: Scene, kind: str) -> None:
    """Of 1,500 tasks, most of one instant: the last ten need a few halvings more than the first ten."""
    for start in range(0, 1500, 750):
        names = [f"task-{number:04}" for number in range(start, start + 750)]
        await scene.enqueue(*names, tenant="acme", delay=LATE if kind == "delayed" else None)
        if kind == "finished":
            await scene.complete(*(await scene.claim()).tasks)

    costs = []
    position: Position | None = None
    for limit in (10, 1485, 10):
        before = scene.client.info("commandstats")
        tasks, position = await scene.store.list_tasks("acme", limit=limit, after=position)
        costs.append(sum(scene.calls_since(before).values()))
        assert len(tasks) == min(limit, 1500 - sum((10, 1485)[: len(costs) - 1]))

    assert position is None
    assert costs[2] <= costs[0] + 20
    assert costs[1] > 10 * costs[0]


async def test_a_filter_that_passes_over_everything_ends_a_page_all_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two failures behind 300 completions; a page looks at no more than it may, and may be empty."""
    monkeypatch.setattr(listing, "LOOKED_AT", 100)
    monkeypatch.setattr(listing, "_AT_ONCE", 20)
    await scene.enqueue("failed-1", "failed-2", tenant="acme")
    await scene.fail(*(await scene.claim()).tasks)
    scene.advance(1)
    await scene.enqueue(*(f"done-{number}" for number in range(300)), tenant="acme")
    await scene.complete(*(await scene.claim()).tasks)

    found = [[task.id for task in page] async for page in pages(scene, 50, states=[TaskState.FAILED])]

    assert found == [[], [], [], ["failed-2", "failed-1"]]


async def test_whose_tenant_nothing_runs_looks_at_no_lease(scene: Scene) -> None:
    """The leases of others are not touched, so that nothing tells how many there are."""
    await scene.enqueue("a", tenant="acme")
    # The first call of all may have to send the script.
    await walk(scene)
    before = scene.client.info("commandstats")
    await walk(scene)
    alone = scene.calls_since(before)
    await scene.enqueue(*(f"other-{number}" for number in range(500)), tenant="zeta", priority=9)
    await scene.claim(limit=500)

    before = scene.client.info("commandstats")
    assert await walk(scene) == ["a"]

    assert scene.calls_since(before) == alone


# What happens meanwhile --------------------------------------------------------------------------


class Life:
    """Tasks of a tenant that move while they are listed, at random, and only onwards."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.random = random.Random(seed)
        self.held: dict[str, ClaimedTask] = {}
        self.moved: set[str] = set()
        self.made = 0

    async def add(self, count: int, **fields: Any) -> list[str]:
        """Enqueue some."""
        names = [f"{self.random.getrandbits(64):x}" for _ in range(count)]
        await self.scene.enqueue(*names, tenant="acme", **fields)
        return names

    async def step(self) -> None:
        """Let something happen: time passes, tasks come, are claimed, extended, ended, cancelled."""
        scene, chance = self.scene, self.random
        match chance.randrange(6):
            case 0:
                await self.add(chance.randrange(1, 4), priority=chance.randrange(1, 10))
            case 1:
                await self.add(chance.randrange(1, 4), delay=timedelta(seconds=chance.randrange(1, 90)))
            case 2:
                scene.advance(chance.randrange(1, 3000))
                due = {name for name, after in scene.delayed("acme").items() if after <= 0}
                await scene.store.promote()
                self.moved |= due
            case 3:
                delayed = set(scene.delayed("acme"))
                tasks = (await scene.claim(TYPES, limit=chance.randrange(1, 6), lease_ms=10**7)).tasks
                self.held |= {task.id: task for task in tasks}
                self.moved |= self.held.keys() | (delayed - scene.delayed("acme").keys())
            case 4 if self.held:
                ending = [self.held.pop(name) for name in chance.sample(sorted(self.held), 1)]
                await (scene.complete if chance.random() < 0.5 else scene.fail)(*ending)
            case _:
                leases = [(task.id, task.token) for task in self.held.values()]
                await scene.store.extend("worker-1", leases, 10**7 + chance.randrange(10**6))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limit", [1, 3, 10])
async def test_what_stays_is_listed_once_and_what_moves_on_at_least_once(
    scene: Scene, seed: int, limit: int
) -> None:
    """Between any two pages tasks come, become ready, start, are extended and end."""
    life = Life(scene, seed)
    ended = await life.add(12)
    await scene.complete(*(await scene.claim()).tasks)
    known = [*ended, *await life.add(12)]
    for task in (await scene.claim(lease_ms=10**7)).tasks:
        life.held[task.id] = task
    running = set(life.held)
    known += await life.add(15, priority=5)
    known += await life.add(15, type="GEMINI", priority=7)
    known += await life.add(15, delay=timedelta(seconds=50))
    life.moved.clear()

    found: Counter[str] = Counter()
    async for page in pages(scene, limit):
        found.update(task.id for task in page)
        for _ in range(2):
            await life.step()

    assert {name for name in known if not found[name]} == set()
    stayed = set(known) - life.moved - running
    assert stayed
    assert {found[name] for name in stayed} == {1}


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_what_runs_is_met_among_the_leases_of_all(scene: Scene, limit: int) -> None:
    """Four hundred leases, forty of them acme's; between the pages others end, and all are extended."""
    own = [f"own-{number}" for number in range(40)]
    others = [f"other-{number}" for number in range(360)]
    await scene.enqueue(*others, tenant="zeta")
    await scene.enqueue(*own, tenant="acme")
    held = {task.id: task for task in (await scene.claim()).tasks}

    found: Counter[str] = Counter()
    async for page in pages(scene, limit, states=[TaskState.PROCESSING]):
        found.update(task.id for task in page)
        ending: Sequence[str] = [name for name in others if name in held][:5]
        await scene.complete(*(held.pop(name) for name in ending))
        await scene.store.extend("worker-1", [(task.id, task.token) for task in held.values()], LEASE_MS * 2)

    assert set(found) == set(own)


@pytest.mark.parametrize("after", [3, 7, 12])
async def test_what_runs_is_met_in_a_table_that_shrinks(scene: Scene, after: int) -> None:
    """Of 600 tasks that run all but forty end between two pages."""
    names = [f"{number * 7919 % 600:03}" for number in range(600)]
    await scene.enqueue(*names, tenant="acme")
    held = {task.id: task for task in (await scene.claim()).tasks}

    found: list[str] = []
    left: list[str] = []
    number = 0
    async for page in pages(scene, 20):
        found += [task.id for task in page if task.state is TaskState.PROCESSING]
        number += 1
        if number == after:
            left = [name for name in names if name not in found][:40]
            await scene.complete(*(task for name, task in held.items() if name not in left))

    assert len(left) == 40
    assert set(left) <= set(found)


async def test_a_few_leases_are_met_once(scene: Scene) -> None:
    """As long as the server keeps them in one piece."""
    await scene.enqueue(*(f"task-{number:02}" for number in range(20)), tenant="acme")
    await scene.claim()

    assert await walk(scene, 3) == [f"task-{number:02}" for number in range(20)]


async def test_pages_of_what_runs_are_full(scene: Scene) -> None:
    """The table is read in steps of a few tasks each; a page gathers them until it is full, or nearly so."""
    await scene.enqueue(*(f"task-{number:03}" for number in range(400)), tenant="acme")
    await scene.claim()

    sizes = [len(page) async for page in pages(scene, 40, tenant="acme", states=[TaskState.PROCESSING])]

    assert sum(sizes) == 400
    assert all(size >= 20 for size in sizes[:-1])
    assert len(sizes) <= 20


@pytest.mark.parametrize("state", [TaskState.QUEUED, TaskState.PROCESSING, TaskState.COMPLETED])
async def test_a_page_that_holds_all_that_is_left_is_the_last(scene: Scene, state: TaskState) -> None:
    """Nobody is sent for a page with nothing on it."""
    await scene.enqueue("a", "b", "c", tenant="acme")
    if state is not TaskState.QUEUED:
        claim = await scene.claim()
        if state is TaskState.COMPLETED:
            await scene.complete(*claim.tasks)

    tasks, position = await scene.store.list_tasks("acme", limit=3, states=[state])

    assert sorted(task.id for task in tasks) == ["a", "b", "c"]
    assert position is None


async def test_a_page_goes_on_from_ready_tasks_to_running_ones(scene: Scene) -> None:
    """It is full if there are enough: what runs is not put off to the next page."""
    await scene.enqueue("r1", "r2", "r3", tenant="acme", type="HELD")
    await scene.claim(("HELD",))
    await scene.enqueue("a", "b", tenant="acme")

    assert [len(page) async for page in pages(scene, 4)] == [4, 1]


async def test_a_finished_task_in_a_list_says_what_it_cost(scene: Scene) -> None:
    """As it does by itself; only what may be long is left out."""
    await scene.enqueue("a", tenant="acme", cost=5)
    await scene.complete(await scene.claim_one())

    [[listed]] = [page async for page in pages(scene, 10)]

    assert listed.charged == (await scene.task("a")).charged == 5


async def test_a_delivered_task_in_a_list_says_so(scene: Scene) -> None:
    """As it does by itself."""
    await scene.enqueue("a", tenant="acme", webhook="https://a.example")
    await scene.complete(await scene.claim_one())
    assert await scene.store.delivered("a")

    [[listed]] = [page async for page in pages(scene, 10)]

    assert listed.delivered_at == (await scene.task("a")).delivered_at is not None


async def test_running_tasks_are_met_though_their_number_shrinks(scene: Scene) -> None:
    """The server's own order of them changes then: a page must not end inside of what it looked at last."""
    await scene.enqueue(*(f"r{number}" for number in range(400)), tenant="acme", type="HELD")
    running = sorted((await scene.claim(("HELD",))).tasks, key=lambda task: task.id)
    await scene.enqueue("ready", tenant="acme")
    first, position = await scene.store.list_tasks("acme", limit=5)
    await scene.complete(*running[40:])

    met = {task.id for task in first}
    while position is not None:
        tasks, position = await scene.store.list_tasks("acme", limit=5, after=position)
        met |= {task.id for task in tasks}

    assert {task.id for task in running[:40]} <= met


async def test_a_task_in_a_list_says_which_providers_it_left(scene: Scene) -> None:
    """And where it runs; as it does by itself."""
    chains = {"GROK": ("alpha", "beta")}
    await scene.enqueue("a", tenant="acme")
    [claimed] = (await scene.claim(chains=chains)).tasks
    await scene.store.switch(claimed.id, claimed.token, left="alpha", verdict="left", following=["beta"])

    [[listed]] = [page async for page in pages(scene, 10)]

    assert (listed.provider, listed.tried) == ("beta", ("alpha:left",))


async def test_a_task_in_a_list_says_how_many_workers_it_lost(scene: Scene) -> None:
    """As it does by itself."""
    await scene.enqueue("a", tenant="acme")
    await scene.claim_one()
    await scene.lose()

    [[listed]] = [page async for page in pages(scene, 10)]

    assert listed.crashes == 1


async def test_leases_of_others_are_passed_in_steps(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """No script goes through all of them at once, however few are wanted."""
    monkeypatch.setattr(listing, "_AT_ONCE", 20)
    await scene.enqueue(*(f"z{number}" for number in range(300)), tenant="zeta")
    await scene.enqueue("a", tenant="acme")
    await scene.claim()
    scene.client.config_resetstat()

    assert await walk(scene, states=[TaskState.PROCESSING]) == ["a"]

    assert scene.client.info("commandstats")["cmdstat_evalsha"]["calls"] >= 5
