"""The checker's sense of order: what is certain is noticed, and what may have been either way is not."""

from __future__ import annotations

import random

import pytest

from tests.chaos.evidence import gather
from tests.chaos.made_up import MadeUp, rules
from tests.chaos.ordering import PassedOver, passed_over


@pytest.fixture
def made() -> MadeUp:
    """A history without anything in it."""
    return MadeUp()


def lives(made: MadeUp, *tasks: str, at: float = 30.0) -> None:
    """Claim tasks one after the other, and let each end."""
    for number, task in enumerate(tasks):
        made.claim("w", at + number * 10, task)
        made.run("w", at + number * 10 + 2, task, at + number * 10 + 3)
        made.report("w", at + number * 10 + 4, task)


def test_the_later_of_two_equals_must_not_start_first(made: MadeUp) -> None:
    """Both wait, of one priority."""
    made.enqueue("first", 0)
    made.enqueue("second", 2)
    lives(made, "second", "first")

    verdict = made.checked()

    assert [(each.rule, each.task) for each in verdict.violations] == [("fifo", "first")]


def test_the_lower_of_two_priorities_must_not_start_first(made: MadeUp) -> None:
    """Both wait; the better one came later, which does not matter."""
    made.enqueue("low", 0, 1)
    made.enqueue("high", 2, 9)
    lives(made, "low", "high")

    verdict = made.checked()

    assert [(each.rule, each.task) for each in verdict.violations] == [("inversion", "high")]


def test_tasks_that_were_offered_at_the_same_time_may_start_either_way(made: MadeUp) -> None:
    """The two calls overlap."""
    made.enqueue("first", 0)
    made.enqueue("second", 0.5)
    lives(made, "second", "first")

    assert made.checked().violations == []


def test_a_task_that_came_during_the_claim_was_not_passed_over(made: MadeUp) -> None:
    """Its acceptance was known only after the claim had begun."""
    made.enqueue("low", 0, 1)
    made.claim("w", 10, "low", until=14)
    made.enqueue("high", 9.5, 9)
    made.report("w", 16, "low")
    lives(made, "high")

    assert made.checked().violations == []


def test_a_task_that_is_taken_meanwhile_was_not_passed_over(made: MadeUp) -> None:
    """Two claims overlap; the other one took the better task."""
    made.enqueue("high", 0, 9)
    made.enqueue("low", 0, 1)
    made.claim("v", 10, "low", until=14)
    made.claim("w", 11, "high", until=16)
    made.report("v", 20, "low")
    made.report("w", 20, "high")

    assert made.checked().violations == []


def test_the_order_holds_inside_of_one_claim_as_well(made: MadeUp) -> None:
    """It took two of three, and not the best."""
    for name, priority in (("a", 1), ("b", 5), ("c", 9)):
        made.enqueue(name, 0, priority)
    made.claim("w", 10, "b", "a", slots=2)
    for name in ("a", "b"):
        made.report("w", 12, name)
    lives(made, "c")

    assert rules(made.checked()) == {"inversion"}


def test_another_type_is_passed_over_only_while_there_is_a_slot_for_it(made: MadeUp) -> None:
    """A worker has no slot left for OTHER, and takes what comes next."""
    made.enqueue("other", 0, 9, type="OTHER")
    made.enqueue("note", 2, 1)
    made.claim("w", 10, "note", slots=1, OTHER=0)
    made.report("w", 12, "note")
    lives(made, "other")

    assert made.checked().violations == []


def test_a_slot_for_another_type_is_to_be_used_first(made: MadeUp) -> None:
    """The same worker with a slot for OTHER, which stood higher."""
    made.enqueue("other", 0, 9, type="OTHER")
    made.enqueue("note", 2, 1)
    made.claim("w", 10, "note", slots=1, OTHER=1)
    made.report("w", 12, "note")
    lives(made, "other")

    assert rules(made.checked()) == {"inversion"}


def test_a_delayed_task_waits_for_nobody(made: MadeUp) -> None:
    """When it may start, is not for the order to say."""
    made.enqueue("delayed", 0, 9, plain=False)
    made.enqueue("low", 2, 1)
    lives(made, "low", "delayed")

    assert made.checked().violations == []


def test_a_cancelled_task_waits_for_nobody(made: MadeUp) -> None:
    """It was cancelled before the claim."""
    made.enqueue("high", 0, 9)
    made.enqueue("low", 0, 1)
    made.cancel("high", 5, "CANCELLED")
    lives(made, "low")

    assert made.checked({"high": "CANCELLED"}).violations == []


def test_a_task_whose_first_claim_nobody_heard_of_waits_for_nobody(made: MadeUp) -> None:
    """It was lent before, to a worker that died: nobody can say when it was waiting."""
    made.enqueue("high", 0, 9)
    made.enqueue("low", 0, 1)
    made.claim("w", 10, "low")
    made.report("w", 12, "low")
    made.claim("v", 20, "high/2")
    made.report("v", 22, "high/2")

    assert made.checked().violations == []


def test_a_time_without_order_is_not_judged(made: MadeUp) -> None:
    """The server had gone back in time."""
    made.enqueue("first", 0)
    made.enqueue("second", 2)
    made.fault(20, 50, disorders=True)
    lives(made, "second", "first")

    assert made.checked().violations == []


def test_the_sweep_finds_what_a_comparison_of_all_pairs_finds() -> None:
    """A hundred random histories of two types, half of them out of order."""
    for seed in range(100):
        made, dice = MadeUp(), random.Random(seed)
        names = [str(number) for number in range(12)]
        for name in names:
            type_ = dice.choice(["NOTE", "OTHER"])
            made.enqueue(name, dice.uniform(0, 40), dice.randint(1, 3), type=type_)
        waiting = list(names)
        for _ in range(6):
            taken = [waiting.pop(dice.randrange(len(waiting))) for _ in range(2)]
            made.claim("w", dice.uniform(20, 60), *taken, slots=dice.randint(0, 2), OTHER=dice.randint(0, 2))
        evidence = gather(made.history)

        swept = {(each.taken, each.is_inversion) for each in passed_over(evidence, names)}

        assert swept == {(each.taken, each.is_inversion) for each in all_pairs(made)}


def all_pairs(made: MadeUp) -> set[PassedOver]:
    """Say what `passed_over` should find, from its docstring and in squared time."""
    evidence = gather(made.history)
    found = set()
    for claim in evidence.claims:
        got = {each.task for each in claim.tasks}
        types = [evidence.submissions[task].type for task in got]
        for task in got:
            low = evidence.submissions[task]
            for name, high in evidence.submissions.items():
                first = min(evidence.claimed[name], key=lambda each: each.deliveries)
                room = claim.slots.get(high.type, 0) - types.count(high.type)
                if high.type != low.type and room <= 0:
                    continue
                waited = high.accepted_at < claim.start and first.start > claim.end
                earlier = high.priority == low.priority and high.accepted_at < low.begun_at
                if waited and (high.priority > low.priority or earlier):
                    found.add(PassedOver(name, task, high.priority > low.priority))
    return found
