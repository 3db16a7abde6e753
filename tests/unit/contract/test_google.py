"""Payloads of Google's engines: place, town, device, pages, and complete search addresses."""

from __future__ import annotations

from typing import Any

import pytest

from taskqueue.contract import check_payload, countries, payload_model
from tests.unit.contract.refusals import refused, with_fields

GOOGLES = ["AIMODE", "GOOGLE", "GOOGLE_NEWS"]
SEARCHES = ["GOOGLE", "GOOGLE_NEWS"]
TOWNS = ["AIMODE", "GOOGLE"]
NO_PLACE = ("gl", "Provide gl (or country, which is deprecated)")


def placed(task_type: str, **fields: object) -> dict[str, Any]:
    """Return the smallest payload of *task_type* whose place is said by *fields* alone."""
    payload = with_fields(task_type, **fields)
    if "country" not in fields:
        del payload["country"]
    return payload


# ---------------------------------------------------------------------------------------------- the place


@pytest.mark.parametrize(
    ("task_type", "text"),
    [
        ("AIMODE", ("prompt", "Prompt cannot be empty")),
        ("GOOGLE", ("query", "Provide either query or url")),
        ("GOOGLE_NEWS", ("query", "Query cannot be empty")),
    ],
)
def test_an_empty_payload_lacks_a_target_and_a_place(task_type: str, text: tuple[str, str]) -> None:
    """Both are named at once, in the contract's words."""
    assert refused(task_type, {}) == [text, NO_PLACE]


@pytest.mark.parametrize("task_type", GOOGLES)
@pytest.mark.parametrize("fields", [{}, {"gl": ""}, {"country": ""}, {"gl": " ", "country": ""}])
def test_gl_or_country_must_be_there(task_type: str, fields: dict[str, str]) -> None:
    """An empty one is as good as left out."""
    assert refused(task_type, placed(task_type, **fields)) == [NO_PLACE]


@pytest.mark.parametrize("task_type", GOOGLES)
@pytest.mark.parametrize("gl", ["us", "US", "uS", " us "])
def test_gl_stands_in_for_country(task_type: str, gl: str) -> None:
    """In letters of any size; it is written as Google writes it."""
    assert check_payload(task_type, placed(task_type, gl=gl)) == placed(task_type, gl="us")


@pytest.mark.parametrize("task_type", GOOGLES)
def test_gl_and_country_may_agree(task_type: str) -> None:
    """The same place said twice is kept twice."""
    assert check_payload(task_type, with_fields(task_type, gl="US")) == with_fields(task_type, gl="us")


@pytest.mark.parametrize("task_type", GOOGLES)
def test_gl_and_country_may_not_disagree(task_type: str) -> None:
    """There is no rule which of them would win."""
    message = "Cannot set both country and gl to different values; provide only one"

    assert refused(task_type, with_fields(task_type, gl="de")) == [("gl", message)]


@pytest.mark.parametrize("task_type", SEARCHES)
def test_a_search_takes_country_in_small_letters(task_type: str) -> None:
    """It is written in capital letters."""
    assert check_payload(task_type, with_fields(task_type, country="de"))["country"] == "DE"


def test_ai_mode_takes_country_in_capital_letters_only() -> None:
    """As the engines do; whether gl agrees is not judged then."""
    message = "`country` us is not supported: country codes are written in capital letters, such as US."

    assert refused("AIMODE", with_fields("AIMODE", country="us", gl="de")) == [("country", message)]


@pytest.mark.parametrize("task_type", GOOGLES)
@pytest.mark.parametrize("field", ["country", "gl"])
def test_a_place_is_one_that_the_engine_serves(task_type: str, field: str) -> None:
    """Search and news serve all countries, AI Mode all but five."""
    model = "aimode" if task_type == "AIMODE" else "google"
    served = set(countries(model))
    for code in [*countries(), "XX", "ZZ"]:
        payload = placed(task_type, **{field: code})
        if code in served:
            assert check_payload(task_type, payload)[field].upper() == code
        else:
            message = f"`{field}` {code} is not supported. Use a code from `GET /v1/countries?model={model}`."
            assert refused(task_type, payload) == [(field, message)]


@pytest.mark.parametrize("task_type", GOOGLES)
@pytest.mark.parametrize("field", ["country", "gl"])
@pytest.mark.parametrize("value", ["u\u017f", "\ufb01", "USA1", "U.S.", "\u0131t"])
def test_letters_that_become_a_to_z_in_capitals_are_no_code(task_type: str, field: str, value: str) -> None:
    """What is stored is what was asked for."""
    ((where, message),) = refused(task_type, placed(task_type, **{field: value}))

    assert where == field
    assert message.startswith(f"Invalid `{field}`: expected an ISO 3166-1 alpha-2 code.")


@pytest.mark.parametrize("task_type", GOOGLES)
@pytest.mark.parametrize("field", ["country", "gl", "hl"])
@pytest.mark.parametrize("value", [None, 5, True, ["us"], {}])
def test_the_words_of_a_place_are_texts(task_type: str, field: str, value: object) -> None:
    """A field that was refused is named once, and nothing is said to be missing."""
    ((where, message),) = refused(task_type, placed(task_type, **{"gl": "us", field: value}))

    assert where == field
    assert message.startswith("Invalid input: expected string, received ")


@pytest.mark.parametrize("task_type", GOOGLES)
def test_hl_is_any_language_in_small_letters(task_type: str) -> None:
    """Google owns the list of languages; the spaces around it are taken off."""
    assert check_payload(task_type, with_fields(task_type, hl=" pt-BR "))["hl"] == "pt-br"
    assert "hl" not in check_payload(task_type, with_fields(task_type, hl=" "))


def test_hl_does_not_grow() -> None:
    """Some letters become two when they are made small, and would not pass a second check."""
    payload = with_fields("GOOGLE", hl="\u0130" * 1_000)

    assert check_payload("GOOGLE", check_payload("GOOGLE", payload)) == payload


# ----------------------------------------------------------------------------------- town, device, pages


@pytest.mark.parametrize("task_type", TOWNS)
@pytest.mark.parametrize("field", ["location", "uule"])
def test_a_town_is_said_by_location_or_uule(task_type: str, field: str) -> None:
    """Either is kept, without the spaces around it; an empty one is as good as left out."""
    assert check_payload(task_type, with_fields(task_type, **{field: " Rome "}))[field] == "Rome"
    assert field not in check_payload(task_type, with_fields(task_type, **{field: " "}))


@pytest.mark.parametrize("task_type", TOWNS)
def test_a_town_is_said_once(task_type: str) -> None:
    """Two of them have no order; one beside an empty one is one."""
    problem = ("uule", "Cannot set both location and uule; provide only one")

    assert refused(task_type, with_fields(task_type, location="Rome", uule="w+CAI")) == [problem]
    assert "uule" in check_payload(task_type, with_fields(task_type, location="", uule="w+CAI"))
    assert "location" in check_payload(task_type, with_fields(task_type, location="Rome", uule=" "))


@pytest.mark.parametrize("field", ["location", "uule", "url"])
def test_news_know_neither_town_nor_address(field: str) -> None:
    """These are fields of search."""
    assert refused("GOOGLE_NEWS", with_fields("GOOGLE_NEWS", **{field: "x"})) == [
        (field, f'Unrecognized key: "{field}"')
    ]


@pytest.mark.parametrize("field", ["gl", "hl", "location", "uule"])
def test_short_texts_have_a_limit(field: str) -> None:
    """1,000 characters, which is ours."""
    message = "Too big: expected string to have <=1000 characters"

    assert refused("GOOGLE", with_fields("GOOGLE", **{field: "x" * 1_001})) == [(field, message)]


@pytest.mark.parametrize(
    ("task_type", "devices"),
    [
        ("AIMODE", ["desktop", "mobile"]),
        ("GOOGLE", ["desktop", "mobile", "ios", "android"]),
        ("GOOGLE_NEWS", ["desktop", "mobile", "ios", "android"]),
    ],
)
def test_a_device_is_one_of_those_of_the_engine(task_type: str, devices: list[str]) -> None:
    """Others are refused with the list."""
    options = "|".join(f'"{device}"' for device in devices)
    message = f"Invalid option: expected one of {options}"
    for device in devices:
        assert check_payload(task_type, with_fields(task_type, device=device))["device"] == device
    for wrong in {"tv", "Desktop", "", "ios", None, True} - set(devices):
        assert refused(task_type, with_fields(task_type, device=wrong)) == [("device", message)]


@pytest.mark.parametrize("task_type", SEARCHES)
def test_pages_are_1_to_10(task_type: str) -> None:
    """The contract's limits, both ends included."""
    for pages in range(1, 11):
        assert check_payload(task_type, with_fields(task_type, pages=pages))["pages"] == pages


@pytest.mark.parametrize("task_type", SEARCHES)
@pytest.mark.parametrize(
    ("pages", "message"),
    [
        (0, "Too small: expected number to be >=1"),
        (-1, "Too small: expected number to be >=1"),
        (11, "Too big: expected number to be <=10"),
        (10**400, "Too big: expected number to be <=10"),
        (True, "Invalid input: expected number, received boolean"),
        ("2", "Invalid input: expected number, received string"),
        (None, "Invalid input: expected number, received null"),
        (2.0, "Invalid input: expected int, received number"),
        (float("nan"), "Invalid input: expected int, received number"),
        (float("inf"), "Invalid input: expected int, received number"),
    ],
)
def test_pages_are_a_whole_number(task_type: str, pages: object, message: str) -> None:
    """True is none, nor are 2.0 and "2"."""
    assert refused(task_type, with_fields(task_type, pages=pages)) == [("pages", message)]


# ------------------------------------------------------------------------------------------------ include


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("overview", [{}, {"markdown": True}, {"markdown": False}])
def test_an_overview_is_an_object(strict: bool, overview: dict[str, bool]) -> None:
    """An empty one asks for it as well, and stays."""
    payload = with_fields("GOOGLE", include={"aioverview": overview})

    assert check_payload("GOOGLE", payload, strict=strict) == payload


@pytest.mark.parametrize(
    ("overview", "problem"),
    [
        (True, ("include.aioverview", "Invalid input: expected object, received boolean")),
        (None, ("include.aioverview", "Invalid input: expected object, received null")),
        ({"html": True}, ("include.aioverview.html", 'Unrecognized key: "html"')),
        (
            {"markdown": 1},
            ("include.aioverview.markdown", "Invalid input: expected boolean, received number"),
        ),
    ],
)
def test_a_wrong_overview_is_refused(overview: object, problem: tuple[str, str]) -> None:
    """By its path, to the last name."""
    assert refused("GOOGLE", with_fields("GOOGLE", include={"aioverview": overview})) == [problem]


@pytest.mark.parametrize(
    ("include", "kept"),
    [
        ({"aioverview": True, "markdown": True}, {"aioverview": {}}),
        ({"aioverview": False, "html": True}, {"html": True}),
        ({"aioverview": {"html": True}}, {"aioverview": {}}),
    ],
)
def test_what_older_clients_send_is_read_when_it_is_not_strict(
    include: dict[str, object], kept: dict[str, object]
) -> None:
    """A truth value stands for an overview or none, and the unknown is dropped."""
    payload = with_fields("GOOGLE", include=include)

    assert check_payload("GOOGLE", payload, strict=False) == with_fields("GOOGLE", include=kept)


@pytest.mark.parametrize("overview", [None, 1, "true", []])
def test_an_overview_is_no_other_value_when_it_is_not_strict(overview: object) -> None:
    """Lenience ends at what has a clear meaning."""
    ((field, _),) = refused("GOOGLE", with_fields("GOOGLE", include={"aioverview": overview}), strict=False)

    assert field == "include.aioverview"


@pytest.mark.parametrize("task_type", TOWNS)
def test_the_ignored_flag_is_left_out(task_type: str) -> None:
    """The contract ignores it; it is checked all the same."""
    payload = with_fields(task_type, include={"googleGoto": True, "html": True})

    assert check_payload(task_type, payload) == with_fields(task_type, include={"html": True})
    assert [field for field, _ in refused(task_type, with_fields(task_type, include={"googleGoto": 1}))] == [
        "include.googleGoto"
    ]


@pytest.mark.parametrize("strict", [True, False])
def test_the_schema_says_what_is_accepted(strict: bool) -> None:
    """An overview is never null in it; truth values and unknown fields are there when lenient."""
    parts = payload_model("GOOGLE", strict=strict).model_json_schema()["$defs"]
    (include,) = (part for name, part in parts.items() if name.endswith("GoogleInclude"))
    overview = include["properties"]["aioverview"]

    assert include.get("additionalProperties", True) is not strict
    assert ("$ref" in overview) is strict
    assert [option.get("type") for option in overview.get("anyOf", [])] == (
        [] if strict else ["boolean", None]
    )
