"""Payloads of the AI engines, and what all payloads have in common."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.contract import TASK_TYPES, PayloadInvalid, PriceList, check_payload, countries, payload_model
from taskqueue.contract.checking import MOST_UNKNOWN
from taskqueue.errors import InvalidTask
from tests.unit.contract.refusals import ENGINES, SMALLEST, refused, with_fields

TEXT_FIELDS = [(task_type, next(iter(payload))) for task_type, payload in SMALLEST.items()]
INCLUDED = {
    "CHATGPT": {"html", "markdown", "rawResponse", "searchQueries", "ads", "shopping"},
    "GEMINI": {"html", "markdown", "rawResponse"},
    "PERPLEXITY": {"html", "markdown", "rawResponse"},
    "COPILOT": {"html", "markdown", "rawResponse"},
    "GROK": {"html", "markdown", "rawResponse"},
    "AIMODE": {"html", "markdown", "expandProducts"},
    "GOOGLE": {"html", "paaAioverview"},
    "GOOGLE_NEWS": {"html"},
}
FLAGS = [(task_type, flag) for task_type, flags in INCLUDED.items() for flag in sorted(flags)]
RECEIVED: list[tuple[object, str]] = [
    (None, "null"),
    (True, "boolean"),
    (1, "number"),
    (1.5, "number"),
    ("text", "string"),
    ([], "array"),
    ({}, "object"),
]


def not_a(*names: str) -> list[tuple[object, str]]:
    """Return a value of every JSON type but *names*, and the name of its type."""
    return [(value, name) for value, name in RECEIVED if name not in names]


# ------------------------------------------------------------------------------- the payload as a whole


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_the_smallest_payload_is_kept_as_it_is(task_type: str) -> None:
    """Nothing is added to what was given, and what was given is left alone."""
    payload = json.loads(json.dumps(SMALLEST[task_type]))

    assert check_payload(task_type, payload) == SMALLEST[task_type]
    assert payload == SMALLEST[task_type]


@pytest.mark.parametrize("task_type", TASK_TYPES)
@pytest.mark.parametrize(("value", "name"), not_a("object"))
def test_a_payload_is_an_object(task_type: str, value: object, name: str) -> None:
    """Anything else is one problem of the payload itself."""
    assert refused(task_type, value) == [("", f"Invalid input: expected object, received {name}")]


@pytest.mark.parametrize("task_type", ["chatgpt", "", "GOOGLE NEWS", None, 5, ["GOOGLE"]])
def test_an_unknown_task_type_is_refused(task_type: Any) -> None:
    """It is a slip of the program that asks, not of the payload."""
    with pytest.raises(InvalidTask) as refusal:
        check_payload(task_type, {})

    assert refusal.value.field == "taskType"


def test_every_bad_field_is_named_at_once_and_in_order() -> None:
    """One answer is enough to mend a payload: known fields in their order, then unknown ones."""
    payload = {"extra": 1, "include": {"html": 1, "other": 1}, "state": 5, "country": "XX", "prompt": ""}

    assert [field for field, _ in refused("CHATGPT", payload)] == [
        "prompt",
        "country",
        "state",
        "include.html",
        "extra",
        "include.other",
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_payload_lacks_prompt_and_country(engine: str) -> None:
    """The two fields that every engine needs, in the contract's words."""
    assert refused(engine, {}) == [
        ("prompt", "Prompt cannot be empty"),
        ("country", "Invalid input: expected string, received undefined"),
    ]


# ------------------------------------------------------------------------------------ prompts and queries


@pytest.mark.parametrize(("task_type", "field"), TEXT_FIELDS)
@pytest.mark.parametrize("value", ["", " ", "\n\t\u00a0 ", None, 5, True, [], {}])
def test_a_text_is_not_empty(task_type: str, field: str, value: object) -> None:
    """Spaces alone are empty, and so is what is no text."""
    problem = (field, f"{field.capitalize()} cannot be empty")

    assert refused(task_type, with_fields(task_type, **{field: value})) == [problem]


@pytest.mark.parametrize(("task_type", "field"), TEXT_FIELDS)
@pytest.mark.parametrize("text", ["x", "x" * 10_000, "\u00fc" * 10_000, "\U0001f600" * 10_000, "a  b"])
def test_a_text_has_up_to_10000_characters_without_the_spaces_around_it(
    task_type: str, field: str, text: str
) -> None:
    """The spaces are taken off before the characters, not the bytes, are counted."""
    checked = check_payload(task_type, with_fields(task_type, **{field: f" \n{text}\t "}))

    assert checked[field] == text


@pytest.mark.parametrize(("task_type", "field"), TEXT_FIELDS)
def test_a_text_of_10001_characters_is_too_long(task_type: str, field: str) -> None:
    """One character above the limit, in the contract's words."""
    problem = (field, f"{field.capitalize()} is too long (max 10,000 characters)")

    assert refused(task_type, with_fields(task_type, **{field: "x" * 10_001})) == [problem]


@pytest.mark.parametrize(("task_type", "field"), TEXT_FIELDS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\0b", "Invalid input: text must not contain NUL characters"),
        ("a\ud800", "Invalid input: text must not contain unpaired surrogates"),
    ],
)
def test_a_text_that_cannot_be_passed_on_is_refused(
    task_type: str, field: str, text: str, message: str
) -> None:
    """JSON can spell what neither UTF-8 nor many programs can hold."""
    assert refused(task_type, with_fields(task_type, **{field: text})) == [(field, message)]


# ------------------------------------------------------------------------------------- country and state


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_is_asked_from_the_countries_that_it_serves(engine: str) -> None:
    """All of its list pass, all others are refused with the list to look at."""
    served = set(countries(engine.lower()))
    for code in countries():
        payload = with_fields(engine, country=code)
        if code in served:
            assert check_payload(engine, payload)["country"] == code
        else:
            where = f"Use a code from `GET /v1/countries?model={engine.lower()}`."
            assert refused(engine, payload) == [("country", f"`country` {code} is not supported. {where}")]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_country_in_small_letters_is_refused(engine: str) -> None:
    """The engines take capital letters only, and the refusal says so."""
    message = "`country` us is not supported: country codes are written in capital letters, such as US."

    assert refused(engine, with_fields(engine, country="us")) == [("country", message)]


@pytest.mark.parametrize(
    "value", ["", " US", "US ", "United States", "\u00dcS", "\uff35\uff33", "U\n", "USA!"]
)
def test_what_does_not_look_like_a_code_is_not_repeated(value: str) -> None:
    """A text of the caller's is no part of the message."""
    where = "Use a code from `GET /v1/countries?model=chatgpt`."
    message = f"Invalid `country`: expected an ISO 3166-1 alpha-2 code. {where}"

    assert refused("CHATGPT", with_fields("CHATGPT", country=value)) == [("country", message)]


@pytest.mark.parametrize("field", ["country", "state"])
@pytest.mark.parametrize(("value", "name"), not_a("string"))
def test_a_code_is_a_text(field: str, value: object, name: str) -> None:
    """Null is not the same as left out."""
    message = f"Invalid input: expected string, received {name}"

    assert refused("GEMINI", with_fields("GEMINI", **{field: value})) == [(field, message)]


def test_a_long_code_is_refused_before_it_is_looked_up() -> None:
    """A body of megabytes costs no more than its reading."""
    message = "Too big: expected string to have <=64 characters"

    assert refused("GROK", with_fields("GROK", country="U" * 65, state="N" * 65)) == [
        ("country", message),
        ("state", message),
    ]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("state", ["NY", "ny", "Ny", "DC"])
def test_a_state_is_written_in_capital_letters(engine: str, state: str) -> None:
    """Small letters are accepted, and one spelling is stored."""
    assert check_payload(engine, with_fields(engine, state=state))["state"] == state.upper()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("state", ["", "ZZ", "PR", " NY", "New York", "N\u0178", "\ufb02", "\u017fc"])
def test_an_unknown_state_is_refused(engine: str, state: str) -> None:
    """Only codes of the list; letters that become A to Z in capitals are none."""
    message = "Invalid `state` for US. Use a code from `GET /v1/states?country=US`."

    assert refused(engine, with_fields(engine, state=state)) == [("state", message)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("state", ["NY", "ZZ", ""])
def test_a_state_needs_a_country_that_has_states(engine: str, state: str) -> None:
    """Only the United States have a list."""
    message = "`state` is not supported for country DE."

    assert refused(engine, with_fields(engine, country="DE", state=state)) == [("state", message)]


def test_the_state_of_a_refused_country_is_not_judged() -> None:
    """One slip gives one problem."""
    assert [field for field, _ in refused("GEMINI", with_fields("GEMINI", country="us", state="NY"))] == [
        "country"
    ]


@pytest.mark.parametrize("task_type", ["AIMODE", "GOOGLE", "GOOGLE_NEWS"])
def test_googles_engines_know_no_states(task_type: str) -> None:
    """The place is said by gl, location and uule there."""
    assert refused(task_type, with_fields(task_type, state="NY")) == [
        ("state", 'Unrecognized key: "state"'),
    ]


# --------------------------------------------------------------------------------------- flags and include


@pytest.mark.parametrize(("task_type", "flag"), FLAGS)
@pytest.mark.parametrize("value", [True, False])
def test_an_include_flag_is_kept(task_type: str, flag: str, value: bool) -> None:
    """What was given stays, the default too."""
    payload = with_fields(task_type, include={flag: value})

    assert check_payload(task_type, payload) == payload


@pytest.mark.parametrize(("task_type", "flag"), FLAGS)
@pytest.mark.parametrize(("value", "name"), not_a("boolean"))
def test_an_include_flag_is_true_or_false(task_type: str, flag: str, value: object, name: str) -> None:
    """Neither 1 nor "true" will do."""
    message = f"Invalid input: expected boolean, received {name}"

    assert refused(task_type, with_fields(task_type, include={flag: value})) == [(f"include.{flag}", message)]


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_an_engine_refuses_the_flags_of_others(task_type: str) -> None:
    """Each engine has its own; asking for more than it can give is a slip."""
    known = INCLUDED[task_type] | ({"aioverview"} if task_type == "GOOGLE" else set())
    for flag in set().union(*INCLUDED.values()) - known:
        assert refused(task_type, with_fields(task_type, include={flag: True})) == [
            (f"include.{flag}", f'Unrecognized key: "{flag}"')
        ]


@pytest.mark.parametrize("task_type", TASK_TYPES)
@pytest.mark.parametrize(("value", "name"), not_a("object"))
def test_include_is_an_object(task_type: str, value: object, name: str) -> None:
    """Null is not the same as left out."""
    message = f"Invalid input: expected object, received {name}"

    assert refused(task_type, with_fields(task_type, include=value)) == [("include", message)]


@pytest.mark.parametrize("flag", ["legacy", "disableWebSearch"])
def test_chatgpt_alone_has_further_flags(flag: str) -> None:
    """They are kept for ChatGPT, true or false only, and unknown to the others."""
    assert check_payload("CHATGPT", with_fields("CHATGPT", **{flag: True}))[flag] is True
    assert refused("CHATGPT", with_fields("CHATGPT", **{flag: 1})) == [
        (flag, "Invalid input: expected boolean, received number")
    ]
    for other in set(TASK_TYPES) - {"CHATGPT"}:
        assert refused(other, with_fields(other, **{flag: True})) == [(flag, f'Unrecognized key: "{flag}"')]


# ------------------------------------------------------------------------------------------ unknown fields


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_unknown_fields_are_dropped_when_it_is_not_strict(task_type: str) -> None:
    """At every depth, whatever they hold, and without a trace."""
    payload = with_fields(task_type, extra={"a": [1]}, include={"html": True, "nothing": None})

    assert check_payload(task_type, payload, strict=False) == with_fields(task_type, include={"html": True})


def test_names_in_the_style_of_python_are_unknown() -> None:
    """The names of JSON are the only ones."""
    assert refused("CHATGPT", with_fields("CHATGPT", disable_web_search=True)) == [
        ("disable_web_search", 'Unrecognized key: "disable_web_search"')
    ]


@pytest.mark.parametrize("name", ["", "x" * 5_000, "a\nb", "\ud800", "\x1b[31m"])
def test_an_unknown_name_is_repeated_so_that_it_can_be_printed(name: str) -> None:
    """Long names are cut, and what cannot be shown is escaped."""
    ((field, message),) = refused("GEMINI", with_fields("GEMINI", **{name: 1}))

    assert len(message) < 1_500
    assert field.isprintable()
    assert message.encode().decode().isprintable()


def test_many_unknown_fields_are_counted() -> None:
    """A body may hold a hundred thousand: the first are named."""
    problems = refused("GEMINI", with_fields("GEMINI", **{f"f{number}": 1 for number in range(10_000)}))

    assert len(problems) == MOST_UNKNOWN + 1
    assert problems[0] == ("f0", 'Unrecognized key: "f0"')
    assert problems[-1] == ("", f"Unrecognized keys: {10_000 - MOST_UNKNOWN:,} more")


# ------------------------------------------------------------------------------------- whatever comes in


def _fields_of(task_type: str) -> set[str]:
    return {field.alias or name for name, field in payload_model(task_type).model_fields.items()}


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
VALUES: st.SearchStrategy[object] = st.sampled_from(
    ["US", "us", "de", "NY", "mobile", "EN", "", " x ", True, False, {}, 1, 2.0, 10**400, None]
)
URLS = st.sampled_from(["q=a", "q=a&gl=us&num=30", "q=&gl=us", "q=a&gl=DE&hl=de", "q=a&tbm=nws"]).map(
    "https://www.google.com/search?{}".format
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
INCLUDE = st.dictionaries(
    st.sampled_from(sorted({"aioverview", "googleGoto"}.union(*INCLUDED.values()))) | ANY_TEXT,
    st.booleans() | VALUES | JSON,
    max_size=3,
)


@st.composite
def payloads(draw: st.DrawFn) -> tuple[str, object]:
    """Draw a task type with any JSON value, mostly near to a payload of that type."""
    task_type = draw(st.sampled_from(TASK_TYPES))
    names = st.sampled_from(sorted(_fields_of(task_type) - {"include"}))
    given = st.dictionaries(names, VALUES | URLS | JSON, max_size=3)
    more = st.fixed_dictionaries({}, optional={"include": INCLUDE | JSON, "url": URLS})
    smallest = st.sampled_from([SMALLEST[task_type], {}])
    near = st.builds(lambda *parts: {k: v for part in parts for k, v in part.items()}, smallest, given, more)
    return task_type, draw(near | near | JSON)


@given(payloads(), st.booleans())
def test_any_json_gives_a_payload_or_problems(drawn: tuple[str, object], strict: bool) -> None:
    """Nothing else comes out: a payload that can be stored, or problems that can be sent."""
    task_type, payload = drawn
    try:
        checked = check_payload(task_type, payload, strict=strict)
    except PayloadInvalid as error:
        refusal = error
    else:
        json.dumps(checked, ensure_ascii=False, allow_nan=False).encode()
        price = PriceList.default().price(task_type, checked)
        assert 3 <= price.charge <= price.hold
        return
    assert len(refusal.problems) > 0
    json.dumps(refusal.problems, ensure_ascii=False).encode()
    str(refusal).encode()


@given(payloads(), st.booleans())
def test_a_checked_payload_stays_as_it_is(drawn: tuple[str, object], strict: bool) -> None:
    """A payload is stored, read and checked again; dropping fields never leaves a bad one."""
    task_type, payload = drawn
    try:
        checked = check_payload(task_type, payload, strict=strict)
    except PayloadInvalid:
        return
    assert check_payload(task_type, checked) == checked
    assert check_payload(task_type, checked, strict=False) == checked
