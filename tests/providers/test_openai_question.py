"""A task as a request to an OpenAI-compatible service, and the settings that shape it; no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scheduler.providers.configuration import read_configuration
from scheduler.providers.openai.question import question_of
from scheduler.providers.openai.settings import OpenAiSettings
from taskqueue.contract import payload_model


def question(task_type: str, payload: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """The body that asks a task."""
    checked = payload_model(task_type, strict=False).model_validate(payload)
    return question_of(OpenAiSettings(model="m", **settings), checked)


def told(task_type: str, instructions: str, **payload: Any) -> str:
    """What the model is told beside the prompt."""
    body = question(task_type, {"prompt": "Where?", **payload}, instructions=instructions, api="responses")
    return str(body.get("instructions", ""))


def test_the_place_is_told_in_words_of_the_operators() -> None:
    """Each part of it where the template has it; no gap is left for what the task does not say."""
    template = "In {state}, {country} ({location}) {language}."

    assert told("CHATGPT", template, country="US", state="ny") == "In New York, US ()."
    assert told("CHATGPT", template, country="DE") == "In, DE ()."
    assert (
        told("AIMODE", "{country} {location} {language}", gl="us", hl="es", location="Austin")
        == "US Austin es"
    )
    assert told("CHATGPT", "Be kind. {other} {}", country="DE") == "Be kind. {other} {}"
    assert told("CHATGPT", "", country="DE") == ""


def test_what_a_task_says_is_no_template() -> None:
    """A town with braces is a town with braces."""
    assert told("AIMODE", "{location}", gl="us", location="{country} town") == "{country} town"


def test_a_chat_without_instructions_is_the_prompt_alone() -> None:
    """Nothing stands before it."""
    body = question("GROK", {"prompt": "Where?", "country": "US"}, instructions="")

    assert body["messages"] == [{"role": "user", "content": "Where?"}]


def test_the_place_stands_in_parameters_too() -> None:
    """As Perplexity and OpenAI's chat want it; what the task does not say is not sent."""
    place = {"country": "{country}", "region": "{state}"}
    parameters = {"web_search_options": {"user_location": place}, "stop": ["{x}"], "empty": ""}

    new_york = question("PERPLEXITY", {"prompt": "?", "country": "US", "state": "NY"}, parameters=parameters)
    germany = question("PERPLEXITY", {"prompt": "?", "country": "DE"}, parameters=parameters)

    assert new_york["web_search_options"] == {"user_location": {"country": "US", "region": "New York"}}
    assert germany["web_search_options"] == {"user_location": {"country": "DE"}}
    assert (germany["stop"], germany["empty"]) == (["{x}"], "")


@pytest.mark.parametrize(
    ("tool", "settings", "location"),
    [
        ({"type": "web_search"}, {}, {"type": "approximate", "country": "DE"}),
        ({"type": "web_search_preview"}, {}, {"type": "approximate", "country": "DE"}),
        ({"type": "web_search", "user_location": {"country": "FR"}}, {}, {"country": "FR"}),
        ({"type": "web_search"}, {"user_location": False}, None),
        ({"type": "code_interpreter"}, {}, None),
    ],
)
def test_searches_are_told_the_place_unless_they_have_one(
    tool: dict[str, Any], settings: dict[str, Any], location: dict[str, Any] | None
) -> None:
    """Other tools are left alone, and so are the settings themselves."""
    parameters = {"tools": [tool]}
    body = question(
        "CHATGPT", {"prompt": "?", "country": "DE"}, api="responses", parameters=parameters, **settings
    )

    assert body["tools"][0].get("user_location") == location
    assert question("CHATGPT", {"prompt": "?", "country": "US"}, parameters=parameters)["tools"] == [tool]


def test_a_search_that_is_left_to_the_engine_is_not_forced() -> None:
    """By `disableWebSearch` of the task."""
    parameters = {"tools": [{"type": "web_search"}], "tool_choice": "required"}
    forced = question("CHATGPT", {"prompt": "?", "country": "US"}, parameters=parameters)
    left = question(
        "CHATGPT", {"prompt": "?", "country": "US", "disableWebSearch": True}, parameters=parameters
    )

    assert (forced["tool_choice"], left.get("tool_choice")) == ("required", None)
    assert left["tools"] == parameters["tools"]


def test_a_service_that_refuses_to_count_is_not_asked_to() -> None:
    """By a setting, or by an option of one's own."""
    payload = {"prompt": "?", "country": "US"}
    own = {"stream_options": {"include_obfuscation": False}}

    assert "stream_options" not in question("GROK", payload, include_usage=False)
    assert question("GROK", payload, parameters=own)["stream_options"] == own["stream_options"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("", "model: it is missing"),
        ('model = "m"\napi_key = "sk-123"', "a secret does not stand in this file"),
        ('model = "m"\napi = "completions"', "'chat' or 'responses'"),
        ('model = "m"\nparameters = { model = "n", stream = true }', "model, stream cannot stand here"),
        ('model = "m"\nparameters = { since = 2026-01-01 }', "no dates"),
        ('model = "m"\nparameters = { top_p = nan }', "no dates, nan and inf"),
        (f'model = "m"\nparameters = {{ stop = "{"x" * 70_000}" }}', "at most 65,536 bytes"),
        ('model = "m"\nheaders = { Authorization = "Bearer x" }', "Authorization cannot stand here"),
        ('model = "m"\nheaders = { "X Y" = "z" }', "letters, digits and -"),
        ('model = "m"\nheaders = { X = "a\\nb" }', "printable ASCII"),
        ('model = "m"\n' + "".join(f'headers.X{n} = "y"\n' for n in range(33)), "at most 32"),
        ('model = "m"\norganization = "a b"', "a word of printable ASCII"),
        ('model = "m"\nbase_url = "https://me:pw@example.org/v1"', "without a user name"),
        ('model = "m"\nquota_cooldown = 0', "greater than or equal to 1"),
        ('model = "m"\ntemperature = 1', "it is unknown"),
    ],
)
def test_a_wrong_setting_is_told_with_what_it_must_be(tmp_path: Path, line: str, what: str) -> None:
    """And no key in it is shown."""
    path = tmp_path / "providers.toml"
    path.write_text(f'[types]\nGROK = ["main"]\n[providers.main]\nkind = "openai"\n{line}\n')

    problem, *_ = read_configuration(path, {}).problems

    assert what in str(problem)
    assert "sk-123" not in str(problem)
    assert "pw@" not in str(problem)


def test_a_key_comes_from_the_environment(tmp_path: Path) -> None:
    """It is never among what is shown of the settings."""
    path = tmp_path / "providers.toml"
    provider = '[providers.main]\nkind = "openai"\nmodel = "m"\napi_key = { env = "MINE" }\n'
    path.write_text(f'[types]\nGROK = ["main"]\n{provider}')
    found = read_configuration(path, {"MINE": "sk-123"})

    assert found.problems == []
    assert found.providers["main"].secrets == ("sk-123",)
    assert "sk-123" not in repr(found.providers["main"].settings)
