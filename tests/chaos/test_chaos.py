"""Every fault of the laboratory once, and every guard taken away once: minutes, so only when asked for.

`python -m tests.chaos` does the same for longer, with seeds, tables and JSON; see docs/reliability.md.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from tests.chaos.controls import GUARDS
from tests.chaos.faults import FAULTS
from tests.chaos.laboratory import Setup
from tests.chaos.running import complaints, forget, run_fault
from tests.crash.harness import say

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.fixture
def setup() -> Setup:
    """A run of its own; its seed is printed, and brings the same faults again."""
    seed = secrets.randbelow(10**6)
    say(f"seed {seed}")
    return Setup(seed=seed)


@pytest.mark.parametrize("name", FAULTS)
async def test_every_promise_holds_under(name: str, setup: Setup) -> None:
    """Two workers, two producers, and what the fault does to them."""
    outcome = await run_fault(FAULTS[name], setup, 0, say)

    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert complaints(outcome) == [], f"seed {setup.seed}, history in {outcome.folder}"
    forget(outcome)


@pytest.mark.parametrize("name", GUARDS)
async def test_the_checker_notices_that_a_guard_is_missing(name: str, setup: Setup) -> None:
    """The scripts of one run lack a line; a checker that finds nothing then would prove nothing."""
    guard = GUARDS[name]
    outcome = await run_fault(FAULTS[guard.fault], replace(setup, without=name), 0.05, say)

    assert guard.breaks & outcome.broken.keys(), f"seed {setup.seed}: only {dict(outcome.broken)}"
    forget(outcome)
