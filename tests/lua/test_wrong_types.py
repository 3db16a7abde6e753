"""Plan reads everything that apply writes: a script that meets a bad key changes nothing at all.

The server does not roll back. So each script is run once for every key that it touches, with that
key made one of a wrong type: it must fail with every key as it was, byte for byte; or succeed and
have left that key alone. A key on a slot that a cluster is moving away fails in the same places.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from taskqueue.errors import QueueCorrupt
from taskqueue.scripts import script_names
from tests.lua.conftest import MakeScene
from tests.lua.prepared import prepare
from tests.lua.scene import Scene, Snapshot
from tests.lua.situations import SITUATIONS, Call, Situation, call_of

POLICIES = ["strict", "fair_tenants"]
LISTS = ("wake:", "inbox:")


def test_every_script_is_looked_at() -> None:
    """A new script needs a situation here."""
    assert {situation.script for situation in SITUATIONS} == set(script_names())


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
async def test_a_key_of_a_wrong_type_changes_nothing(
    make_scene: MakeScene, situation: Situation, policy: str
) -> None:
    """Every key that the call touches or makes, one after the other."""
    scene = await make_scene(policy=policy)
    held = await prepare(scene)
    sound = scene.snapshot()
    if situation.meanwhile is not None:
        await situation.meanwhile(scene, held)
    start = scene.snapshot()
    call = await call_of(scene, situation, held)
    halfway = None if situation.halfway is None else partial(situation.halfway, scene, held)
    touched = await keys_touched_by(scene, call)
    assert scene.keys.meta in touched
    scene.restore(start)

    problems = []
    for key in sorted(touched):
        before = broken(scene, start, key)
        problems += [f"{key}: {problem}" for problem in await run_into(scene, before, key, call, halfway)]
        scene.restore(start)

    scene.restore(sound)
    assert problems == []


async def run_into(
    scene: Scene, before: Snapshot, key: str, call: Call, halfway: Callable[[], Awaitable[object]] | None
) -> list[str]:
    """Make the call where one key is of a wrong type; return what is wrong with how it ended."""
    try:
        await call.make(scene)
    except QueueCorrupt:
        after = scene.snapshot()
        changed = differences(before, after)
        if changed and halfway is not None:
            scene.restore(before)
            await halfway()
            if essence(scene.snapshot()) == essence(after):
                changed = []
        problems = [f"failed, and changed {name}" for name in changed]
    else:
        after = scene.snapshot()
        is_same = after.get(key.encode()) == before[key.encode()]
        problems = [] if is_same else ["succeeded, and wrote over it"]
    return problems


def broken(scene: Scene, start: Snapshot, key: str) -> Snapshot:
    """Make one key what it cannot be, in a queue that is at its start; return that state."""
    scene.client.delete(key)
    if key.removeprefix(scene.keys.prefix).startswith(LISTS):
        scene.client.set(key, "no list")
    else:
        scene.client.rpush(key, "a list")
    return start | {name: stored for name, stored in scene.snapshot().items() if name == key.encode()}


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Return the names of the keys in which two states differ."""
    names = before.keys() | after.keys()
    return sorted(name.decode() for name in names if before.get(name) != after.get(name))


def essence(state: Snapshot) -> dict[bytes, Any]:
    """Return the values of a state, without what two ways to it need not have in common.

    That is the millisecond in which a key expires, and the wake markers: each half of a double
    script sets them at its own end.
    """
    return {name: stored.value for name, stored in state.items() if b":wake:" not in name}


async def keys_touched_by(scene: Scene, call: Call) -> set[str]:
    """Make the call, and return every key that it read or wrote, whether it exists or not."""
    prefix, touched = scene.keys.prefix, set[str]()
    with scene.client.monitor() as commands:
        await call.make(scene)
        scene.client.echo("the call has ended")
        for command in commands.listen():
            if "the call has ended" in command["command"]:
                break
            words = command["command"].split(" ")
            touched.update(word for word in words if word.startswith(prefix) and word != prefix)
    return touched
