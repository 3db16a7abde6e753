"""Who runs next: places of tasks, ranks of lanes.

Inside a lane, every task has one whole number, its *score*; the highest score runs first. The
score is made once, from priority and place by submission, and holds for the task's whole life.
`Order` makes it and takes it apart again.

Between lanes, a *policy* ranks what their heads offer. The server ranks with the policy's Lua
function; `Policy.rank` says the same in Python, and `choose` is the model that tests hold the
server against.

Redis keeps scores and ranks as doubles. Every number made here is a whole number of at most 2^53
in size, so a double holds it exactly and no two tasks can fall together by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from taskqueue.errors import InvalidSetting, InvalidTask, QueueCorrupt
from taskqueue.names import check_policy_name

STRICT_STRIDE = 2**45
"""Distance between two priorities in strict order: more than any queue can number tasks."""

MAX_STRIDE = 2**30
"""Largest stride of a bounded order, which leaves room for the priority in the last 8 bits."""

MAX_SEQUENCE = 2**45 - 1
"""Last place by submission, for both orders: 11 years at 100,000 tasks a second."""

MAX_PRIORITY = 254
"""Highest priority that a queue can give its users; one band above it stays reserved."""

VIRTUAL_UNIT = 1000
"""What a task adds to the virtual time of a tenant of weight 1."""

_TAIL = 256
"""A bounded score ends in the priority, so that two priorities never make the same score."""


@dataclass(frozen=True, slots=True)
class Order:
    """How a queue orders its tasks: strictly by priority, or with bounded overtaking.

    Strict: a higher priority always goes first. Bounded: a higher priority overtakes, but of the
    tasks submitted after a task only `overtakers()` can start before it, so that none starves.
    Both are first-in-first-out inside a priority.

    Attributes:
        stride: How many places by submission one step of priority is worth, 1 to 2^30; None
            orders strictly.
        lowest_priority: Smallest priority that users may give, 0 or more.
        highest_priority: Largest priority that users may give, at most 254.

    Raises:
        InvalidSetting: If one of them is not such a whole number.
    """

    stride: int | None = None
    lowest_priority: int = 1
    highest_priority: int = 10

    def __post_init__(self) -> None:
        if self.stride is not None and not _is_whole(self.stride, 1, MAX_STRIDE):
            raise InvalidSetting("stride", self.stride, f"a whole number from 1 to {MAX_STRIDE:,}, or None")
        if not _is_whole(self.highest_priority, 0, MAX_PRIORITY):
            rule = f"a whole number from 0 to {MAX_PRIORITY}"
            raise InvalidSetting("highest_priority", self.highest_priority, rule)
        if not _is_whole(self.lowest_priority, 0, self.highest_priority):
            rule = f"a whole number from 0 to the highest priority, {self.highest_priority}"
            raise InvalidSetting("lowest_priority", self.lowest_priority, rule)

    @property
    def reserved_priority(self) -> int:
        """The band above all users' priorities, for tasks that someone waits for on the line."""
        return self.highest_priority + 1

    @property
    def max_sequence(self) -> int:
        """The last place by submission that still makes an exact score."""
        return MAX_SEQUENCE

    @property
    def stored(self) -> str:
        """The form in which the queue's `meta` keeps it: `strict` or `bounded:<stride>`."""
        return "strict" if self.stride is None else f"bounded:{self.stride}"

    @classmethod
    def parse(cls, stored: str, *, lowest_priority: int = 1, highest_priority: int = 10) -> Order:
        """Return the order that `stored` spells; the opposite of the property of that name.

        Raises:
            QueueCorrupt: If *stored* is neither `strict` nor `bounded:` and a stride.
            InvalidSetting: If the priorities are out of range.
        """
        stride: int | None = None
        if stored != "strict":
            mode, _, digits = stored.partition(":")
            canonical = digits.isascii() and digits.isdecimal() and len(digits) <= len(str(MAX_STRIDE))
            stride = int(digits) if mode == "bounded" and canonical else 0
            if not 1 <= stride <= MAX_STRIDE or f"bounded:{stride}" != stored:
                raise QueueCorrupt(
                    f"the queue's order is stored as {stored!r}, not strict or bounded:<stride>"
                )
        return cls(stride, lowest_priority, highest_priority)

    def check_priority(self, value: object, field_name: str = "priority") -> int:
        """Return *value* as a priority that a user may give.

        Raises:
            InvalidTask: If it is not a whole number of the range, or is a truth value.
        """
        # Most values pass here; the exact type also shuts out True, which is 1 otherwise.
        if type(value) is int and self.lowest_priority <= value <= self.highest_priority:
            return value
        rule = f"a whole number from {self.lowest_priority} (last) to {self.highest_priority} (first)"
        raise InvalidTask(field_name, value, rule)

    def score(self, priority: int, sequence: int) -> int:
        """Return the score of the task that was submitted as number *sequence*.

        Args:
            priority: From the lowest priority up to the reserved band.
            sequence: Place by submission, 0 to `max_sequence`.

        Raises:
            InvalidTask: If the priority has no place in this order.
            InvalidSetting: If the sequence is spent: past 2^45 - 1 scores would no longer be exact.
        """
        if not _is_whole(priority, self.lowest_priority, self.reserved_priority):
            rule = f"a whole number from {self.lowest_priority} to {self.reserved_priority}"
            raise InvalidTask("priority", priority, rule)
        if not _is_whole(sequence, 0, MAX_SEQUENCE):
            rule = (
                f"a whole number from 0 to {MAX_SEQUENCE:,}; a queue that used all of them must be replaced"
            )
            raise InvalidSetting("sequence", sequence, rule)
        if self.stride is None:
            return priority * STRICT_STRIDE - sequence
        return (priority * self.stride - sequence) * _TAIL + priority

    def invert(self, score: float) -> tuple[int, int]:
        """Return the (priority, sequence) that a score was made of.

        Args:
            score: What `score` returned, or what Redis made of it: a double holds it exactly.

        Raises:
            QueueCorrupt: If no task of this order can have that score.
        """
        whole = int(score)
        if self.stride is None:
            priority = -(-whole // STRICT_STRIDE)
            sequence = priority * STRICT_STRIDE - whole
        else:
            rest, priority = divmod(whole, _TAIL)
            sequence = priority * self.stride - rest
        possible = self.lowest_priority <= priority <= self.reserved_priority
        if whole != score or not possible or not 0 <= sequence <= MAX_SEQUENCE:
            raise QueueCorrupt(f"{score!r} is no score of a queue ordered {self.stored}")
        return priority, sequence

    def overtakers(self, priority: int, *, reserve: bool = False) -> int | None:
        """Return how many later tasks can at most start before one of *priority*.

        It holds for as long as the task's lane may run. None means that there is no bound.

        Args:
            priority: Priority of the task that is overtaken.
            reserve: Whether tasks of the reserved band are among those that overtake.
        """
        top = self.reserved_priority if reserve else self.highest_priority
        steps = max(0, top - priority)
        return steps * self.stride if self.stride is not None else (None if steps else 0)


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule by which a queue ranks its lanes; the highest rank runs first.

    Lanes of one rank go by group, then by the score of their heads, both from the top, so the
    choice is always settled.

    Attributes:
        name: How the queue's `meta` and users call it: small letters, digits and `_`.
        uses_virtual_time: Whether the rank depends on the tenant's virtual time, so that claims
            must keep it.
        rank: (score of the head, priority of the head, virtual time of the tenant) to a number
            that a double holds exactly. It must say the same as the Lua function.
        source: Lua text that ends with a `local policy = { virtual = ..., rank = function(head,
            priority, virtual) ... end }`; None for the policies that come with the package,
            which have it in a file of their own.
    """

    name: str
    uses_virtual_time: bool
    rank: Callable[[int, int, int], float]
    source: str | None = field(default=None, repr=False)

    @property
    def lua(self) -> str:
        """The text of its Lua rank function."""
        return _shipped_source(self.name) if self.source is None else self.source


def _rank_strict(head: int, priority: int, virtual: int) -> int:
    del priority, virtual
    return head


def _rank_fair_within_priority(head: int, priority: int, virtual: int) -> int:
    del head
    return priority * STRICT_STRIDE - virtual


def _rank_fair_tenants(head: int, priority: int, virtual: int) -> int:
    del head, priority
    return -virtual


STRICT = Policy("strict", uses_virtual_time=False, rank=_rank_strict)
"""The best task of all lanes runs next, whosever it is."""

FAIR_WITHIN_PRIORITY = Policy("fair_within_priority", uses_virtual_time=True, rank=_rank_fair_within_priority)
"""The highest priority first; tenants that have it take turns by their weights.

Priorities stay apart for as long as the virtual times of two waiting tenants are less than 2^45
apart: 35 thousand million tasks of weight 1.
"""

FAIR_TENANTS = Policy("fair_tenants", uses_virtual_time=True, rank=_rank_fair_tenants)
"""Tenants take turns by their weights; priority and submission count inside each tenant."""

_SHIPPED = (STRICT, FAIR_WITHIN_PRIORITY, FAIR_TENANTS)
_policies = {shipped.name: shipped for shipped in _SHIPPED}


def policy(name_or_policy: str | Policy) -> Policy:
    """Return the policy of that name; a policy is returned as it is.

    Raises:
        InvalidSetting: If no policy has that name, or the policy given breaks a rule of its own.
    """
    if isinstance(name_or_policy, Policy):
        if name_or_policy not in _SHIPPED:
            _check(name_or_policy)
        return name_or_policy
    found = _policies.get(name_or_policy) if isinstance(name_or_policy, str) else None
    if found is None:
        known = ", ".join(sorted(_policies))
        raise InvalidSetting("policy", name_or_policy, f"one of {known}, or one added by register_policy()")
    return found


def register_policy(new: Policy) -> Policy:
    """Make a policy of your own known by its name, in this process, and return it.

    Every process that opens a queue of this policy must do so. Registering it again with the same
    Lua text, as a module that is loaded twice does, changes nothing but the Python function.

    Raises:
        InvalidSetting: If the name breaks its rule or is another policy's, the Lua text is
            missing or defines no `policy`, or the rank is not callable.
    """
    _check(new)
    known = _policies.get(new.name)
    if known is not None and (known.source, known.uses_virtual_time) != (new.source, new.uses_virtual_time):
        raise InvalidSetting("policy.name", new.name, "a name that no other policy has in this process")
    _policies[new.name] = new
    return new


def virtual_cost(weight: int = 1) -> int:
    """Return what one task adds to the virtual time of a tenant of this weight.

    A tenant of weight 2 adds half as much as one of weight 1 and so gets twice the turns. The
    quotient is rounded down: above 30 or so, weights that differ little may count the same.

    Raises:
        InvalidSetting: If the weight is no whole number from 1 to 1,000.
    """
    if not _is_whole(weight, 1, VIRTUAL_UNIT):
        raise InvalidSetting("weight", weight, f"a whole number from 1 to {VIRTUAL_UNIT:,}")
    return VIRTUAL_UNIT // weight


def choose(
    lanes: Mapping[tuple[str, str], Sequence[int]],
    rule: Policy,
    order: Order,
    virtual: Mapping[str, int] | None = None,
) -> tuple[str, str] | None:
    """Return the lane that runs next, or None when all are empty. The model, not the engine.

    Args:
        lanes: (type, group) to the scores that wait there, highest first.
        rule: The queue's policy.
        order: The queue's order, which tells a head's priority from its score.
        virtual: Virtual time of each group; a group that is not in it has 0.
    """
    times = virtual or {}

    def place(lane: tuple[str, str]) -> tuple[float, bytes, int]:
        group, head = lane[1], lanes[lane][0]
        rank = rule.rank(head, order.invert(head)[0], times.get(group, 0))
        # Redis compares ranks as doubles, and lanes of one rank by the bytes of their names.
        return float(rank), group.encode(), head

    return max((lane for lane, scores in lanes.items() if scores), key=place, default=None)


def _check(own: Policy) -> None:
    check_policy_name(own.name, "policy.name")
    if not isinstance(own.source, str) or "local policy" not in own.source:
        raise InvalidSetting("policy.source", own.source, "Lua text with a `local policy = {...}`")
    if not callable(own.rank):
        raise InvalidSetting("policy.rank", own.rank, "a function of head, priority and virtual time")


@cache
def _shipped_source(name: str) -> str:
    return (files("taskqueue") / "lua" / f"_rank_{name}.lua").read_text(encoding="utf-8")


def _is_whole(value: Any, low: int, high: int) -> bool:
    """Whether *value* is a whole number of that range. True and False are not."""
    return type(value) is int and low <= value <= high
