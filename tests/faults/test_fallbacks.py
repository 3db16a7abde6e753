"""A call goes by FCALL, else by EVALSHA, else by EVAL, and loads what the server lacks: each step may fail.

Before each run the server forgets its functions and scripts, so that every run takes all the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from tests.faults.exploring import Explorer, Story
from tests.faults.faults import FAULTS, UNKNOWN_FUNCTION
from tests.faults.staging import Stage
from tests.servers import RealServer

LOADED = ["FCALL", "FUNCTION", "FCALL"]
SENT = ["EVALSHA", "EVAL"]


async def two(stage: Stage) -> None:
    """Two tasks, one of which is held."""
    await stage.enqueue_many({"id": "a"}, {"id": "b"})
    await stage.claim(limit=1)


async def enqueues(stage: Stage) -> None:
    """A task with a key."""
    await stage.enqueue(idempotency_key="k")


async def claims(stage: Stage) -> None:
    """The task that is left."""
    await stage.claim()


async def completes(stage: Stage) -> None:
    """The task that is held, and a claim in the same call."""
    await stage.complete("a", slots=("GROK",))


async def cancels(stage: Stage) -> None:
    """A script that is no function."""
    await stage.ask(lambda: stage.store.cancel_queued("b"))


def forget(stage: Stage) -> None:
    """Let the server forget everything that was loaded, and the store what it learned of that."""
    stage.scene.client.script_flush()
    stage.scene.client.function_flush()
    stage.store._caller._takes_functions = True


def forget_and_use_scripts(stage: Stage) -> None:
    """The same, on a server that is known to take no functions."""
    forget(stage)
    stage.store._caller._takes_functions = False


FUNCTIONS = [
    Story("enqueue", enqueues, ("enqueue",), two, meddle=forget),
    Story("claim", claims, ("claim",), two, meddle=forget),
    Story("complete", completes, ("complete",), two, meddle=forget),
]
SCRIPTS = [
    *(replace(story, meddle=forget_and_use_scripts) for story in FUNCTIONS),
    Story("cancel", cancels, ("cancel",), two, meddle=forget),
]


@pytest.mark.parametrize("story", FUNCTIONS, ids=str)
@pytest.mark.parametrize("times", [1, 2])
async def test_each_step_of_loading_a_function_may_fail(explorer: Explorer, story: Story, times: int) -> None:
    """The call is lost, or the loading, or the call after that; or the function is gone again."""
    found = await explorer.explore(story, times=times)

    assert found.problems == []
    assert [call.command for call in found.calls] == LOADED


@pytest.mark.parametrize("story", SCRIPTS, ids=str)
@pytest.mark.parametrize("times", [1, 2])
async def test_each_step_of_sending_a_script_may_fail(explorer: Explorer, story: Story, times: int) -> None:
    """By its digest, and then by its source."""
    found = await explorer.explore(story, times=times)

    assert found.problems == []
    assert [call.command for call in found.calls] == SENT


@pytest.fixture(params=["-fcall", "-function"])
def weak_url(request: pytest.FixtureRequest, server: RealServer, client: redis.Redis) -> Iterator[str]:
    """The server for a user who may not call functions, or not load them."""
    admin: Any = client  # redis-py declares no types for this
    admin.execute_command("ACL", "SETUSER", "weak", "reset", "on", ">pw", "~*", "&*", "+@all", request.param)
    yield f"unix://weak:pw@{server.socket}"
    admin.execute_command("ACL", "DELUSER", "weak")


@pytest.mark.parametrize("story", FUNCTIONS, ids=str)
async def test_each_step_of_a_user_without_functions_may_fail(
    explorer: Explorer, weak_url: str, story: Story
) -> None:
    """A server that refuses functions is asked once, and then gets scripts."""
    weak = Explorer(weak_url, explorer.name, explorer.client, explorer.injector)
    # Who may not call a function never hears that there is none.
    faults = [fault for fault in FAULTS if fault is not UNKNOWN_FUNCTION]

    found = await weak.explore(story, faults)

    assert found.problems == []
    assert [call.command for call in found.calls][-2:] == SENT
