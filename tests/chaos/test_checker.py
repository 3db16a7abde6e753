"""The checker on histories made by hand: nothing is said of sound ones, and of the others what is wrong.

A checker that cannot fail proves nothing; the controls of the laboratory (`controls`) show the same
on real servers, with a guard taken out.
"""

from __future__ import annotations

import pytest

from tests.chaos.credits import Account
from tests.chaos.made_up import MadeUp, rules


@pytest.fixture
def made() -> MadeUp:
    """A history without anything in it."""
    return MadeUp()


def test_a_sound_history_is_not_objected_to(made: MadeUp) -> None:
    """Three tasks in their order, one of them tried twice, one cancelled."""
    made.simple("a", 0)
    made.enqueue("b", 20)
    made.claim("w", 22, "b")
    made.run("w", 24, "b", 25)
    made.report("w", 26, "b", "retried")
    made.claim("v", 30, "b/2")
    made.run("v", 32, "b/2", 33)
    made.report("v", 34, "b/2")
    made.enqueue("c", 40)
    made.cancel("c", 42, "CANCELLED")

    verdict = made.checked({"c": "CANCELLED"})

    assert verdict.violations == []
    assert (verdict.counts.offered, verdict.counts.runs, verdict.counts.repeats) == (3, 3, 1)


def test_an_accepted_task_that_is_gone_is_lost(made: MadeUp) -> None:
    """The server does not know it any more, and nothing was done that could lose it."""
    made.enqueue("a", 0)

    assert rules(made.checked({"a": ""})) == {"lost", "linear"}


def test_an_accepted_task_that_never_ended_is_lost(made: MadeUp) -> None:
    """Everything is drained, and it is still QUEUED."""
    made.enqueue("a", 0)

    assert rules(made.checked({"a": "QUEUED"})) == {"lost"}


def test_a_task_whose_fate_is_unknown_may_be_there_or_not(made: MadeUp) -> None:
    """The answers to both enqueues were lost; one was run."""
    made.enqueue("a", 0, outcome="unknown")
    made.simple("b", 10, outcome="unknown")

    verdict = made.checked({"a": ""})

    assert verdict.violations == []
    assert (verdict.counts.accepted, verdict.counts.unknown, verdict.counts.recovered) == (0, 2, 1)


def test_a_task_lost_in_a_window_of_loss_is_counted_not_objected_to(made: MadeUp) -> None:
    """The server went back in time; what was accepted before that window must still be there."""
    made.enqueue("early", 0)
    made.enqueue("late", 20)
    made.fault(15, 30, loses=True)

    verdict = made.checked({"early": "", "late": ""})

    assert [(each.rule, each.task) for each in verdict.of("lost")] == [("lost", "early")]
    assert verdict.counts.excused == 1


def test_a_task_out_of_nowhere_is_a_phantom(made: MadeUp) -> None:
    """One is known in the end, another one ran; nobody offered either."""
    made.run("w", 5, "ran", 6)

    verdict = made.checked({"is_there": "COMPLETED"})

    assert {each.task for each in verdict.of("phantom")} == {"ran", "is_there"}


def test_a_refused_task_that_runs_is_a_phantom(made: MadeUp) -> None:
    """The producer was told no."""
    made.simple("a", 0, outcome="refused")

    assert "phantom" in rules(made.checked())


def test_two_accepted_completions_of_one_task_are_noticed(made: MadeUp) -> None:
    """The lease of w ran out while it was frozen; v took the task, and both were told `completed`."""
    made.enqueue("a", 0)
    made.claim("w", 2, "a")
    made.run("w", 4, "a", 30)
    made.claim("v", 10, "a/2")
    made.run("v", 12, "a/2", 13)
    made.report("v", 14, "a/2")
    made.fault(5, 25, "w")
    made.report("w", 31, "a")

    assert rules(made.checked()) == {"twice", "stale", "linear"}


def test_a_stale_report_that_is_refused_is_as_it_should_be(made: MadeUp) -> None:
    """The same, but w is told `stale`."""
    made.enqueue("a", 0)
    made.claim("w", 2, "a")
    made.run("w", 4, "a", 30)
    made.claim("v", 10, "a/2")
    made.run("v", 12, "a/2", 13)
    made.report("v", 14, "a/2")
    made.fault(5, 25, "w")
    made.report("w", 31, "a", "stale")

    assert made.checked().violations == []


def test_a_stale_retry_that_is_accepted_is_noticed(made: MadeUp) -> None:
    """Not only completions need a token: w gives back what v has."""
    made.enqueue("a", 0)
    made.claim("w", 2, "a")
    made.claim("v", 10, "a/2")
    made.report("w", 14, "a", "retried")
    made.report("v", 16, "a/2")

    assert rules(made.checked()) == {"stale", "linear"}


def test_a_report_of_what_was_never_lent_is_noticed(made: MadeUp) -> None:
    """The token is one that no claim returned."""
    made.enqueue("a", 0)
    made.report("w", 5, "a")

    assert "stale" in rules(made.checked())


def test_the_same_report_may_be_made_again(made: MadeUp) -> None:
    """Its answer was lost, and the repeat gets the same word."""
    made.enqueue("a", 0)
    made.claim("w", 2, "a")
    made.run("w", 4, "a", 5)
    made.report("w", 6, "a", "", asked="completed")
    made.report("w", 8, "a")

    assert made.checked().violations == []


def test_a_task_that_runs_again_without_a_reason_is_noticed(made: MadeUp) -> None:
    """Nothing was done to w, and it had reported nothing."""
    made.enqueue("a", 0)
    made.claim("w", 2, "a")
    made.run("w", 4, "a", 20)
    made.claim("v", 10, "a/2")
    made.run("v", 12, "a/2", 13)
    made.report("v", 14, "a/2")

    assert rules(made.checked()) == {"repeat"}


@pytest.mark.parametrize(("process", "explained"), [("w", True), ("*", True), ("v", False)])
def test_a_repeat_is_explained_by_what_was_done_to_its_own_worker(
    made: MadeUp, process: str, explained: bool
) -> None:
    """A fault of another worker explains nothing."""
    made.enqueue("a", 0)
    made.claim("w", 2, "a")
    made.run("w", 4, "a")
    made.fault(5, 6, process)
    made.claim("v", 10, "a/2")
    made.run("v", 12, "a/2", 13)
    made.report("v", 14, "a/2")

    assert (made.checked().violations == []) is explained


@pytest.mark.parametrize(("process", "explained"), [("w", True), ("v", False)])
def test_a_worker_that_was_frozen_before_its_start_is_the_one_that_is_repeated(
    made: MadeUp, process: str, explained: bool
) -> None:
    """It starts late what the other has run meanwhile."""
    made.enqueue("a", 0)
    made.claim("w", 2, "a")
    made.fault(4, 20, process)
    made.claim("v", 10, "a/2")
    made.run("v", 12, "a/2", 13)
    made.report("v", 14, "a/2")
    made.run("w", 19, "a")

    assert (made.checked().violations == []) is explained


def test_runs_are_told_apart_by_their_leases_not_by_when_their_claims_began(made: MadeUp) -> None:
    """The second run's claim was under way for longer; what the first one reported explains it."""
    made.enqueue("a", 0)
    made.claim("v", 1, "a/2", until=11)
    made.claim("w", 2, "a")
    made.run("w", 4, "a", 5)
    made.report("w", 6, "a", word="retried")
    made.run("v", 12, "a/2", 13)
    made.report("v", 14, "a/2")

    assert made.checked().violations == []


def test_a_fault_that_was_over_before_explains_nothing(made: MadeUp) -> None:
    """It ended before the task was claimed for the first time."""
    made.fault(0, 1, "*")
    made.enqueue("a", 2)
    made.claim("w", 4, "a")
    made.run("w", 6, "a")
    made.claim("v", 10, "a/2")
    made.run("v", 12, "a/2", 13)

    assert "repeat" in rules(made.checked())


def test_answers_that_contradict_each_other_are_noticed(made: MadeUp) -> None:
    """A task that was read as COMPLETED is QUEUED afterwards, without a word of why."""
    made.simple("a", 0)
    made.read("a", 10, "COMPLETED")
    made.read("a", 12, "QUEUED")

    assert rules(made.checked()) == {"linear"}


def test_a_completion_that_does_not_last_is_noticed(made: MadeUp) -> None:
    """It was accepted, and in the end the task has FAILED."""
    made.simple("a", 0)

    assert rules(made.checked({"a": "FAILED"})) == {"linear"}


def test_a_lost_claim_may_have_lent_a_task(made: MadeUp) -> None:
    """The worker was killed before it heard the answer: the task is PROCESSING, and nobody has it."""
    made.enqueue("a", 0)
    made.read("a", 5, "PROCESSING")
    made.claim("v", 9, "a/2")
    made.run("v", 11, "a/2", 12)
    made.report("v", 13, "a/2")
    assert rules(made.checked()) == {"linear"}

    made.claim("w", 2, unheard=True)

    assert made.checked().violations == []


def test_a_report_whose_answer_was_lost_may_have_counted(made: MadeUp) -> None:
    """It is the last that is known of the worker, and the task is COMPLETED."""
    made.enqueue("a", 0)
    made.claim("w", 2, "a")
    made.run("w", 4, "a", 5)
    made.report("w", 6, "a", "", asked="completed")

    assert made.checked().violations == []
    assert made.checked({"a": "FAILED"}).violations == []
    assert rules(made.checked({"a": "QUEUED"})) == {"lost"}


@pytest.mark.parametrize(("reported_at", "broken"), [(6, set()), (11, {"repeat"})])
def test_a_report_that_was_made_twice_may_be_stale(
    made: MadeUp, reported_at: float, broken: set[str]
) -> None:
    """Its first answer was lost, and another worker had the task before the second, unless it came later."""
    made.enqueue("a", 0)
    made.claim("w", 2, "a")
    made.run("w", 4, "a", 5)
    made.report("w", reported_at, "a", "stale", asked="retried", until=12)
    made.claim("v", 8, "a/2")
    made.run("v", 10, "a/2", 13)
    made.report("v", 14, "a/2")

    assert rules(made.checked()) == broken


def test_credits_that_add_up_are_not_objected_to(made: MadeUp) -> None:
    """Ten granted, two spent, nothing held."""
    made.grant("acme", 0, 10)
    made.simple("a", 2, tenant="acme", cost=2)

    verdict = made.checked(accounts={"acme": Account(10, 2, 0)}, charged={"a": 2})

    assert verdict.violations == []


@pytest.mark.parametrize(
    ("account", "charged", "complaint"),
    [
        pytest.param(Account(9, 2, 0), 2, "was granted 10", id="a grant was lost"),
        pytest.param(Account(10, 2, 2), 2, "holds 2", id="a hold never ended"),
        pytest.param(Account(10, 4, 0), 2, "spent 4", id="charged twice"),
        pytest.param(Account(10, 3, 0), 3, "should be 2 to 2", id="charged more than was held"),
    ],
)
def test_credits_that_do_not_add_up_are_noticed(
    made: MadeUp, account: Account, charged: int, complaint: str
) -> None:
    """Each by itself; the sentence says which."""
    made.grant("acme", 0, 10)
    made.simple("a", 2, tenant="acme", cost=2)

    verdict = made.checked(accounts={"acme": account}, charged={"a": charged})

    assert rules(verdict) == {"credits"}
    assert any(complaint in each.text for each in verdict.violations)


def test_a_task_that_did_not_complete_is_charged_nothing(made: MadeUp) -> None:
    """It failed, and its tenant paid."""
    made.grant("acme", 0, 10)
    made.enqueue("a", 2, tenant="acme", cost=2)
    made.claim("w", 4, "a")
    made.run("w", 6, "a", 7)
    made.report("w", 8, "a", "failed")

    verdict = made.checked({"a": "FAILED"}, accounts={"acme": Account(10, 2, 0)}, charged={"a": 2})

    assert rules(verdict) == {"credits"}
