"""The OpenAPI document is true: schemathesis, which reads nothing else, finds nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskqueue.webhooks import EgressPolicy
from tests.api.standing import Standing, standing
from tests.servers import RealServer

TOML = Path(__file__).with_name("schemathesis.toml")
TENANTS = ("acme", "globex")


@pytest.fixture
def few(server: RealServer, queue_name: str) -> Iterator[Standing]:
    """The service for the types whose payloads differ most: the more there are, the longer its document."""
    yield from _standing(server, queue_name, types=("AIMODE", "CHATGPT", "GOOGLE"))


@pytest.fixture
def service(server: RealServer, queue_name: str) -> Iterator[Standing]:
    """The service for all types."""
    yield from _standing(server, queue_name)


def _standing(server: RealServer, queue_name: str, **options: Any) -> Iterator[Standing]:
    with standing(server, queue_name, egress=EgressPolicy(), **options) as made:
        yield made
        assert made.troubles.seen == []


def _found(service: Standing, folder: Path, tenant: str, *options: str) -> str:
    """Run schemathesis as a tenant; return what it printed, which is all green or a test fails."""
    users = {
        "auth": [
            {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {key}"}]}
            for name, key in service.keys.items()
        ]
    }
    (folder / "users.json").write_text(json.dumps(users))
    peers = f'[auth.wfc]\npath = "users.json"\nuser = "{tenant}"\npeers = {json.dumps(TENANTS)}\n'
    (folder / "schemathesis.toml").write_text(f"{TOML.read_text()}\n{peers}")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.address}/openapi.json"]
    done = subprocess.run(
        [*command, "--no-color", "--continue-on-failure", "--suppress-health-check=all", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.timeout(240)
def test_the_document_is_true(few: Standing, tmp_path: Path) -> None:
    """Every way to break each of its rules is tried once, on every operation."""
    _found(few, tmp_path, "acme", "--generation-deterministic", "--phases=coverage")


@pytest.mark.timeout(240)
def test_what_operations_do_to_each_other_is_true(few: Standing, tmp_path: Path) -> None:
    """What is made is found, by its tenant alone; the tenant has limits, and meets them."""
    phases = "--phases=examples,stateful"
    _found(few, tmp_path, "globex", "--generation-deterministic", phases, "--max-examples=10")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("tenant", TENANTS)
def test_the_document_is_true_for_a_long_time(service: Standing, tmp_path: Path, tenant: str) -> None:
    """All of the above for all types, and requests at random, good and bad, 100 for each operation."""
    _found(service, tmp_path, tenant, "--seed=20260409", "--max-examples=100")
