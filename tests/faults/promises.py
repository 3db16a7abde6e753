"""What the promises say of a history, held against what the server has in the end.

Independent of the run without faults: it takes nothing but answers and plain keys.
"""

from __future__ import annotations

from collections import Counter

from tests.audit import ENDED, Dump, headers_of
from tests.faults.staging import Ledger


def broken_promises(found: Dump, ledger: Ledger, *, is_known: bool = True) -> list[str]:
    """Return what is wrong, one sentence each.

    Args:
        found: Everything that the queue has, once all of its work has been done.
        ledger: What was answered.
        is_known: Whether every call has answered; else there may be more than was accepted.
    """
    return [
        *_tasks(found, ledger, is_known=is_known),
        *_completions(found, ledger, is_known=is_known),
        *_credits(found, ledger, is_known=is_known),
        *(_order(ledger) if found.values["meta"]["policy"] == "strict" else ()),
    ]


def _tasks(found: Dump, ledger: Ledger, *, is_known: bool) -> list[str]:
    """Every accepted task has ended, and none is there that was not accepted; a key names its task."""
    problems = []
    headers = headers_of(found)
    runs = found.of("run")
    holders = set(found.of("idem").values())
    for task_id, task in ledger.accepted.items():
        if task_id in ledger.removed:
            if task_id in headers and is_known:
                problems.append(f"{task_id} was removed, and is there")
            continue
        if task_id not in headers:
            problems.append(f"{task_id} was accepted, and is lost")
        elif runs.get(task_id, {}).get("state", "QUEUED") not in ENDED:
            problems.append(f"{task_id} was accepted, and has not ended")
        elif task.idempotency_key is not None and task_id not in holders:
            problems.append(f"{task_id} does not hold its key")
    extra = {name for name in headers if not name.startswith("_")} - ledger.accepted.keys()
    if extra and is_known:
        problems.append(f"nobody was told of {sorted(extra)}")
    return problems


def _completions(found: Dump, ledger: Ledger, *, is_known: bool) -> list[str]:
    """A task is COMPLETED if and only if one completion of it was accepted, and only one was."""
    problems = [
        f"{name} was completed {times} times" for name, times in ledger.completed.items() if times > 1
    ]
    states = {name: run.get("state") for name, run in found.of("run").items()}
    for name, times in ledger.completed.items():
        if times == 1 and name in states and states[name] != "COMPLETED":
            problems.append(f"the completion of {name} was accepted, and it is {states[name]}")
    told = {name for name, times in ledger.completed.items() if times}
    problems += [
        f"{name} is COMPLETED, and no completion of it was accepted"
        for name, state in states.items()
        if state == "COMPLETED" and name not in told and is_known
    ]
    return problems


def _credits(found: Dump, ledger: Ledger, *, is_known: bool) -> list[str]:
    """What was granted is what was granted; what was spent is what the tasks were charged."""
    problems = []
    charged: Counter[str] = Counter()
    headers = headers_of(found)
    for name, run in found.of("run").items():
        if name in headers:
            charged[headers[name]["tenant"]] += int(run.get("charged", 0))
    for tenant, limit in found.of("limit", "tenant").items():
        if "granted" not in limit:
            continue
        if is_known and int(limit["granted"]) != ledger.granted[tenant]:
            problems.append(f"{tenant} was granted {limit['granted']} credits, not {ledger.granted[tenant]}")
        if int(limit.get("spent", 0)) != charged[tenant]:
            problems.append(f"{tenant} spent {limit.get('spent', 0)} credits, its tasks {charged[tenant]}")
    return problems


def _order(ledger: Ledger) -> list[str]:
    """Each claim is in the order of the queue."""
    problems = []
    for claim in ledger.starts:
        tasks = [task.task() for task in claim]
        places = [(-task.priority, task.sequence) for task in tasks]
        if places != sorted(places):
            problems.append(f"claimed out of order: {[task.id for task in tasks]}")
    return problems
