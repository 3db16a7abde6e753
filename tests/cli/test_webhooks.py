"""`taskqueue webhooks`: secrets are made, shown once, replaced and taken away."""

from __future__ import annotations

import re

import pytest

from tests.cli.conftest import Run

SECRET = "5f" * 16 + "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not embedded needs the secret in the environment."""
    monkeypatch.setenv("TASKQUEUE_SECRET", SECRET)


def test_a_secret_is_shown_once_and_replaced_by_the_next(cli: Run) -> None:
    """On stdout nothing else."""
    first = cli("webhooks", "renew", "--tenant", "acme")
    second = cli("webhooks", "renew", "--tenant", "acme", "--json").json

    assert (first.code, "shown this once" in first.err) == (0, True)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/=]{44}\n", first.out)
    assert second["secret"] != first.out.strip()


def test_what_is_stored_is_sealed(cli: Run, client: object) -> None:
    """Whoever reads the server cannot sign."""
    made = cli("webhooks", "renew", "--tenant", "acme", "--json").json["secret"]

    stored = [client.hgetall(key) for key in client.scan_iter("*account:acme")]  # type: ignore[attr-defined]

    assert stored
    assert made.encode() not in repr(stored).encode()


def test_signing_can_end(cli: Run) -> None:
    """And what is not there cannot be removed: exit code 1."""
    cli("webhooks", "renew", "--tenant", "acme")

    assert cli("webhooks", "remove", "--tenant", "acme").code == 0
    again = cli("webhooks", "remove", "--tenant", "acme", "--json")
    assert (again.code, again.json["removed"]) == (1, False)


def test_a_tenant_that_cannot_be_is_refused(cli: Run) -> None:
    """Exit code 2 and the rule."""
    result = cli("webhooks", "renew", "--tenant", "_acme")

    assert (result.code, result.out) == (2, "")
    assert "tenant" in result.err
