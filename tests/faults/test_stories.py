"""Every call of every story meets every fault once; nothing is lost, done twice or left behind."""

from __future__ import annotations

import pytest

from taskqueue.scripts import script_names
from tests.faults.accounting import STORIES as ACCOUNTING
from tests.faults.exploring import Explorer, Story
from tests.faults.faults import FAULTS, NO_REPLY, RUN_WITHOUT_REPLY, UNKNOWN_FUNCTION
from tests.faults.operating import STORIES as OPERATING
from tests.faults.producing import STORIES as PRODUCING
from tests.faults.staging import Stage
from tests.faults.working import STORIES as WORKING

STORIES = [*PRODUCING, *WORKING, *OPERATING, *ACCOUNTING]

every_story = pytest.mark.parametrize("story", STORIES, ids=str)


def test_every_script_is_in_a_story() -> None:
    """A new script needs a story here."""
    assert {script for story in STORIES for script in story.scripts} == set(script_names())


@every_story
async def test_a_fault_is_not_noticed(explorer: Explorer, story: Story) -> None:
    """Each run meets one fault at one call, and ends as the run without a fault does."""
    found = await explorer.explore(story)

    assert found.problems == []
    assert {call.script for call in found.calls} >= set(story.scripts)


@every_story
async def test_a_fault_that_comes_twice_is_not_noticed(explorer: Explorer, story: Story) -> None:
    """So does the repeat of the call."""
    found = await explorer.explore(story, [RUN_WITHOUT_REPLY, UNKNOWN_FUNCTION], times=2)

    assert found.problems == []


@pytest.mark.parametrize("story", [story for story in STORIES if not story.begins_damaged], ids=str)
async def test_a_call_that_gives_up_leaves_a_sound_queue(explorer: Explorer, story: Story) -> None:
    """Patience is over with the first fault: `ServerUnavailable`, and nobody knows what was done.

    What was is whole: the audit finds nothing, and of all that was accepted the promises hold.
    """
    found = await explorer.explore(story, [NO_REPLY, RUN_WITHOUT_REPLY], is_impatient=True)

    assert found.problems == []


async def test_every_fault_meets_a_call(explorer: Explorer) -> None:
    """A fault that nothing can meet proves nothing."""

    async def act(stage: Stage) -> None:
        stage.store._replicas = 0
        await stage.enqueue(durability="replicated")
        await stage.ask(lambda: stage.store.wait_wake(["GROK"], 1), lost=lambda answer: True)
        await stage.claim()

    found = await explorer.explore(Story("a short one", act, ()))

    assert found.met == {fault.name for fault in FAULTS}
