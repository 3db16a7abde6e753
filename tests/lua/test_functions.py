"""Scripts as functions of the server: they do the same, and where they cannot be had scripts do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from taskqueue.connect import Connector
from taskqueue.functions import FunctionError, library
from taskqueue.keys import Keys
from taskqueue.ranking import policy
from taskqueue.scripts import AS_FUNCTIONS, load
from taskqueue.store import ClaimedTask, Completion, Failure, Store
from taskqueue.testing import FakeClock
from tests.lua.scene import BOOM, Scene
from tests.servers import RealServer

POLICIES = ["strict", "fair_within_priority", "fair_tenants"]
TYPES = ("GROK", "GEMINI", "CHATGPT")
TENANTS = ("acme", "beta", "zeta")
STEPS = 250


@asynccontextmanager
async def opened(
    server: RealServer,
    name: str,
    *,
    functions: bool,
    policy_name: str = "strict",
    clock: FakeClock | None = None,
) -> AsyncIterator[Scene]:
    """Yield a scene on a queue that uses functions, or only scripts."""
    connector = Connector.parse(server.url)
    await connector.open()
    clock = clock or FakeClock()
    store = Store(connector.client(), Keys(name), clock=clock)
    store._caller._takes_functions = functions
    await store.open(None, policy_name)
    try:
        with server.client() as client:
            yield Scene(store, clock, client)
    finally:
        await store.close()
        await connector.close()


async def work(scene: Scene, seed: int) -> list[Any]:
    """Do a queue's work of every kind, drawn by chance; return what was answered."""
    dice, said, held = Random(seed), list[Any](), list[ClaimedTask]()
    store = scene.store
    await store.set_limit(tenant="beta", concurrency=3)
    await store.grant("zeta", 60)
    await store.set_provider("first", {"max": "2"})
    for step in range(STEPS):
        scene.clock.advance(timedelta(milliseconds=dice.choice([0, 5, 400])))
        match dice.randrange(5):
            case 0 | 1:
                tenant = dice.choice(TENANTS)
                names = [f"t{step}-{number}" for number in range(dice.randint(1, 4))]
                options: dict[str, Any] = {"tenant": tenant, "type": dice.choice(TYPES)}
                options |= {"priority": dice.randint(1, 10), "cost": dice.randint(0, 3)}
                if dice.random() < 0.3:
                    options["delay"] = timedelta(milliseconds=dice.randint(1, 900))
                if dice.random() < 0.2:
                    names, options = names[:1], options | {"idempotency_key": f"key-{dice.randint(0, 9)}"}
                said.append(await store.enqueue([scene.entry(name, **options) for name in names]))
            case 2:
                request = scene.request(TYPES, limit=dice.randint(1, 5), chains={"GROK": ("first", "second")})
                words, claim = await store.complete(some(dice, held), request)
                assert claim is not None
                held += claim.tasks
                said.append((words, [vars_of(task) for task in claim.tasks], claim.more, claim.next_in))
            case 3:
                failures = [Failure(done.id, done.token, BOOM, 50) for done in some(dice, held)]
                said.append(await store.fail(failures))
            case _:
                claim = await scene.claim(TYPES, limit=3)
                held += claim.tasks
                said.append([vars_of(task) for task in claim.tasks])
    return said


def some(dice: Random, held: list[ClaimedTask]) -> list[Completion]:
    """Take some of what is held, to be reported."""
    taken = [held.pop(dice.randrange(len(held))) for _ in range(min(len(held), dice.randint(0, 4)))]
    return [Completion(task.id, task.token, b"\xc0") for task in taken]


def vars_of(task: ClaimedTask) -> tuple[Any, ...]:
    """Return everything that a claim says of a task."""
    return (task.id, task.token, task.attempt, task.deliveries, task.crashes, task.record, task.provider)


def everything(scene: Scene) -> dict[bytes, Any]:
    """Return every key of a queue with its value, and whether it ends, which the server's clock decides."""
    prefix = scene.keys.prefix.encode()
    found = {
        name.removeprefix(prefix): (stored.value, stored.expires > 0)
        for name, stored in scene.snapshot().items()
    }
    # Each queue has one of its own; so has each call.
    found[b"meta"][0].pop(b"dataset")
    return {name: value for name, value in found.items() if not name.startswith(b"answer:")}


@pytest.mark.parametrize("policy_name", POLICIES)
async def test_a_function_does_what_its_script_does(
    server: RealServer, queue_name: str, policy_name: str
) -> None:
    """The same work on two queues: every answer and every key is the same, under every policy."""
    start, left = datetime.now(UTC), list[Any]()
    for functions in (False, True):
        name = f"{queue_name}-{int(functions)}"
        async with opened(
            server, name, functions=functions, policy_name=policy_name, clock=FakeClock(start)
        ) as scene:
            # As text, in which exceptions compare.
            left.append(([repr(each) for each in await work(scene, seed=7)], everything(scene)))
            scene.client.delete(*scene.names())

    (said, stored), (said_by_function, stored_by_function) = left
    assert said == said_by_function
    assert stored == stored_by_function


async def test_calls_go_to_functions(server: RealServer, queue_name: str) -> None:
    """After the first call, which loads it, the script is not sent any more."""
    async with opened(server, queue_name, functions=True) as scene:
        await scene.enqueue("a", "b")
        scene.client.config_resetstat()
        await scene.enqueue("c")

        stats = scene.client.info("commandstats")

    assert stats["cmdstat_fcall"]["calls"] == 1
    assert "cmdstat_evalsha" not in stats


async def test_functions_that_are_gone_are_loaded_again(server: RealServer, queue_name: str) -> None:
    """FUNCTION FLUSH between two calls is not noticed."""
    async with opened(server, queue_name, functions=True) as scene:
        await scene.enqueue("a")
        scene.client.execute_command("FUNCTION", "FLUSH")
        await scene.enqueue("b")

        assert {task.id for task in (await scene.claim()).tasks} == {"a", "b"}
        listed = scene.client.execute_command("FUNCTION", "LIST", "LIBRARYNAME", "tq_enqueue_*")

    assert len(listed) == 1


@pytest.mark.parametrize("refused", ["-fcall", "-function"])
async def test_a_user_who_may_not_use_functions_uses_scripts(
    server: RealServer, queue_name: str, refused: str
) -> None:
    """Whether it may not call them or not load them; it is asked once."""
    with server.client() as client:
        client.execute_command("FUNCTION", "FLUSH")
        client.execute_command("ACL", "SETUSER", "plain", "reset", "on", ">pw", "~*", "&*", "+@all", refused)
    connector = Connector.parse(f"unix://plain:pw@{server.socket}")
    store = Store(connector.client(), Keys(queue_name), clock=FakeClock())
    try:
        await store.open()
        scene = Scene(store, FakeClock(), client)
        await scene.enqueue("a")
        await scene.enqueue("b")
        assert not store._caller._takes_functions
        assert (await store.stats()).queued == 2
    finally:
        await store.close()
        client.execute_command("ACL", "DELUSER", "plain")


async def test_a_full_server_that_has_no_function_still_drains(queue_name: str) -> None:
    """FUNCTION LOAD needs memory, scripts that end tasks do not: they go the old way until there is some."""
    with RealServer() as server:
        async with opened(server, queue_name, functions=True) as scene:
            await scene.enqueue("a", "b")
            scene.client.execute_command("FUNCTION", "FLUSH")
            scene.client.config_set("maxmemory", 1)

            claim = await scene.claim()
            words, _ = await scene.store.complete(
                [Completion(task.id, task.token, b"\xc0") for task in claim.tasks]
            )

            assert words == ["completed", "completed"]
            assert scene.store._caller._takes_functions


@pytest.mark.parametrize("name", sorted(AS_FUNCTIONS))
@pytest.mark.parametrize("rule", POLICIES)
def test_the_name_of_a_library_tells_its_version(name: str, rule: str) -> None:
    """Another policy, or another version of the code, is another library; flags are the same."""
    script = load(name, policy(rule).lua)
    others = {load(name, policy(other).lua).library for other in POLICIES}

    assert script.library is not None
    assert re.fullmatch(rf"tq_{name}_[0-9a-f]{{16}}", script.library.name)
    assert len({made.name for made in others if made is not None}) == len(POLICIES)
    assert ("'allow-oom'" in script.library.code) == ("allow-oom" in script.source.split("\n")[0])


@pytest.mark.parametrize("name", sorted(AS_FUNCTIONS))
@pytest.mark.parametrize("rule", POLICIES)
def test_servers_take_the_library(server: RealServer, name: str, rule: str) -> None:
    """One that they refuse (for more than 200 local variables, say) would be a slow script without a word."""
    made = load(name, policy(rule).lua).library
    assert made is not None

    with server.client() as client:
        assert client.execute_command("FUNCTION", "LOAD", "REPLACE", made.code) == made.name.encode()


def test_two_variables_of_one_name_are_refused() -> None:
    """They would be one, and functions made for the first would see the second."""
    with pytest.raises(FunctionError, match=r"twice.*: count"):
        library("x", "#!lua", (("a", "local count = 1"), ("b", "local count, other = 2, 3\nreturn count")))


def test_values_of_variables_are_set_at_every_call_and_constants_once() -> None:
    """What a call leaves in a table is gone at the next one."""
    parts = (("a", 'local NAMES = { a = "A" }\nlocal seen, rest = {}, nil\nlocal later'),)
    made = library("x", "#!lua", parts)

    before, _, piece = made.code.partition("pieces[1] = function()")
    assert 'NAMES = { a = "A" }' in before
    assert "seen, rest = {}, nil\nlater = nil" in piece
