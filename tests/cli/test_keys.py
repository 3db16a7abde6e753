"""`taskqueue keys`: made once and shown once, listed without the key, ended at once."""

from __future__ import annotations

import re

import pytest

from tests.cli.conftest import Run

SECRET = "5f" * 16 + "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not embedded needs the secret in the environment."""
    monkeypatch.setenv("TASKQUEUE_SECRET", SECRET)


def test_a_key_is_shown_once(cli: Run) -> None:
    """On stdout nothing but the key, for a script to keep; the list has everything else."""
    made = cli("keys", "create", "--tenant", "acme", "--name", "build server")

    assert made.code == 0
    assert re.fullmatch(r"sk_live_[0-9A-Za-z]{61}\n", made.out)
    assert "shown this once" in made.err
    [listed] = cli("keys", "list", "--json").json
    assert (listed["tenant"], listed["name"], listed["lastUsedAt"]) == ("acme", "build server", None)
    assert made.out.strip() not in cli("keys", "list").out


def test_without_keys_it_is_said_how_to_make_one(cli: Run) -> None:
    """For people; scripts get an empty list."""
    shown = cli("keys", "list")

    assert (shown.code, shown.out) == (0, "")
    assert "taskqueue keys create --tenant" in shown.err
    assert cli("keys", "list", "--json").json == []


def test_a_tenant_can_be_limited_and_metered_with_its_first_key(cli: Run) -> None:
    """--concurrency and --credits set what `limits` and the balance show."""
    made = cli("keys", "create", "--tenant", "acme", "--concurrency", "20", "--credits", "500", "--json").json

    assert made["key"].startswith(f"sk_live_{made['id']}")
    [limit] = cli("limits", "show", "--json").json
    assert "acme" in limit.values()
    assert limit["concurrency"] == 20


def test_a_rotated_key_is_another(cli: Run) -> None:
    """With an overlap both are listed, the old one with its end."""
    old = cli("keys", "create", "--tenant", "acme", "--json").json

    new = cli("keys", "rotate", old["id"], "--overlap", "60", "--json").json

    assert new["key"] != old["key"]
    expiring = {info["id"]: info["expiresAt"] for info in cli("keys", "list", "--json").json}
    assert expiring[old["id"]] is not None
    assert expiring[new["id"]] is None


def test_a_revoked_key_is_gone(cli: Run) -> None:
    """And what is not there cannot be revoked: exit code 1."""
    made = cli("keys", "create", "--tenant", "acme", "--json").json

    assert cli("keys", "revoke", made["id"]).code == 0
    assert cli("keys", "list", "--json").json == []
    again = cli("keys", "revoke", made["id"], "--json")
    assert (again.code, again.json["revoked"]) == (1, False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--tenant", "_acme"),
        ("create", "--tenant", "acme", "--rate", "0"),
        ("create", "--tenant", "acme", "--concurrency", "-1"),
        ("create", "--tenant", "acme", "--credits", str(10**16)),
        ("create",),
        ("rotate", "no key"),
        ("revoke", "no key"),
    ],
)
def test_bad_input_makes_no_key(cli: Run, arguments: tuple[str, ...]) -> None:
    """Exit code 2, a sentence, and nothing changed."""
    result = cli("keys", *arguments)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("taskqueue: ")
    assert cli("keys", "list", "--json").json == []


def test_without_a_secret_it_is_said_what_to_do(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is named, and a command that makes one."""
    monkeypatch.delenv("TASKQUEUE_SECRET")

    result = cli("keys", "list")

    assert result.code == 2
    assert "TASKQUEUE_SECRET" in result.err
    assert "openssl rand -hex 32" in result.err


def test_the_secret_is_shown_nowhere(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that is refused."""
    monkeypatch.setenv("TASKQUEUE_SECRET", "short-secret")

    result = cli("keys", "list")

    assert result.code == 2
    assert "short-secret" not in result.err + result.out
