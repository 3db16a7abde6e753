"""claim with a lowest priority, as a partitioned queue's workers ask: what is below it stays, and is told."""

from __future__ import annotations

import pytest

from tests.lua.scene import Scene

TYPES = ("GROK", "GEMINI")


async def filled(scene: Scene) -> None:
    """Two types, priorities 9 to 2."""
    await scene.enqueue("a9", priority=9)
    await scene.enqueue("b7", priority=7, type="GEMINI")
    await scene.enqueue("a5", "also-a5", priority=5)
    await scene.enqueue("b2", priority=2, type="GEMINI")


@pytest.mark.parametrize(
    ("lowest", "taken", "best"),
    [
        (10, [], 9),
        (9, ["a9"], 7),
        (8, ["a9"], 7),
        (6, ["a9", "b7"], 5),
        (5, ["a9", "b7", "a5", "also-a5"], 2),
        (1, ["a9", "b7", "a5", "also-a5", "b2"], None),
    ],
)
async def test_what_is_below_it_stays_and_the_best_of_it_is_told(
    scene: Scene, lowest: int, taken: list[str], best: int | None
) -> None:
    """In one order over all types, as without it."""
    await filled(scene)

    claim = await scene.claim(TYPES, lowest=lowest)

    assert [task.id for task in claim.tasks] == taken
    assert (claim.best, claim.more) == (best, best is not None)


async def test_the_best_is_told_of_types_that_have_slots(scene: Scene) -> None:
    """What nobody could run here is no reason to hurry."""
    await filled(scene)

    assert (await scene.claim({"GROK": 0, "GEMINI": 1}, lowest=10)).best == 7
    assert (await scene.claim({"GROK": 1, "GEMINI": 0}, lowest=10)).best == 9
    claim = await scene.claim({"GROK": 0, "GEMINI": 0}, lowest=10)
    assert (claim.tasks, claim.best) == ([], None)


async def test_the_limit_counts_before_it(scene: Scene) -> None:
    """One task is one task; the next best is told."""
    await filled(scene)

    claim = await scene.claim(TYPES, lowest=5, limit=1)

    assert ([task.id for task in claim.tasks], claim.best) == (["a9"], 7)
