"""The runs can fail: each guard that they rest on is taken away once, and they say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from redis import exceptions as redis_errors

from taskqueue import scripts
from tests.faults.exploring import Explorer, Story
from tests.faults.faults import FULL, NO_REPLY, RUN_WITHOUT_REPLY, Fault
from tests.faults.injecting import Words
from tests.faults.staging import Stage
from tests.faults.working import STORIES

Without = Callable[[str, str, str], None]


async def enqueues(stage: Stage) -> None:
    """One task."""
    await stage.enqueue(id="new")


async def two(stage: Stage) -> None:
    """Two tasks, one of which is held."""
    await stage.enqueue_many({"id": "a"}, {"id": "b"}, {"id": "c"})
    await stage.claim(limit=1)


async def claims(stage: Stage) -> None:
    """One of the two tasks that are left."""
    await stage.claim(limit=1)


async def completes(stage: Stage) -> None:
    """The task that is held."""
    await stage.complete("a")


async def grants(stage: Stage) -> None:
    """Ten credits."""
    await stage.grant("acme", 10)


def story(name: str) -> Story:
    """Return a story of workers."""
    return next(each for each in STORIES if each.name == name)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Without:
    """Changes a few words of one Lua file."""

    def change(part: str, old: str, new: str) -> None:
        read = scripts._read

        def changed(name: str) -> str:
            source = read(name)
            if name == part:
                assert source.count(old) == 1
                source = source.replace(old, new)
            return source

        monkeypatch.setattr(scripts, "_read", changed)

    return change


def swap(old: str, new: str) -> Callable[[Words], Words]:
    """Return what calls after a fault would look like if they were not the same call again."""
    return lambda words: tuple(new if word == old else word for word in words)


async def problems_of(explorer: Explorer, story: Story, *faults: Fault) -> str:
    """Return all that the runs find, as one text."""
    return "\n".join((await explorer.explore(story, [*faults, RUN_WITHOUT_REPLY])).problems)


async def test_an_id_that_is_made_anew_makes_a_second_task(explorer: Explorer) -> None:
    """Enqueue must name the task before its first try."""
    prefix = f"tq:{{{explorer.name}}}:task:"
    explorer.injector.spoil = swap(f"{prefix}new", f"{prefix}newer")

    problems = await problems_of(explorer, Story("enqueue", enqueues, ()))

    assert "nobody was told of ['newer']" in problems


async def test_a_request_that_is_named_anew_claims_more(explorer: Explorer) -> None:
    """A claim must be the same request again, or the tasks of the first are held by nobody."""
    explorer.injector.spoil = swap("act-1", "act-2")

    problems = await problems_of(explorer, Story("claim", claims, (), two))

    assert "leased is " in problems
    assert "answer 1 is " in problems


async def test_a_grant_that_is_named_anew_is_given_twice(explorer: Explorer) -> None:
    """A grant leaves nothing else by which its repeat could be told."""
    prefix = f"tq:{{{explorer.name}}}:answer:"
    explorer.injector.spoil = swap(f"{prefix}made-1", f"{prefix}made-2")

    problems = await problems_of(explorer, Story("grant", grants, ()))

    assert "acme was granted 20 credits, not 10" in problems


async def test_without_the_check_of_the_token_two_completions_are_accepted(
    explorer: Explorer, without: Without
) -> None:
    """A late worker reports a task that another one has: no fault is needed to see it."""
    without("_holding", "not run[2] or run[2] ~= token", "not run[2]")

    problems = await problems_of(explorer, story("workers die"))

    assert "without a fault: a was completed 2 times" in problems


async def test_without_the_outcome_of_the_token_a_repeat_is_refused(
    explorer: Explorer, without: Without
) -> None:
    """The worker would take its task for lost, and it is completed."""
    without("_holding", '(outcome and outcome ~= "reaped") and outcome or "stale"', '"stale"')

    problems = await problems_of(explorer, Story("complete", completes, (), two))

    assert "a is COMPLETED, and no completion of it was accepted" in problems


async def test_without_the_look_at_its_id_a_repeat_is_a_conflict(
    explorer: Explorer, without: Without
) -> None:
    """The producer would hear that its own task stands in the way."""
    without("_refusing", "if stored and stored.fingerprint == fingerprint_of(record) then", "if false then")

    problems = await problems_of(explorer, Story("enqueue", enqueues, ()))

    assert "IdempotencyConflict" in problems


async def test_a_lease_that_is_left_is_found_by_the_audit(explorer: Explorer, without: Without) -> None:
    """An ended task would stand in two places."""
    without("_holding", 'send("ZREM", keys.leased, released)', "")

    problems = await problems_of(explorer, Story("complete", completes, (), two))

    assert "without a fault: a is COMPLETED and stands in " in problems


async def test_a_refusal_that_left_something_is_found(explorer: Explorer) -> None:
    """A server that says OOM, and has run the call."""
    problems = await problems_of(
        explorer, Story("enqueue", enqueues, ()), NO_REPLY, replace(FULL, runs="before")
    )

    assert "OOM: it was refused (enqueue: the server has reached its memory limit" in problems
    assert "and left something" in problems


async def test_an_error_that_is_no_passing_problem_is_found(explorer: Explorer) -> None:
    """A reply that nobody knows is not repeated, and the answer is another one."""
    strange = replace(NO_REPLY, name="strange", error=lambda: redis_errors.ResponseError("ERR strange"))

    problems = await problems_of(explorer, Story("claim", claims, (), two), NO_REPLY, strange)

    assert "claim: the server reports ERR strange" in problems


async def test_impatience_is_found(explorer: Explorer) -> None:
    """A call that gives up at the first passing problem, though nobody told it to."""
    impatient = Story(
        "enqueue", enqueues, (), meddle=lambda stage: setattr(stage.store._caller, "patience", 0)
    )

    problems = await problems_of(explorer, impatient)

    assert "it raised ServerUnavailable(" in problems
