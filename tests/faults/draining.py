"""Does all the work that a story has left, without faults: who is accepted runs, and ends."""

from __future__ import annotations

from taskqueue.store import ClaimedTask, Completion
from tests.faults.staging import RESULT, TYPES, Stage
from tests.lua.scene import Scene

_LONGEST_DELAY_MS = 3_600_000
_ROUNDS = 10


async def drain(stage: Stage) -> None:
    """Lift limits and pauses, report what is held, and run everything until nothing is left."""
    scene, ledger = stage.scene, stage.ledger
    await _lift(stage)
    await _complete(stage, list(ledger.held.values()))
    ledger.held.clear()
    for _ in range(_ROUNDS):
        claim = await scene.claim(TYPES)
        ledger.starts.append(claim.tasks)
        await _complete(stage, claim.tasks)
        if claim.tasks or claim.more:
            continue
        if not (scene.leased() or scene.due()):
            return
        # Delays pass, and whoever holds a lease and is not of this story has died.
        await _let_time_pass(scene)
    stage.problems.append("there is always something left to do")


async def _lift(stage: Stage) -> None:
    store = stage.store
    await store.resume()
    for limit in await store.limits():
        scope = {limit.scope: limit.name}
        await store.resume(**scope)
        await store.set_limit(**scope, concurrency=None)


async def _complete(stage: Stage, tasks: list[ClaimedTask]) -> None:
    if tasks:
        words, _ = await stage.store.complete([Completion(task.id, task.token, RESULT) for task in tasks])
        for task, word in zip(tasks, words, strict=True):
            stage.ledger.completed[task.id] += word == "completed"


async def _let_time_pass(scene: Scene) -> None:
    scene.advance(_LONGEST_DELAY_MS)
    if scene.leased():
        await scene.lose()
