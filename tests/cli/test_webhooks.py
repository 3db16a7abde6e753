"""`taskqueue webhooks`: secrets are made, shown once, replaced and taken away."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import redis

from taskqueue.keys import Keys
from tests.cli.conftest import Run

SECRET = "5f" * 16 + "0123456789abcdef" * 2
COMMANDS = {"renew": (), "show": (), "set": ("--standard",), "remove": ()}


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not embedded needs the secret in the environment."""
    monkeypatch.setenv("TASKQUEUE_SECRET", SECRET)


def renewed(cli: Run, *options: str) -> dict[str, str]:
    """Renew the secret of a tenant; return what was said."""
    result = cli("webhooks", "renew", "--tenant", "acme", *options, "--json")
    assert result.code == 0, result.err
    said: dict[str, str] = result.json
    return said


def shown(cli: Run) -> dict[str, object]:
    """Return what is said about the signatures of a tenant."""
    result = cli("webhooks", "show", "--tenant", "acme", "--json")
    assert result.code == 0, result.err
    said: dict[str, object] = result.json
    return said


def test_a_secret_is_shown_once_and_replaced_by_the_next(cli: Run) -> None:
    """On stdout nothing else."""
    first = cli("webhooks", "renew", "--tenant", "acme")
    second = cli("webhooks", "renew", "--tenant", "acme", "--json").json

    assert (first.code, "shown this once" in first.err) == (0, True)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/=]{44}\n", first.out)
    assert second["secret"] != first.out.strip()
    assert (second["tenant"], second["oldSecretSignsUntil"]) == ("acme", None)


def test_an_old_secret_signs_on_for_the_overlap(cli: Run) -> None:
    """Until when is said to people and to scripts; the old secret is not shown again."""
    old = renewed(cli)["secret"]
    before = datetime.now(UTC)

    new = cli("webhooks", "renew", "--tenant", "acme", "--overlap", "24h")
    until = str(shown(cli)["oldSecretSignsUntil"])

    day = timedelta(hours=24)
    assert before + day - timedelta(seconds=1) <= datetime.fromisoformat(until) <= datetime.now(UTC) + day
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", until)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/=]{44}\n", new.out)
    assert f"from {until} on, and with the old one until then" in new.err
    assert old not in new.out + new.err
    assert renewed(cli, "--overlap", "7d")["oldSecretSignsUntil"] > until


def test_the_first_secret_has_nothing_to_overlap_with(cli: Run) -> None:
    """It signs at once, and that is said."""
    first = cli("webhooks", "renew", "--tenant", "acme", "--overlap", "24h")

    assert first.code == 0
    assert "signed with it from now on" in first.err
    assert "there was no old secret" in first.err
    assert "no old secret" not in cli("webhooks", "renew", "--tenant", "acme", "--overlap", "1h").err
    assert "no old secret" not in cli("webhooks", "renew", "--tenant", "acme").err


def test_it_is_shown_how_webhooks_are_signed(cli: Run) -> None:
    """Unsigned, signed, in an overlap, with more headers: never with a secret."""
    told = [cli("webhooks", "show", "--tenant", "acme")]
    facts = [shown(cli)]
    secrets = []
    for options in ((), ("--overlap", "1h")):
        secrets.append(renewed(cli, *options)["secret"])
        told.append(cli("webhooks", "show", "--tenant", "acme"))
        facts.append(shown(cli))
        cli("webhooks", "set", "--tenant", "acme", "--standard")

    assert [each.code for each in told] == [0, 0, 0]
    assert told[0].out == "webhooks of tenant acme are not signed\n"
    assert told[1].out.splitlines() == [
        "webhooks of tenant acme are signed",
        "headers of Standard Webhooks: not sent",
    ]
    until = facts[2]["oldSecretSignsUntil"]
    assert told[2].out.splitlines() == [
        f"webhooks of tenant acme are signed, with the old secret until {until}, then with the new one",
        "headers of Standard Webhooks: sent too",
    ]
    nothing = {"tenant": "acme", "oldSecretSignsUntil": None, "standard": False}
    assert facts[0] == {**nothing, "signed": False}
    assert facts[1] == {**nothing, "signed": True}
    assert facts[2] == {"tenant": "acme", "signed": True, "oldSecretSignsUntil": until, "standard": True}
    assert until is not None
    assert not any(secret in each.out + each.err for secret in secrets for each in told)


def test_the_headers_of_standard_webhooks_are_switched(cli: Run) -> None:
    """Both ways, as often as one likes; a renewal leaves them as they are."""
    renewed(cli)

    on = cli("webhooks", "set", "--tenant", "acme", "--standard")
    renewed(cli)
    assert (on.code, on.out, shown(cli)["standard"]) == (0, "", True)
    assert "carry the headers of Standard Webhooks from now on" in on.err

    off = cli("webhooks", "set", "--tenant", "acme", "--no-standard", "--json")
    assert (off.code, off.json) == (0, {"tenant": "acme", "signed": True, "standard": False})
    again = cli("webhooks", "set", "--tenant", "acme", "--no-standard")
    assert (again.code, shown(cli)["standard"]) == (0, False)
    assert "do not carry the headers of Standard Webhooks from now on" in again.err


def test_without_a_secret_there_are_no_such_headers(cli: Run) -> None:
    """Exit code 1, and the command that makes a secret."""
    told = cli("webhooks", "set", "--tenant", "acme", "--standard")
    fact = cli("webhooks", "set", "--tenant", "acme", "--standard", "--json")

    assert (told.code, told.out) == (1, "")
    assert "`taskqueue webhooks renew --tenant acme`" in told.err
    assert (fact.code, fact.json) == (1, {"tenant": "acme", "signed": False, "standard": False})
    assert shown(cli)["standard"] is False


def test_what_is_stored_is_sealed(cli: Run, client: redis.Redis, queue_name: str) -> None:
    """Whoever reads the server cannot sign, with the old secret or the new one."""
    made = [renewed(cli, "--overlap", "1h")["secret"] for _ in range(2)]

    stored = client.hgetall(Keys(queue_name).account("acme"))

    assert {b"webhook_secret", b"webhook_old"} <= set(stored)
    assert not any(secret.removeprefix("whsec_") in repr(stored) for secret in made)


def test_signing_can_end(cli: Run) -> None:
    """And what is not there cannot be removed: exit code 1."""
    renewed(cli)
    renewed(cli, "--overlap", "1h")
    cli("webhooks", "set", "--tenant", "acme", "--standard")

    assert cli("webhooks", "remove", "--tenant", "acme").code == 0
    again = cli("webhooks", "remove", "--tenant", "acme", "--json")
    assert (again.code, again.json) == (1, {"tenant": "acme", "removed": False})
    assert "were not signed" in cli("webhooks", "remove", "--tenant", "acme").err
    unsigned = {"tenant": "acme", "signed": False, "oldSecretSignsUntil": None, "standard": False}
    assert shown(cli) == unsigned


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("tenant", ["_acme", "a b", ""])
def test_a_tenant_that_cannot_be_is_refused(cli: Run, command: str, tenant: str) -> None:
    """Exit code 2 and the rule."""
    result = cli("webhooks", command, "--tenant", tenant, *COMMANDS[command])

    assert (result.code, result.out) == (2, "")
    assert "tenant" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("renew", "--overlap", "soon"), "--overlap: 'soon' is not accepted"),
        (("renew", "--overlap", ""), "--overlap: '' is not accepted"),
        (("renew", "--overlap", "-1h"), "--overlap: '-1h' is not accepted"),
        (("renew", "--overlap", "91d"), "a duration from 0 to 90 days"),
        (("renew", "--overlap", "999999999999d"), "is not accepted"),
        (("set",), "--standard"),
        (("set", "--standard", "yes"), "yes"),
    ],
)
def test_bad_input_changes_nothing(cli: Run, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2 and a sentence with the value; the old secret signs as before."""
    renewed(cli)
    command, *options = arguments

    result = cli("webhooks", command, "--tenant", "acme", *options)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("taskqueue: ")
    assert said in result.err
    signed = {"tenant": "acme", "signed": True, "oldSecretSignsUntil": None, "standard": False}
    assert shown(cli) == signed


@pytest.mark.parametrize("command", COMMANDS)
def test_a_tenant_must_be_named(cli: Run, command: str) -> None:
    """Nobody renews the secret of whoever happens to be the default."""
    result = cli("webhooks", command, *COMMANDS[command])

    assert (result.code, result.out) == (2, "")
    assert "--tenant" in result.err


@pytest.mark.parametrize("command", COMMANDS)
def test_without_the_services_secret_it_is_said_what_to_do(
    cli: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The setting is named, and a command that makes one."""
    monkeypatch.delenv("TASKQUEUE_SECRET")

    result = cli("webhooks", command, "--tenant", "acme", *COMMANDS[command])

    assert (result.code, result.out) == (2, "")
    assert "TASKQUEUE_SECRET" in result.err
    assert "openssl rand -hex 32" in result.err


def test_a_secret_of_another_service_cannot_be_read(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor kept for an overlap, which would fail every delivery; it can be replaced, or removed."""
    renewed(cli)
    monkeypatch.setenv("TASKQUEUE_SECRET", SECRET[::-1])

    for command, *options in (("show",), ("renew", "--overlap", "1h")):
        result = cli("webhooks", command, "--tenant", "acme", *options)
        assert (result.code, result.out) == (1, "")
        assert "tenant acme cannot be signed, and are not sent unsigned" in result.err
        assert "`taskqueue webhooks renew --tenant acme`" in result.err
        assert SECRET not in result.err
        assert SECRET[::-1] not in result.err

    renewed(cli)
    assert shown(cli)["signed"] is True
    monkeypatch.setenv("TASKQUEUE_SECRET", SECRET)
    assert cli("webhooks", "remove", "--tenant", "acme").code == 0
