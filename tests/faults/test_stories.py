"""Every call of every story meets every fault once; nothing is lost, done twice or left behind."""

from __future__ import annotations

import pytest

from tests.faults.accounting import STORIES as ACCOUNTING
from tests.faults.exploring import Explorer, Story
from tests.faults.operating import STORIES as OPERATING
from tests.faults.producing import STORIES as PRODUCING
from tests.faults.working import STORIES as WORKING

STORIES = [*PRODUCING, *WORKING, *OPERATING, *ACCOUNTING]


@pytest.mark.parametrize("story", STORIES, ids=str)
async def test_a_fault_is_not_noticed(explorer: Explorer, story: Story) -> None:
    """Each run meets one fault at one call, and ends as the run without a fault does."""
    found = await explorer.explore(story)

    assert found.problems == []
    assert {call.script for call in found.calls} >= set(story.scripts)
