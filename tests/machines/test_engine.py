"""The whole engine against a plain model: any order of verbs, right, stale and foreign tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machines.agreeing import Agreeing
from tests.machines.machine import Running
from tests.machines.operators import Operators
from tests.machines.producers import Producers
from tests.machines.routers import Routers
from tests.machines.workers import Workers
from tests.servers import RealServer, available_servers


@pytest.fixture(scope="module", autouse=True, params=available_servers())
def _running(request: pytest.FixtureRequest) -> Iterator[None]:
    with RealServer(request.param) as Running.server, asyncio.Runner() as runner:
        Running.loop = runner.get_loop()
        yield


class Engine(Producers, Workers, Operators, Routers, Agreeing):
    """Drives store and model with the same steps; after each of them they agree."""


class Routing(Routers, Agreeing):
    """The steps that are about providers, and only these: so more of them follow each other."""


@pytest.mark.timeout(300)
def test_the_engine_does_what_the_model_says() -> None:
    """Any sequence of verbs; afterwards the audit finds nothing."""
    run_state_machine_as_test(
        Engine, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
    )


@pytest.mark.timeout(300)
def test_providers_do_what_the_model_says() -> None:
    """Chains, verdicts, limits and time in any order."""
    run_state_machine_as_test(
        Routing, settings=settings(max_examples=200, stateful_step_count=40, deadline=None)
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_engine_does_what_the_model_says_at_length() -> None:
    """The same, for much longer."""
    for machine in (Engine, Routing):
        run_state_machine_as_test(
            machine, settings=settings(max_examples=1500, stateful_step_count=60, deadline=None)
        )
