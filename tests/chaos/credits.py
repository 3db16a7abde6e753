"""Whether credits add up: what was granted is what was spent and what is left, and nothing is held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.chaos.evidence import Evidence, Submission


@dataclass(frozen=True, slots=True)
class Account:
    """The credits of a tenant as they were found in the end."""

    granted: int
    spent: int
    held: int


def credit_problems(
    evidence: Evidence, charged: Mapping[str, tuple[str, int]], accounts: Mapping[str, Account]
) -> Iterator[tuple[str, str]]:
    """Yield tenants and what is wrong with their credits.

    Args:
        evidence: What happened.
        charged: State of each task that was found, and what it was charged.
        accounts: What was found of the tenants that are metered.
    """
    owners = {task: each for task, each in evidence.submissions.items() if each.tenant in accounts}
    for tenant, account in sorted(accounts.items()):
        calls = evidence.grants.get(tenant, [])
        certain = sum(call.given["credits"] for call in calls if call.outcome == "ok")
        possible = certain + sum(call.given["credits"] for call in calls if call.outcome == "unknown")
        if not certain <= account.granted <= possible:
            yield tenant, f"was granted {certain} to {possible}, and has {account.granted}"
        if account.held:
            yield tenant, f"holds {account.held} although nothing runs"
        if account.spent > account.granted:
            yield tenant, f"spent {account.spent} of {account.granted}"
        own = charged.keys() & {task for task, each in owners.items() if each.tenant == tenant}
        recount = sum(charged[task][1] for task in own)
        if recount != account.spent:
            yield tenant, f"spent {account.spent}, and its tasks were charged {recount}"
    for task, submission in sorted(owners.items()):
        if task in charged:
            problem = _wrong_charge(evidence, submission, *charged[task])
            if problem:
                yield submission.tenant, f"{task} {problem}"


def _wrong_charge(evidence: Evidence, submission: Submission, state: str, amount: int) -> str:
    """Say what is wrong with what a task was charged, judged by what its handlers said; "" if nothing is."""
    if state != "COMPLETED":
        return f"is {state} and was charged {amount}" if amount else ""
    said = {run.charge for run in evidence.runs.get(submission.task, []) if run.charge is not None}
    wanted = said or {submission.cost}
    # Where less was free than the hold, less than was said may have been charged, never less than the cost.
    least = min(min(each, submission.cost) for each in wanted)
    most = min(max(wanted), submission.hold)
    if not least <= amount <= most:
        return f"was charged {amount}, which should be {least} to {most}"
    return ""
