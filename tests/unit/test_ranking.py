"""Scores and ranks: the order that the whole engine stands on, checked against plain models."""

from __future__ import annotations

import bisect
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskqueue import ranking
from taskqueue.errors import InvalidSetting, InvalidTask, QueueCorrupt
from taskqueue.ranking import (
    FAIR_TENANTS,
    FAIR_WITHIN_PRIORITY,
    MAX_PRIORITY,
    MAX_SEQUENCE,
    MAX_STRIDE,
    STRICT,
    Order,
    Policy,
    choose,
    policy,
    register_policy,
    virtual_cost,
)

WIDE = Order(lowest_priority=0, highest_priority=MAX_PRIORITY)
SEQUENCES = st.one_of(st.integers(0, 50), st.integers(0, MAX_SEQUENCE))
STRIDES = st.one_of(st.none(), st.integers(1, 50), st.integers(1, MAX_STRIDE))
PRIORITIES = st.integers(0, MAX_PRIORITY + 1)
OWN_LUA = "local policy = { virtual = false, rank = function(head) return -head end }"


def wide(stride: int | None) -> Order:
    """Return an order with all the priorities that there can be."""
    return Order(stride, lowest_priority=0, highest_priority=MAX_PRIORITY)


# --- strict order ---------------------------------------------------------------------------


@given(st.lists(st.tuples(PRIORITIES, SEQUENCES), max_size=60))
def test_strict_order_is_priority_then_submission(tasks: list[tuple[int, int]]) -> None:
    """Tasks taken from the top come out as a list kept sorted by (-priority, sequence)."""
    model: list[tuple[int, int]] = []
    for priority, sequence in tasks:
        bisect.insort(model, (-priority, sequence))

    by_score = sorted(tasks, key=lambda task: WIDE.score(*task), reverse=True)

    assert [(-priority, sequence) for priority, sequence in by_score] == model


@given(PRIORITIES, PRIORITIES)
def test_in_strict_order_no_number_of_tasks_bridges_two_priorities(one: int, other: int) -> None:
    """The very last task of a priority still goes before the very first of the one below."""
    low, high = sorted((one, other))

    if low < high:
        assert WIDE.score(high, MAX_SEQUENCE) > WIDE.score(low, 0)


# --- both orders ----------------------------------------------------------------------------


@given(STRIDES, PRIORITIES, SEQUENCES)
@example(None, MAX_PRIORITY + 1, 0)
@example(None, 0, MAX_SEQUENCE)
@example(MAX_STRIDE, MAX_PRIORITY + 1, MAX_SEQUENCE)
@example(1, 0, MAX_SEQUENCE)
def test_a_score_gives_back_what_it_was_made_of(stride: int | None, priority: int, sequence: int) -> None:
    """Also when it has been through a double, as every score in Redis has."""
    order = wide(stride)

    score = order.score(priority, sequence)

    assert order.invert(score) == (priority, sequence)
    assert order.invert(float(score)) == (priority, sequence)


@given(STRIDES, PRIORITIES, SEQUENCES)
@example(None, MAX_PRIORITY + 1, 0)
@example(None, MAX_PRIORITY, MAX_SEQUENCE)
@example(None, 0, MAX_SEQUENCE)
@example(MAX_STRIDE, MAX_PRIORITY + 1, 0)
@example(MAX_STRIDE, 0, MAX_SEQUENCE)
@example(1, 0, MAX_SEQUENCE)
def test_a_double_holds_every_score_exactly(stride: int | None, priority: int, sequence: int) -> None:
    """At the extremes too, and the neighbours of a score stay other numbers as doubles."""
    order = wide(stride)

    score = order.score(priority, sequence)

    assert abs(score) <= 2**53
    assert float(score) == score
    for neighbour in (sequence - 1, sequence + 1):
        if 0 <= neighbour <= MAX_SEQUENCE:
            assert float(order.score(priority, neighbour)) != float(score)


@given(STRIDES, st.lists(st.tuples(PRIORITIES, SEQUENCES), min_size=2, max_size=30, unique=True))
def test_two_tasks_never_share_a_score(stride: int | None, tasks: list[tuple[int, int]]) -> None:
    """Not even tasks of two priorities whose distance is a whole number of strides."""
    order = wide(stride)

    assert len({float(order.score(*task)) for task in tasks}) == len(tasks)


@given(STRIDES, PRIORITIES, st.lists(SEQUENCES, min_size=2, max_size=20, unique=True))
def test_inside_a_priority_the_first_submitted_runs_first(
    stride: int | None, priority: int, sequences: list[int]
) -> None:
    """Both orders are first-in-first-out where priorities are equal."""
    order = wide(stride)

    by_score = sorted(sequences, key=lambda sequence: order.score(priority, sequence), reverse=True)

    assert by_score == sorted(sequences)


@given(STRIDES)
def test_an_order_survives_being_stored(stride: int | None) -> None:
    """What `meta` keeps is read back as the same order."""
    order = Order(stride, lowest_priority=0, highest_priority=20)

    assert Order.parse(order.stored, lowest_priority=0, highest_priority=20) == order


def test_an_order_that_is_read_back_has_the_usual_priorities() -> None:
    """Where none are named, they are those of an order that is made."""
    assert Order.parse("strict") == Order()


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "STRICT",
        "strict:5",
        "loose:5",
        "bounded",
        "bounded:",
        "bounded:0",
        "bounded:-1",
        "bounded:1.5",
        "bounded:007",
        "bounded: 5",
        "bounded:٣",
        "bounded:1073741825",
        "bounded:" + "9" * 5000,
    ],
)
def test_a_stored_order_that_nobody_wrote_is_refused(stored: str) -> None:
    """The queue's meta holds something else: better to stop than to order by a guess."""
    with pytest.raises(QueueCorrupt, match="stored as"):
        Order.parse(stored)


@pytest.mark.parametrize(
    ("order", "score"),
    [
        (Order(), 2**45 * 12),  # priority 12
        (Order(), -1),  # priority 0
        (Order(), 5 * 2**45 - 1.5),
        (Order(5), 0),  # priority 0
        (Order(5), 255),  # priority 255
        (Order(5), (5 + 1) * 256 + 1),  # sequence -1
        (Order(1), -(2**46) * 256 + 1),  # a sequence beyond the last
    ],
)
def test_a_score_that_no_task_can_have_is_refused(order: Order, score: float) -> None:
    """It was written by somebody else, or for a queue of another order."""
    with pytest.raises(QueueCorrupt, match="is no score of a queue ordered"):
        order.invert(score)


# --- bounded order --------------------------------------------------------------------------


@given(
    stride=st.integers(1, 6),
    arrivals=st.lists(st.one_of(st.integers(1, 4), st.just(None)), min_size=1, max_size=120),
)
def test_bounded_order_keeps_its_bound(stride: int, arrivals: list[int | None]) -> None:
    """Tasks arrive and are claimed (None) in any order; nobody is overtaken more than promised."""
    order = Order(stride, highest_priority=4)
    waiting: dict[int, int] = {}  # sequence -> priority
    overtaken: dict[int, int] = {}

    for sequence, priority in enumerate([*arrivals, *[None] * len(arrivals)]):
        if priority is not None:
            waiting[sequence], overtaken[sequence] = priority, 0
            continue
        if not waiting:
            continue
        first = max(waiting, key=lambda task: order.score(waiting[task], task))
        del waiting[first]
        for task in waiting:
            overtaken[task] += task < first

    bounds = {task: order.overtakers(arrivals[task] or 0) for task in overtaken}
    assert all(count <= (bounds[task] or 0) for task, count in overtaken.items())


@pytest.mark.parametrize("reserve", [False, True])
@pytest.mark.parametrize("priority", [1, 2, 9, 10])
@pytest.mark.parametrize("stride", [1, 7, 1000])
def test_the_bound_is_reached_and_not_passed(stride: int, priority: int, *, reserve: bool) -> None:
    """The worst case: one task, then nothing but tasks of the highest band, for ever."""
    order = Order(stride)
    bound = order.overtakers(priority, reserve=reserve)
    top = order.reserved_priority if reserve else order.highest_priority

    first = order.score(priority, 100)
    later = [order.score(top, 100 + n) > first for n in range(1, (bound or 0) + 3)]

    assert bound == (top - priority) * stride
    assert sum(later) == bound
    assert later == sorted(later, reverse=True)


def test_strict_order_promises_no_bound_except_at_the_top() -> None:
    """Only the highest priority of all is never overtaken."""
    assert Order().overtakers(9) is None
    assert Order().overtakers(10) == 0
    assert Order().overtakers(10, reserve=True) is None
    assert Order(5).overtakers(11) == 0


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", [MAX_SEQUENCE + 1, -1, True, 1.0, "1", None])
@pytest.mark.parametrize("order", [Order(), Order(1), Order(MAX_STRIDE)])
def test_a_spent_or_senseless_sequence_is_refused(order: Order, sequence: Any) -> None:
    """One place further and two tasks could round to one score."""
    with pytest.raises(InvalidSetting, match=r"^sequence: .* from 0 to 35,184,372,088,831") as caught:
        order.score(1, sequence)

    assert caught.value.value == sequence
    assert order.max_sequence == 2**45 - 1


@pytest.mark.parametrize("priority", [0, 12, True, 1.0, "1", None])
def test_a_score_for_a_priority_outside_the_range_is_refused(priority: Any) -> None:
    """11 is the reserved band of 1 to 10; nothing is above it."""
    with pytest.raises(InvalidTask, match=r"^priority: .* from 1 to 11$") as caught:
        Order().score(priority, 1)

    assert caught.value.value == priority


@pytest.mark.parametrize("value", [0, 11, 2.5, 5.0, True, False, "5", None, [5]])
def test_a_user_may_give_the_priorities_of_the_range_only(value: object) -> None:
    """The error names the field, the value and what the ends of the range mean."""
    with pytest.raises(InvalidTask) as caught:
        Order().check_priority(value)

    assert (caught.value.field, caught.value.value) == ("priority", value)
    assert caught.value.rule == "a whole number from 1 (last) to 10 (first)"


def test_every_priority_of_the_range_is_accepted() -> None:
    """And comes back as it was."""
    assert [Order().check_priority(value) for value in range(1, 11)] == list(range(1, 11))
    assert WIDE.check_priority(0) == 0


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"stride": 0}, "stride"),
        ({"stride": MAX_STRIDE + 1}, "stride"),
        ({"stride": True}, "stride"),
        ({"stride": 1.5}, "stride"),
        ({"stride": "5"}, "stride"),
        ({"highest_priority": 255}, "highest_priority"),
        ({"highest_priority": -1}, "highest_priority"),
        ({"highest_priority": None}, "highest_priority"),
        ({"lowest_priority": 11}, "lowest_priority"),
        ({"lowest_priority": -1}, "lowest_priority"),
        ({"lowest_priority": False}, "lowest_priority"),
    ],
)
def test_an_order_that_could_not_be_exact_is_refused(options: dict[str, Any], setting: str) -> None:
    """Before a queue is made of it."""
    with pytest.raises(InvalidSetting) as caught:
        Order(**options)

    assert (caught.value.setting, caught.value.value) == (setting, options[setting])
    assert (
        caught.value.rule
        == {
            "stride": "a whole number from 1 to 1,073,741,824, or None",
            "lowest_priority": "a whole number from 0 to the highest priority, 10",
            "highest_priority": "a whole number from 0 to 254",
        }[setting]
    )


def test_a_queue_may_have_one_priority_only() -> None:
    """Also the lowest that there is; the reserved band is above it."""
    only = Order(lowest_priority=0, highest_priority=0)

    assert (only.check_priority(0), only.reserved_priority) == (0, 1)


# --- policies -------------------------------------------------------------------------------


def test_strict_takes_the_best_task_of_all_lanes() -> None:
    """Virtual time is of no interest; an empty lane is never chosen."""
    lanes = lanes_of({("A", "ann"): [(3, 2)], ("A", "bob"): [(5, 9), (5, 10)], ("B", "ann"): []})

    assert choose(lanes, STRICT, WIDE, {"bob": 10**9}) == ("A", "bob")
    assert choose({}, STRICT, WIDE) is None
    assert choose({("B", "ann"): []}, STRICT, WIDE) is None


def test_fair_within_priority_takes_turns_among_the_highest() -> None:
    """Bob has had more turns than Ann, but only Bob has a task of priority 5."""
    lanes = lanes_of({("A", "ann"): [(3, 1)], ("A", "bob"): [(5, 9)]})
    equal = lanes_of({("A", "ann"): [(5, 30)], ("A", "bob"): [(5, 9)]})
    times = {"ann": 4000, "bob": 900_000}

    assert choose(lanes, FAIR_WITHIN_PRIORITY, WIDE, times) == ("A", "bob")
    assert choose(equal, FAIR_WITHIN_PRIORITY, WIDE, times) == ("A", "ann")


def test_the_highest_priority_is_not_the_latest_submission() -> None:
    """Bob's task came first and is more urgent; Ann's number is larger, which counts for nothing."""
    lanes = lanes_of({("A", "ann"): [(3, 9)], ("A", "bob"): [(5, 1)]})

    assert choose(lanes, FAIR_WITHIN_PRIORITY, WIDE) == ("A", "bob")


def test_a_tenant_without_a_virtual_time_has_had_nothing() -> None:
    """It stands level with one that is at zero, and before one that is at one."""
    lanes = lanes_of({("A", "ann"): [(1, 1)], ("A", "zoe"): [(1, 2)]})

    assert choose(lanes, FAIR_TENANTS, WIDE, {"ann": 0}) == ("A", "zoe")
    assert choose(lanes, FAIR_TENANTS, WIDE, {"zoe": 1}) == ("A", "ann")


def test_fair_tenants_takes_turns_whatever_the_priority() -> None:
    """Bob's urgent task waits for Ann's turn."""
    lanes = lanes_of({("A", "ann"): [(1, 1)], ("A", "bob"): [(10, 0)]})

    assert choose(lanes, FAIR_TENANTS, WIDE, {"ann": 1000, "bob": 2000}) == ("A", "ann")


def test_equal_ranks_go_by_group_then_by_head() -> None:
    """Groups compare as bytes from the top, as Redis compares members of one score."""
    lanes = lanes_of({("A", "Z"): [(9, 1)], ("A", "z"): [(1, 2)], ("B", "z"): [(2, 3)]})

    assert choose(lanes, FAIR_TENANTS, WIDE) == ("B", "z")


@given(
    st.sampled_from([STRICT, FAIR_WITHIN_PRIORITY, FAIR_TENANTS]),
    st.lists(
        st.tuples(st.sampled_from("AB"), st.sampled_from(["ann", "bob", "cy"]), st.integers(1, 3)),
        min_size=1,
        max_size=40,
    ),
)
def test_every_policy_drains_each_lane_in_its_own_order(
    rule: Policy, submitted: list[tuple[str, str, int]]
) -> None:
    """Turns are charged as they are taken; at the end nothing is left and no lane was shuffled."""
    lanes: dict[tuple[str, str], list[int]] = {}
    for sequence, (type_, group, priority) in enumerate(submitted):
        lanes.setdefault((type_, group), []).append(WIDE.score(priority, sequence))
    for scores in lanes.values():
        scores.sort(reverse=True)
    expected = {lane: list(scores) for lane, scores in lanes.items()}
    times = {"ann": 0, "bob": 0, "cy": 0}
    taken: dict[tuple[str, str], list[int]] = {}

    for _ in submitted:
        lane = choose(lanes, rule, WIDE, times)
        assert lane is not None
        taken.setdefault(lane, []).append(lanes[lane].pop(0))
        times[lane[1]] += virtual_cost()

    assert choose(lanes, rule, WIDE, times) is None
    assert taken == expected


def test_turns_follow_the_weights() -> None:
    """Of 500 turns, a tenant of weight 4 gets four times those of a tenant of weight 1."""
    lanes = lanes_of({("A", "light"): [(1, n) for n in range(500)], ("A", "heavy"): [(1, 1000)] * 500})
    times, turns = {"light": 0, "heavy": 0}, {"light": 0, "heavy": 0}

    for _ in range(500):
        lane = choose(lanes, FAIR_TENANTS, WIDE, times)
        assert lane is not None
        turns[lane[1]] += 1
        times[lane[1]] += virtual_cost(4 if lane[1] == "heavy" else 1)

    assert turns == {"light": 100, "heavy": 400}


def test_ranks_are_exact_after_a_decade_of_turns() -> None:
    """Ranks of neighbouring virtual times stay apart as doubles, far beyond any queue's life."""
    for priority in (0, MAX_PRIORITY + 1):
        old = 2**52
        ranks = [FAIR_WITHIN_PRIORITY.rank(0, priority, old + n) for n in range(3)]
        assert [float(rank) for rank in ranks] == ranks
        assert len(set(map(float, ranks))) == 3


def test_virtual_cost_is_a_thousandth_per_weight_and_never_nothing() -> None:
    """Weight 1 pays 1,000, weight 1,000 pays 1."""
    assert [virtual_cost(weight) for weight in (1, 2, 3, 999, 1000)] == [1000, 500, 333, 1, 1]
    assert virtual_cost() == 1000
    for weight in (0, 1001, True, 1.5, "2"):
        with pytest.raises(InvalidSetting) as caught:
            virtual_cost(weight)  # type: ignore[arg-type]  # wrong on purpose
        assert (caught.value.setting, caught.value.value) == ("weight", weight)
        assert caught.value.rule == "a whole number from 1 to 1,000"


def test_a_policy_is_found_by_its_name() -> None:
    """A policy that is one already is returned as it is."""
    assert [policy(known.name) for known in ranking._SHIPPED] == list(ranking._SHIPPED)
    assert policy(FAIR_TENANTS) is FAIR_TENANTS


@pytest.mark.parametrize("name", ["fair", "", "STRICT", None, 3, ["strict"]])
def test_an_unknown_policy_is_refused_with_the_names_that_are_known(name: Any) -> None:
    """The error lists what could have been meant."""
    with pytest.raises(InvalidSetting, match="one of fair_tenants, fair_within_priority, strict") as caught:
        policy(name)

    assert (caught.value.setting, caught.value.value) == ("policy", name)


@pytest.mark.parametrize("shipped", ranking._SHIPPED, ids=lambda shipped: shipped.name)
def test_every_shipped_policy_has_its_lua(shipped: Policy) -> None:
    """Its file lies in the package, defines a policy, and says the same of virtual time."""
    assert "local policy = {" in shipped.lua
    assert f"virtual = {str(shipped.uses_virtual_time).lower()}" in shipped.lua


def test_a_policy_of_ones_own_is_known_by_its_name(own_policies: None) -> None:
    """Last in, first out: found by name, and chosen by."""
    own = Policy("newest_first", uses_virtual_time=False, rank=lambda head, _p, _v: -head, source=OWN_LUA)

    assert register_policy(own) is own
    assert policy("newest_first") is policy(own) is own
    assert policy("newest_first").lua == OWN_LUA
    assert choose(lanes_of({("A", "x"): [(1, 1)], ("A", "y"): [(1, 2)]}), own, WIDE) == ("A", "y")


def test_a_policy_can_be_registered_again_but_not_taken_over(own_policies: None) -> None:
    """A module that is loaded twice is harmless; another policy of the same name is not."""
    again = Policy("mine", uses_virtual_time=False, rank=lambda *_: 2, source=OWN_LUA)
    register_policy(Policy("mine", uses_virtual_time=False, rank=lambda *_: 1, source=OWN_LUA))

    assert policy(register_policy(again).name) is again
    for thief in (
        Policy("mine", uses_virtual_time=True, rank=lambda *_: 1, source=OWN_LUA),
        Policy("mine", uses_virtual_time=False, rank=lambda *_: 1, source=OWN_LUA + "\n"),
        Policy("strict", uses_virtual_time=False, rank=lambda *_: 1, source=OWN_LUA),
    ):
        with pytest.raises(InvalidSetting) as caught:
            register_policy(thief)
        assert (caught.value.setting, caught.value.value) == ("policy.name", thief.name)
        assert caught.value.rule == "a name that no other policy has in this process"
    assert policy("mine") is again
    assert policy("strict") is STRICT


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ({"name": "../other"}, "text: a letter, then up to 63 of the characters a-z 0-9 _"),
        ({"source": None}, "Lua text with a `local policy = {...}`"),
        ({"source": "return 1"}, "Lua text with a `local policy = {...}`"),
        ({"rank": 5}, "a function of head, priority and virtual time"),
    ],
)
def test_a_broken_policy_is_refused(broken: dict[str, Any], rule: str) -> None:
    """Whether it is to be registered or is handed to a queue directly; the error says what would do."""
    ((part, value),) = broken.items()
    parts: dict[str, Any] = {"name": "own", "uses_virtual_time": False, "rank": max, "source": OWN_LUA}

    for attempt in (register_policy, policy):
        with pytest.raises(InvalidSetting) as caught:
            attempt(Policy(**{**parts, **broken}))
        assert (caught.value.setting, caught.value.value) == (f"policy.{part}", value)
        assert caught.value.rule == rule


@pytest.fixture
def own_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget, after the test, the policies that it registered."""
    monkeypatch.setattr(ranking, "_policies", dict(ranking._policies))


def lanes_of(tasks: dict[tuple[str, str], list[tuple[int, int]]]) -> dict[tuple[str, str], list[int]]:
    """Return the lanes of these (priority, sequence) tasks, as `choose` takes them."""
    return {lane: [WIDE.score(*task) for task in waiting] for lane, waiting in tasks.items()}
