"""`taskqueue dead`: what failed for good is listed, shown, submitted again, or removed."""

from __future__ import annotations

import pytest

from scheduler import GiveUp
from tests.cli.conftest import Run, Work, enqueue


def refuse(payload: object) -> None:
    """A handler that does not work."""
    raise GiveUp("the provider said no")


def answer(payload: object) -> str:
    """A handler that does."""
    return "done"


def listed(cli: Run, *options: str) -> list[str]:
    """Return the ids of the dead letters."""
    return sorted(task["id"] for task in cli("dead", "list", "--json", *options).json_lines)


@pytest.fixture
def dead(cli: Run, work: Work) -> list[str]:
    """Two dead letters of CHATGPT and one of GROK; a completed task is not among them."""
    ids = [enqueue(cli), enqueue(cli)]
    work(refuse)
    grok = enqueue(cli, taskType="GROK")
    work(refuse, "GROK")
    enqueue(cli)
    work(answer)
    return [*ids, grok]


def test_dead_letters_are_listed(cli: Run, dead: list[str]) -> None:
    """With why they failed; of one type if asked for."""
    assert listed(cli) == sorted(dead)
    assert listed(cli, "--type", "GROK") == dead[2:]
    table = cli("dead", "list").out
    assert all(task_id in table for task_id in dead)
    assert table.count("GIVEN_UP: the provider said no") == 3


def test_a_long_list_is_cut_and_says_so(cli: Run, dead: list[str]) -> None:
    """On stderr."""
    result = cli("dead", "list", "--limit", "2", "--json")

    assert len(result.json_lines) == 2
    assert result.err == "only the first 2 are shown; --limit shows more\n"


def test_no_dead_letters_is_no_failure(cli: Run) -> None:
    """Exit code 0, and nothing on stdout."""
    assert cli("dead", "list") == cli("dead", "list").__class__(0, "", "no dead letters\n")


def test_one_dead_letter_is_shown(cli: Run, dead: list[str]) -> None:
    """What it was, and why it failed."""
    shown = cli("dead", "show", dead[0], "--json")

    assert shown.code == 0
    assert shown.json["payload"] == {"prompt": "hello"}
    assert shown.json["error"] == {"code": "GIVEN_UP", "message": "the provider said no"}
    assert "the provider said no" in cli("dead", "show", dead[0]).out


def test_what_is_no_dead_letter_is_not_shown_as_one(cli: Run) -> None:
    """Exit code 1, with its state, or that it is unknown."""
    task_id = enqueue(cli)

    queued, unknown = cli("dead", "show", task_id), cli("dead", "show", "nobody")

    assert (queued.code, unknown.code) == (1, 1)
    assert f"task {task_id} is QUEUED, so it is no dead letter" in queued.err
    assert "no task 'nobody'" in unknown.err


def test_a_dead_letter_is_submitted_again(cli: Run, dead: list[str], work: Work) -> None:
    """With the same id; this time it works."""
    result = cli("dead", "redrive", dead[0])

    assert (result.code, result.out) == (0, "1 task queued again\n")
    assert listed(cli) == sorted(dead[1:])
    work(answer)
    assert cli("get", dead[0], "--json").json["status"] == "COMPLETED"


def test_all_dead_letters_of_a_type_are_submitted_again(cli: Run, dead: list[str]) -> None:
    """One line of JSON for each."""
    result = cli("dead", "redrive", "--all", "--type", "CHATGPT", "--json")

    assert sorted(task["id"] for task in result.json_lines) == sorted(dead[:2])
    assert {task["status"] for task in result.json_lines} == {"QUEUED"}
    assert listed(cli) == dead[2:]


def test_what_cannot_be_redriven_does_not_stop_the_rest(cli: Run, dead: list[str]) -> None:
    """Exit code 1; each one is named."""
    queued = enqueue(cli)

    result = cli("dead", "redrive", queued, "nobody", dead[0])

    assert (result.code, result.out) == (1, "1 task queued again\n")
    assert f"task {queued} is QUEUED" in result.err
    assert "no task 'nobody'" in result.err


def test_dead_letters_are_purged(cli: Run, dead: list[str]) -> None:
    """By id, or all of them; their records are gone."""
    one = cli("dead", "purge", dead[0], "--yes")
    assert (one.code, one.out) == (0, "1 dead letter removed\n")
    assert listed(cli) == sorted(dead[1:])

    rest = cli("dead", "purge", "--all", "--yes", "--json")
    assert (rest.code, rest.json) == (0, {"purged": 2})
    assert listed(cli) == []
    assert cli("get", dead[1]).code == 1


def test_a_purge_removes_dead_letters_only(cli: Run, work: Work) -> None:
    """A task that was COMPLETED keeps its record, whatever is asked for: exit code 1."""
    task_id = enqueue(cli)
    work(answer)

    result = cli("dead", "purge", task_id, "--yes")

    assert result.code == 1
    assert "1 of the ids were no dead letters" in result.err
    assert cli("get", task_id).code == 0


def test_a_purge_asks_first(cli: Run, dead: list[str]) -> None:
    """A script has nobody to ask: exit code 2, and nothing was removed."""
    result = cli("dead", "purge", "--all")

    assert result.code == 2
    assert "say --yes to do it" in result.err
    assert listed(cli) == sorted(dead)


@pytest.mark.parametrize("command", ["redrive", "purge"])
@pytest.mark.parametrize("arguments", [(), ("some-id", "--all")])
def test_it_must_be_clear_which_ones_are_meant(cli: Run, command: str, arguments: tuple[str, ...]) -> None:
    """Ids, or all: exit code 2."""
    result = cli("dead", command, *arguments)

    assert result.code == 2
    assert "either their ids, or --all" in result.err
