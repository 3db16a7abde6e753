"""Guards that can be taken away, in the processes of one run, to see that the checker notices.

Each is a piece of a Lua script and what stands in its place then. The scripts are sent by the
processes themselves, under a name made from their text: no other queue is touched. The functions of
the server are made from the same text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from taskqueue import scripts


@dataclass(frozen=True, slots=True)
class Guard:
    """A piece of a script.

    Attributes:
        part: The file, without its ending.
        text: What stands there.
        instead: What stands there without the guard.
        breaks: Rules of the checker of which at least one must be broken then.
        fault: What is done meanwhile.
    """

    part: str
    text: str
    instead: str
    breaks: frozenset[str]
    fault: str


GUARDS: Mapping[str, Guard] = {
    "token": Guard(
        "_holding",
        "  if not run[2] or run[2] ~= token then\n",
        "  if not run[2] then\n",
        frozenset({"twice", "stale"}),
        "F2",
    ),
    "same id": Guard(
        "enqueue",
        '  known = known + call("EXISTS", unpack(KEYS, first, min(first + CHUNK - 1, last_task_key)))\n',
        "",
        frozenset({"repeat"}),
        "F0",
    ),
    "end of the lease": Guard(
        "reap",
        'call("ZRANGEBYSCORE", leased, "-inf", now, "LIMIT", 0, limit)',
        'call("ZRANGEBYSCORE", leased, "-inf", "+inf", "LIMIT", 0, limit)',
        frozenset({"repeat"}),
        "F0",
    ),
    "back to the queue": Guard(
        "reap",
        '    requeue(claim, "reaped")\n',
        "    released[#released + 1] = claim.id\n",
        frozenset({"lost"}),
        "F1",
    ),
    "priority": Guard(
        "_places",
        "score_of(priority, sequence)",
        "score_of(1, sequence)",
        frozenset({"inversion"}),
        "F0",
    ),
    "sequence": Guard(
        "_meta",
        "priority * meta.stride - sequence",
        "(priority - 1) * meta.stride + sequence",
        frozenset({"fifo"}),
        "F0",
    ),
    "end of the hold": Guard(
        "_holding",
        "  return end_hold(claim, charge)\n",
        "  return charge\n",
        frozenset({"credits"}),
        "F0",
    ),
}


def take_guard_away(name: str) -> None:
    """Have this process send its scripts without a guard, from now on."""
    guard = GUARDS[name]
    read = scripts._read

    @cache
    def without(part: str) -> str:
        source = read(part)
        if part != guard.part:
            return source
        assert guard.text in source, f"{part}.lua has changed: {name} is not there any more"
        return source.replace(guard.text, guard.instead)

    scripts._read = without
