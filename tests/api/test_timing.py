"""Time tells a tenant nothing of another: the server does the same, whatever the others have.

No clock is read here. What takes a different time does something different, and what the service does is
what it tells the queue's server: the same commands on the same keys, in the same order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskqueue.api.routes import ROUTES
from taskqueue.testing import FakeClock
from tests.api.worlds import CASES, World, essence, hooks, world
from tests.servers import RealServer

NAMED = [spec for spec in ROUTES if "{task_id}" in spec.path or "createTask" in spec.name]
OPEN = [spec for spec in ROUTES if spec not in NAMED and not spec.name.startswith("monitor")]
FOREIGN = ("queued", "late", "running", "done", "failed", "cancelled", "reserved", "key", "delivery")


@pytest.fixture
async def shared(server: RealServer, queue_name: str, clock: FakeClock) -> AsyncIterator[World]:
    """The service with acme."""
    async with world(server, f"{queue_name}-shared", clock, with_acme=True) as opened:
        yield opened


def named(kind: str, of: World) -> tuple[str, str]:
    """Return a name of acme's, and one like it that nobody has."""
    if kind == "delivery":
        return hooks(of)[0], "_hook-77"
    return f"acme-{kind}", f"acmf-{kind}"


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("spec", NAMED, ids=lambda spec: spec.name)
async def test_what_is_anothers_is_as_quickly_refused_as_what_is_not_there(
    shared: World, spec: Any, kind: str
) -> None:
    """Ids in every state, an idempotency key, a delivery: the same commands for both names."""
    foreign, unknown = named(kind, shared)

    told = [await shared.commands(spec, name) for name in (unknown, foreign)]

    assert told[0] == told[1]
    assert any(command.startswith(("EVALSHA", "EVAL", "FCALL")) for command in told[0])


@pytest.mark.parametrize("spec", OPEN, ids=lambda spec: spec.name)
async def test_what_others_have_makes_nothing_slower(
    server: RealServer, queue_name: str, clock: FakeClock, shared: World, spec: Any
) -> None:
    """A route without a name costs the same with acme and without; but for those that count everything."""
    async with world(server, f"{queue_name}-alone", clock, with_acme=False) as alone:
        told = [await each.commands(spec) for each in (alone, shared)]
    told[1] = [command.replace("-shared", "-alone") for command in told[1]]

    assert told[0] == told[1]


async def test_the_commands_of_two_requests_can_differ(shared: World) -> None:
    """The proof itself: a task of one's own is looked at longer."""
    [spec] = [spec for spec in ROUTES if spec.name == "getTask"]

    assert await shared.commands(spec, "globex-done") != await shared.commands(spec, "acme-done")
    reply = await shared.ask(spec, "globex-done")
    assert essence(reply, "globex-done")[0] == 200
    assert CASES["getTask"].is_read
