"""`taskqueue providers`, and workers and services whose tasks are answered by providers."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run, enqueue
from tests.cli.test_serve import finished, serving, submit
from tests.servers import wait_until

Program = Callable[..., subprocess.Popen[str]]

SECRET = "a-secret-that-nobody-may-see-0123456789"
TASKQUEUE_SECRET = "5f" * 16 + "0123456789abcdef" * 2
FILE = """
[providers.quick]
kind = "simulated"
median_latency = 0

[providers.refusing]
kind = "simulated"
median_latency = 0
mode = "refusing"

[types]
CHATGPT = ["refusing", "quick"]
GOOGLE = ["quick"]
"""
SICK = """
[providers.sick]
kind = "oracle"

[providers.keyless]
kind = "upstream"
base_url = "http://127.0.0.1:9"
api_key = { env = "NOT_SET_ANYWHERE" }
"""
PROMPT = {"prompt": "hello", "country": "US"}
PROBLEMS = {"providers.sick.kind", "providers.keyless.api_key.env", "types.GROK"}
ENDS = {"worker": ("--burst",), "serve": ("--host", "256.1.1.1")}
"""What ends a command that was not refused: it must not run until the tests are ended."""
MODULE = """
from scheduler import Scheduler

scheduler = Scheduler()

@scheduler.handler("CHATGPT")
async def own(payload, context):
    return {"text": "by a handler of its own", "sources": []}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in which all is right; commands of this process look for modules as they did before."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "providers.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def sick(file: Path) -> Path:
    """A configuration with three problems beside what is right."""
    file.write_text(f'{SICK}{FILE}GROK = ["sick", "keyless"]\n')
    return file


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for the end of a program that ends well, and return what it wrote."""
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    return out, err


# ------------------------------------------------------------------------------------------------ list


def test_the_list_has_types_chains_and_states(cli: Run, file: Path) -> None:
    """Of providers that were never used as well; exit code 0, because nothing is wrong."""
    listed = cli("providers", "--providers", str(file), "--json")
    shown = cli("providers", "--providers", str(file))

    assert listed.code == shown.code == 0, listed.err
    assert listed.json["problems"] == []
    assert listed.json["types"] == [
        {"taskType": "CHATGPT", "providers": ["refusing", "quick"]},
        {"taskType": "GOOGLE", "providers": ["quick"]},
    ]
    assert [(each["provider"], each["kind"], each["usable"]) for each in listed.json["providers"]] == [
        ("quick", "simulated", True),
        ("refusing", "simulated", True),
    ]
    assert "refusing, quick" in shown.out


def test_the_list_shows_what_providers_are_at(cli: Run, file: Path) -> None:
    """What operators have set: limits and pauses."""
    cli("limits", "set", "--provider", "quick", "--concurrency", "3")
    cli("pause", "--provider", "refusing")

    shown = cli("providers", "--providers", str(file)).out.splitlines()

    [quick] = [line.split() for line in shown if line.split()[:2] == ["quick", "simulated"]]
    [refusing] = [line.split() for line in shown if line.split()[:2] == ["refusing", "simulated"]]
    assert "ready" in quick
    assert "3" in quick
    assert "paused" in refusing
    assert " ".join(refusing).count("no limit") == 1


def test_the_list_has_every_problem(cli: Run, sick: Path) -> None:
    """Each with file and key, and exit code 1; people read them below each other."""
    listed = cli("providers", "--providers", str(sick), "--json")
    shown = cli("providers", "--providers", str(sick))

    assert listed.code == shown.code == 1
    assert {problem["key"] for problem in listed.json["problems"]} == PROBLEMS
    assert {problem["where"] for problem in listed.json["problems"]} == {"providers.toml"}
    assert {each["provider"]: each["usable"] for each in listed.json["providers"]} == {
        "sick": False,
        "keyless": False,
        "quick": True,
        "refusing": True,
    }
    assert "taskqueue: 3 problems of the providers" in shown.err
    assert all(f"  providers.toml: {key}: " in shown.err for key in PROBLEMS)
    assert "not usable" in shown.out


def test_the_list_is_shown_without_the_server(cli: Run, file: Path) -> None:
    """Only how the providers are is not known, which is said."""
    listed = cli("providers", "--providers", str(file), "--url", "redis://127.0.0.1:1", "--json")
    shown = cli("providers", "--providers", str(file), "--url", "redis://127.0.0.1:1")

    assert listed.code == shown.code == 0
    assert [each["state"] for each in listed.json["providers"]] == [None, None]
    assert "is not known: no usable answer from redis://127.0.0.1:1" in listed.err
    assert shown.out.count("unknown") == 2


@pytest.mark.parametrize("command", [("providers",), ("providers", "check", "CHATGPT")])
def test_without_providers_the_commands_say_how_to_name_some(cli: Run, command: tuple[str, ...]) -> None:
    """Exit code 2."""
    result = cli(*command)

    assert result.code == 2
    assert "--providers or TASKQUEUE_PROVIDERS" in result.err


def test_the_environment_names_the_file_or_the_providers(
    cli: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each for itself, or both."""
    monkeypatch.setenv("TASKQUEUE_PROVIDERS", str(file))
    by_file = cli("providers", "--json").json
    monkeypatch.delenv("TASKQUEUE_PROVIDERS")
    monkeypatch.setenv("TASKQUEUE_PROVIDERS__ALONE__KIND", "simulated")
    monkeypatch.setenv("TASKQUEUE_TYPES__GROK", "alone")
    alone = cli("providers", "--json").json

    assert [each["taskType"] for each in by_file["types"]] == ["CHATGPT", "GOOGLE"]
    assert alone["types"] == [{"taskType": "GROK", "providers": ["alone"]}]


# ----------------------------------------------------------------------------------------------- check


def test_a_check_asks_every_provider_of_the_chain(cli: Run, file: Path) -> None:
    """And says who answered what and how fast, and of one that did not what to do; exit code 1."""
    result = cli("providers", "check", "CHATGPT", "--providers", str(file))

    refused, advice, answered = result.out.splitlines()
    assert result.code == 1
    assert re.fullmatch(r"refusing did not answer \(.+\): the simulated service answered 401, .+", refused)
    assert "look at its key" in advice
    assert re.fullmatch(
        r"quick answered \(\d+ ms, \d+ tokens\): A simulated answer of ChatGPT to: .+", answered
    )


def test_a_check_asks_one_provider_what_it_is_told_to(cli: Run, file: Path) -> None:
    """Exit code 0: it answered. The file may be named before the command, too."""
    result = cli(
        "providers",
        "--providers",
        str(file),
        "check",
        "CHATGPT",
        "--provider",
        "quick",
        "--prompt",
        "Who is there?",
        "--json",
    )
    (trial,) = result.json["trials"]

    assert result.code == 0, result.err
    assert (trial["provider"], trial["answered"], trial["partials"]) == ("quick", True, 4)
    assert trial["result"]["text"] == "A simulated answer of ChatGPT to: Who is there?"


def test_a_failed_check_is_told_to_scripts(cli: Run, file: Path) -> None:
    """By the kind of the error, with its words and the advice."""
    result = cli(
        "providers", "check", "CHATGPT", "--provider", "refusing", "--providers", str(file), "--json"
    )
    (trial,) = result.json["trials"]

    assert result.code == 1
    assert trial["error"]["kind"] == "Misconfigured"
    assert trial["error"]["advice"].startswith("it refuses us")
    assert "result" not in trial


def test_a_search_is_checked_with_a_search(cli: Run, file: Path) -> None:
    """The beginning of what was found is the first title."""
    result = cli("providers", "check", "GOOGLE", "--providers", str(file))

    assert result.code == 0
    assert "Simulated result 1 for harbours that freeze over" in result.out


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("TEAPOT",), 2, "'TEAPOT' is not accepted; it must be one of AIMODE"),
        (("GEMINI",), 1, "no provider that can be used is configured for GEMINI"),
        (("CHATGPT", "--provider", "nobody"), 2, "there is no 'nobody'; there are: sick, keyless, quick"),
        (("CHATGPT", "--provider", "keyless"), 1, "provider keyless cannot be used as it is configured"),
        (("CHATGPT", "--prompt", ""), 2, "--prompt: String should have at least 1 character"),
    ],
)
def test_a_check_that_cannot_be_made_says_why(
    cli: Run, sick: Path, arguments: tuple[str, ...], code: int, what: str
) -> None:
    """In one sentence, below what is wrong with the configuration."""
    result = cli("providers", "check", *arguments, "--providers", str(sick))

    assert result.code == code
    assert what in result.err
    assert result.out == ""


def test_a_provider_is_not_asked_for_what_it_does_not_answer(cli: Run, file: Path) -> None:
    """It says what it answers."""
    file.write_text(
        '[providers.s]\nkind = "searxng"\nbase_url = "http://127.0.0.1:9"\n[types]\nGOOGLE = ["s"]'
    )

    result = cli("providers", "check", "GROK", "--provider", "s", "--providers", str(file))

    assert result.code == 2
    assert "s answers only GOOGLE, GOOGLE_NEWS" in result.err


def test_a_secret_is_not_shown_by_any_command(
    cli: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a provider of one's own says."""
    name = f"telling_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "from pydantic import SecretStr\n"
        "from scheduler.providers import Provider, ProviderSettings\n"
        "class Settings(ProviderSettings):\n"
        "    key: SecretStr\n"
        "class Telling(Provider):\n"
        "    Settings = Settings\n"
        "    async def open(self):\n"
        "        if self.name == 'shut':\n"
        "            raise OSError(f'shut for {self.settings.key.get_secret_value()}')\n"
        "    async def answer(self, payload, call):\n"
        "        raise ValueError(f'no {self.settings.key.get_secret_value()}')\n"
    )
    file.write_text(
        f'[providers.t]\nkind = "{name}:Telling"\nkey = {{ env = "THE_KEY" }}\n'
        f'[providers.shut]\nkind = "{name}:Telling"\nkey = {{ env = "THE_KEY" }}\n'
        '[types]\nGROK = ["t", "shut"]'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THE_KEY", SECRET)

    results = [
        cli("providers", "--providers", str(file), *more) for more in ((), ("--json",), ("check", "GROK"))
    ]

    assert [result.code for result in results] == [0, 0, 1]
    assert "ValueError: no [hidden]" in results[2].out
    assert "OSError: shut for [hidden]" in results[2].out
    assert SECRET not in str(results)


# ----------------------------------------------------------------------------------- workers, services


def test_a_worker_needs_only_providers(cli: Run, program: Program, sick: Path) -> None:
    """What is healthy works; what is wrong, and who cannot be reached, is said at the start."""
    with sick.open("a") as text:
        text.write(
            'GEMINI = ["away"]\n[providers.away]\nkind = "upstream"\nbase_url = "http://127.0.0.1:9"\n'
        )
        text.write('api_key = { env = "PATH" }\n')
    ids = [enqueue(cli, payload=PROMPT) for _ in range(2)]

    out, err = ended(program("worker", "--providers", "providers.toml", "--burst", "--json"))

    assert json.loads(out)["completed"] == 2
    assert "3 problems of the providers" in err
    assert all(f"  providers.toml: {key}: " in err for key in PROBLEMS)
    assert re.search(r"warning: providers: away: http://127\.0\.0\.1:9: it cannot be reached: ", err)
    assert "handlers for CHATGPT, GEMINI, GOOGLE" in err
    results = [cli("get", task_id, "--json").json["result"] for task_id in ids]
    assert [result["simulated"] for result in results] == [True, True]


def test_worker_processes_have_the_providers_and_say_problems_once(
    cli: Run, program: Program, sick: Path
) -> None:
    """Their supervisor did."""
    task_id = enqueue(cli, payload=PROMPT)

    _, err = ended(program("worker", "--providers", "providers.toml", "--processes", "2", "--burst"))

    assert cli("get", task_id, "--json").json["result"]["simulated"] is True
    assert err.count("problems of the providers") == 1
    assert err.count("worker 2 is process") == 1


def test_handlers_of_a_module_win_for_their_types(
    cli: Run, program: Program, file: Path, tmp_path: Path
) -> None:
    """The others go to the providers."""
    (tmp_path / "both.py").write_text(MODULE)
    own = enqueue(cli, payload=PROMPT)
    other = enqueue(cli, taskType="GOOGLE", payload={"query": "x", "country": "US"})

    ended(program("worker", "both:scheduler", "--providers", "providers.toml", "--burst"))

    assert cli("get", own, "--json").json["result"]["text"] == "by a handler of its own"
    assert cli("get", other, "--json").json["result"]["simulated"] is True


@pytest.mark.parametrize(("command", "ends"), ENDS.items())
def test_strict_refuses_to_start_with_a_problem(
    cli: Run, sick: Path, command: str, ends: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are told; exit code 2."""
    monkeypatch.setattr(f"taskqueue.cli.{command}.configure_logging", lambda *_, **__: None)

    result = cli(command, "--providers", str(sick), "--strict", *ends)

    assert result.code == 2
    assert "all of them must be right" in result.err
    assert all(f"  providers.toml: {key}: " in result.err for key in PROBLEMS)


@pytest.mark.parametrize(("command", "ends"), ENDS.items())
def test_nothing_starts_without_a_provider_that_can_be_used(
    cli: Run, file: Path, command: str, ends: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There would be nothing to run."""
    monkeypatch.setattr(f"taskqueue.cli.{command}.configure_logging", lambda *_, **__: None)
    file.write_text(SICK + '[types]\nGROK = ["sick"]')

    result = cli(command, "--providers", str(file), *ends)

    assert result.code == 2
    assert "no type has a provider that can be used" in result.err


def test_a_worker_says_what_it_could_run(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a module and without providers."""
    monkeypatch.setattr("taskqueue.cli.worker.configure_logging", lambda *_, **__: None)

    result = cli("worker", *ENDS["worker"])

    assert result.code == 2
    assert "MODULE:ATTR" in result.err
    assert "--providers FILE" in result.err


@pytest.mark.parametrize("other", ["--demo", "--api-only"])
def test_providers_do_not_go_together_with_who_else_runs_the_tasks(cli: Run, file: Path, other: str) -> None:
    """A file that is named is not passed over in silence."""
    result = cli("serve", other, "--providers", str(file), *ENDS["serve"])

    assert result.code == 2
    assert "who runs the tasks" in result.err


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_service_takes_exactly_the_types_that_have_a_provider(
    program: Program, sick: Path, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are refused at submission, with those that there are; in worker processes too."""
    monkeypatch.setenv("TASKQUEUE_SECRET", TASKQUEUE_SECRET)
    with serving(program, "--providers", "providers.toml", "--workers", workers) as served:
        answered = finished(served.client, submit(served.client))
        refused = served.client.post(
            "/v1/async/task", json={"taskType": "GROK", "payload": {"prompt": "x", "country": "US"}}
        )

    assert answered["response"]["simulated"] is True
    assert refused.status_code == 400
    (problem,) = refused.json()["error"]["details"]
    assert problem["field"] == "taskType"
    assert "GOOGLE" in problem["message"]
    assert "CHATGPT" in problem["message"]
    assert "GEMINI" not in problem["message"]
    said = "".join(served.said)
    assert said.count("3 problems of the providers") == 1


def test_a_demo_leaves_the_providers_of_the_environment_alone(
    program: Program, sick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its results are made up, whatever is configured."""
    monkeypatch.setenv("TASKQUEUE_PROVIDERS", "providers.toml")
    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.delenv("TASKQUEUE_URL")
    with serving(program, "--demo", env=None) as served:
        types = served.client.get("/openapi.json").text
    assert "problems of the providers" not in "".join(served.said)
    assert "GROK" in types


def test_a_worker_ends_in_order_while_its_tasks_wait_for_a_breaker(
    cli: Run, program: Program, file: Path
) -> None:
    """What happened to the provider is in the log, and in the list of providers."""
    file.write_text(
        '[providers.r]\nkind = "simulated"\nmedian_latency = 0\nmode = "refusing"\n[types]\nCHATGPT = ["r"]'
    )
    task_id = enqueue(cli, payload=PROMPT)
    running = program("worker", "--providers", "providers.toml")
    wait_until(lambda: cli("get", task_id, "--json").json["attempt"] == 1, "it was tried", timeout=30)

    running.send_signal(signal.SIGTERM)
    _, err = ended(running)

    assert "provider r failed task" in err
    state = cli("providers", "--providers", str(file), "--json").json["providers"][0]["state"]
    assert (state["condition"], state["used"]) == ("open", 0)
