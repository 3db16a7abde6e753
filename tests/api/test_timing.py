"""Time tells a tenant nothing of another: the server does the same, whatever the others have.

No clock is read here. What takes a different time does something different, and what the service does is
what it tells the queue's server: the same commands on the same keys.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskqueue.api.routes import ROUTES
from taskqueue.testing import FakeClock
from tests.api.worlds import CASES, NAME, World, foreign_names, world
from tests.servers import RealServer

NAMING = [spec for spec in ROUTES if "{task_id" in spec.path or NAME in str(CASES[spec.name].body)]
ALIKE = [
    spec
    for spec in ROUTES
    # Those that wait for a worker tell the server something whenever they please.
    if not CASES[spec.name].is_for_operators and not spec.name.startswith("monitor")
]


@pytest.fixture
async def shared(server: RealServer, queue_name: str, clock: FakeClock) -> AsyncIterator[World]:
    """The service with acme."""
    async with world(server, f"{queue_name}-shared", clock, with_acme=True) as opened:
        yield opened


@pytest.mark.parametrize("spec", NAMING, ids=lambda spec: spec.name)
async def test_what_is_anothers_is_as_quickly_dealt_with_as_what_is_not_there(
    shared: World, spec: Any
) -> None:
    """Ids in every state, idempotency keys, a delivery: the same commands for both names."""
    for foreign, unknown in foreign_names(shared).values():
        told = [await shared.commands(spec, name) for name in (unknown, foreign)]

        assert told[0] == told[1]
        assert any(command.startswith(("EVALSHA", "EVAL", "FCALL")) for command in told[0])


@pytest.mark.parametrize("spec", ALIKE, ids=lambda spec: spec.name)
async def test_what_others_have_makes_nothing_slower(
    server: RealServer, queue_name: str, clock: FakeClock, shared: World, spec: Any
) -> None:
    """Every route costs the same with acme and without; those of operators count everything."""
    async with world(server, f"{queue_name}-alone", clock, with_acme=False) as alone:
        told = [await each.commands(spec) for each in (alone, shared)]
    assert told[0] == told[1]


async def test_the_commands_of_two_requests_can_differ(shared: World) -> None:
    """The proof itself: a task of one's own is looked at longer."""
    [spec] = [spec for spec in ROUTES if spec.name == "getTask"]

    assert await shared.commands(spec, "globex-done") != await shared.commands(spec, "acme-done")
