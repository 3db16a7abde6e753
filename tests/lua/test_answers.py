"""Calls whose repeat nothing but their own name tells: they are done once, and answer the same again."""

from __future__ import annotations

import pytest

from tests.lua.prepared import prepare
from tests.lua.scene import Scene
from tests.lua.situations import SITUATIONS, Situation, call_of

NAMED = {"clear", "discard", "grant", "redrive"}


@pytest.mark.parametrize("situation", [each for each in SITUATIONS if each.script in NAMED], ids=str)
async def test_a_repeat_changes_nothing_and_has_the_same_answer(scene: Scene, situation: Situation) -> None:
    """Its reply was lost: the same call again, under the same name."""
    call = await call_of(scene, situation, await prepare(scene))
    first = await call.make(scene)
    before = scene.snapshot()

    assert await call.make(scene) == first
    assert scene.snapshot() == before


@pytest.mark.parametrize("situation", [each for each in SITUATIONS if each.script in NAMED], ids=str)
async def test_what_was_answered_is_forgotten_after_an_hour(scene: Scene, situation: Situation) -> None:
    """By then nobody repeats a call."""
    call = await call_of(scene, situation, await prepare(scene))
    await call.make(scene)

    ttl = scene.client.pttl(call.arguments["answer"])

    assert 3_590_000 < ttl <= 3_600_000


async def test_a_repeat_finds_its_task_redriven_whatever_became_of_it(scene: Scene) -> None:
    """A worker was quicker: the task runs, and the caller still hears that it was redriven."""
    [situation] = [each for each in SITUATIONS if each.script == "redrive"]
    call = await call_of(scene, situation, await prepare(scene))
    await call.make(scene)
    await scene.claim(("DONE",))

    assert await call.make(scene) == [b"redriven"]


async def test_two_grants_are_two(scene: Scene) -> None:
    """Only the very same call is a repeat."""
    await scene.store.grant("acme", 10)

    assert (await scene.store.grant("acme", 10)).granted == 20
