"""Complete Google search addresses in place of a query: which pass, and what is read from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.contract import GoogleUrl, check_payload, read_google_url
from tests.unit.contract.refusals import refused

ABSOLUTE = "url must be a valid absolute http(s) URL"
HOST = "url must be on a Google web search host, such as www.google.com or google.co.uk"
PATH = "url path must be /search"
NO_QUERY = "url must include a non-empty q parameter"
URL = "https://www.google.com/search?q=best+laptops&gl=us"


@pytest.mark.parametrize(
    "start",
    [
        "https://www.google.com",
        "http://google.com",
        "HTTPS://WWW.Google.COM",
        "https://google.de",
        "https://www.google.co.uk",
        "https://www.google.com.br",
        "https://google.cat",
    ],
)
def test_an_address_on_a_search_host_passes(start: str) -> None:
    """With and without www, under any of Google's endings; the spaces around it are taken off."""
    url = f"{start}/search?q=a&gl=us"

    assert check_payload("GOOGLE", {"url": f" {url}\n"}) == {"url": url}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("laptops", ABSOLUTE),
        ("/search?q=a&gl=us", ABSOLUTE),
        ("//www.google.com/search?q=a&gl=us", ABSOLUTE),
        ("ftp://www.google.com/search?q=a&gl=us", ABSOLUTE),
        ("javascript://www.google.com/search?q=a&gl=us", ABSOLUTE),
        ("https:///search?q=a&gl=us", ABSOLUTE),
        ("https://[::1/search?q=a&gl=us", ABSOLUTE),
        ("https://www.google.com/search?q=a b&gl=us", ABSOLUTE),
        ("https://www.google.com/search?q=a\n&gl=us", ABSOLUTE),
        ("https://www.google.com\\@evil.example/search?q=a&gl=us", ABSOLUTE),
        ("https://www.bing.com/search?q=a&gl=us", HOST),
        ("https://news.google.com/search?q=a&gl=us", HOST),
        ("https://google.evil.example/search?q=a&gl=us", HOST),
        ("https://google.abc.xyz/search?q=a&gl=us", HOST),
        ("https://www.google.com.evil.example/search?q=a&gl=us", HOST),
        ("https://evilgoogle.com/search?q=a&gl=us", HOST),
        ("https://user@www.google.com/search?q=a&gl=us", HOST),
        ("https://www.google.com:8443/search?q=a&gl=us", HOST),
        ("https://www.google.com/?q=a&gl=us", PATH),
        ("https://www.google.com/search/?q=a&gl=us", PATH),
        ("https://www.google.com/maps?q=a&gl=us", PATH),
        ("https://www.google.com/search", NO_QUERY),
        ("https://www.google.com/search?gl=us", NO_QUERY),
        ("https://www.google.com/search?q=&gl=us", NO_QUERY),
        ("https://www.google.com/search?q=+%20&gl=us", NO_QUERY),
        ("https://www.google.com/search?gl=us#q=a", NO_QUERY),
        (URL + "&tbm=nws", "url must not set tbm; a news search is a task of its own type, GOOGLE_NEWS"),
        (URL + "&tbm=", "url must not set tbm; a news search is a task of its own type, GOOGLE_NEWS"),
        (URL + "&x=" + "x" * 10_000, "url is too long (max 10,000 characters)"),
    ],
)
def test_another_address_is_refused(url: str, message: str) -> None:
    """With the one reason why; and nothing is said of a place that cannot be read."""
    assert refused("GOOGLE", {"url": url}) == [("url", message)]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "Invalid input: expected string, received null"),
        (5, "Invalid input: expected string, received number"),
        (True, "Invalid input: expected string, received boolean"),
        ("https://www.google.com/\ud800", "Invalid input: text must not contain unpaired surrogates"),
    ],
)
def test_an_address_is_a_text(url: object, message: str) -> None:
    """Null is not the same as left out."""
    assert refused("GOOGLE", {"url": url}) == [("url", message)]


@pytest.mark.parametrize("url", ["", " "])
def test_an_empty_address_is_none(url: str) -> None:
    """The payload is then judged as one without."""
    payload = {"query": "hi", "country": "US"}

    assert check_payload("GOOGLE", {**payload, "url": url}) == payload
    assert refused("GOOGLE", {"url": url, "country": "US"}) == [("query", "Provide either query or url")]


# ------------------------------------------------------------------------------- beside the other fields


@pytest.mark.parametrize("url", [URL, "https://www.bing.com/search?q=a"])
@pytest.mark.parametrize(
    ("field", "value"), [("query", "hi"), ("location", "Rome"), ("uule", "w+CAI"), ("pages", 1)]
)
def test_an_address_owns_what_it_says(url: str, field: str, value: object) -> None:
    """Said beside it, even a refused one, there would be two truths."""
    problems = refused("GOOGLE", {"url": url, "gl": "us", field: value})

    assert problems[-1] == (field, f"Cannot set both url and {field}; the URL owns this value")
    assert [name for name, _ in problems[:-1]] == ([] if url == URL else ["url"])


@pytest.mark.parametrize("field", ["location", "uule"])
def test_an_empty_text_beside_an_address_is_left_out(field: str) -> None:
    """It says nothing."""
    assert check_payload("GOOGLE", {"url": URL, field: " "}) == {"url": URL}


def test_other_fields_go_with_an_address() -> None:
    """Device and include are no part of it."""
    payload = {"url": URL, "device": "ios", "include": {"html": True, "aioverview": {}}}

    assert check_payload("GOOGLE", payload) == payload


@pytest.mark.parametrize(
    "fields", [{"gl": "us"}, {"country": "US"}, {"gl": "us", "country": "US", "hl": "de"}]
)
def test_place_and_language_may_be_said_beside_an_address(fields: dict[str, str]) -> None:
    """When they agree with it, or it does not say them."""
    for url in ("https://www.google.com/search?q=a", URL, URL + "&hl=DE"):
        assert check_payload("GOOGLE", {"url": url, **fields}) == {"url": url, **fields}


@pytest.mark.parametrize("fields", [{"gl": "de"}, {"country": "DE"}, {"hl": "fr"}])
def test_place_and_language_may_not_disagree_with_an_address(fields: dict[str, str]) -> None:
    """As two places may not disagree outside of it."""
    (field,) = fields

    assert refused("GOOGLE", {"url": URL + "&hl=en", **fields}) == [
        (field, f"Cannot set both url and {field}; the URL owns this value")
    ]


def test_an_address_without_a_place_needs_one_beside_it() -> None:
    """The contract's words for it."""
    assert refused("GOOGLE", {"url": "https://www.google.com/search?q=a"}) == [
        ("gl", "Provide gl, or include gl= in the url so it can be derived")
    ]


@pytest.mark.parametrize("gl", ["zz", "u%C5%BF", "usa"])
def test_the_place_of_an_address_is_one_that_is_served(gl: str) -> None:
    """Letters that become A to Z in capitals are no code here either."""
    message = "The gl of the url is not supported. Use a code from `GET /v1/countries?model=google`."

    assert refused("GOOGLE", {"url": f"https://www.google.com/search?q=a&gl={gl}"}) == [("gl", message)]


# ------------------------------------------------------------------------------------ what is read from it


def test_everything_that_is_used_is_read() -> None:
    """Decoded, but for the encoded place, in which a plus is a plus."""
    url = (
        "https://www.google.com/search?q=+best+laptops%21&gl=Us&hl=EN-gb&uule=w+CAIQICI%3D&num=30&start=20"
        "&tbs=qdr:w&safe=active&sourceid=chrome&q=second"
    )

    assert read_google_url(url) == GoogleUrl(
        query="best laptops!",
        country="US",
        language="en-gb",
        uule="w+CAIQICI=",
        pages=3,
        start=20,
        tbs="qdr:w",
        safe="active",
    )


def test_what_is_not_there_is_not_made_up() -> None:
    """An address of nothing but a query, or with empty values."""
    bare = GoogleUrl("a", None, None, None, 1, 0, None, None)

    assert read_google_url("https://google.de/search?q=a") == bare
    assert read_google_url("https://google.de/search?q=a&gl=&hl=&uule=&num=&start=&tbs=&safe=") == bare


@pytest.mark.parametrize(
    ("num", "pages"),
    [
        ("0", 1),
        ("1", 1),
        ("10", 1),
        ("11", 2),
        ("30", 3),
        ("100", 10),
        ("101", 10),
        ("250", 10),
        ("9" * 5_000, 10),
        ("0" * 5_000 + "20", 2),
        ("20abc", 2),
        ("-20", 1),
        ("abc", 1),
        ("\u0662\u0660", 1),
    ],
)
def test_num_is_read_as_pages_of_ten(num: str, pages: int) -> None:
    """Rounded up and capped to 1 to 10; a slip in it is no reason to refuse."""
    assert read_google_url(f"{URL}&num={num}").pages == pages


@given(st.text(max_size=40), st.text(st.sampled_from("&=+%#?;:/\\ .@abqgl19"), max_size=40))
def test_any_text_is_read_or_refused(start: str, end: str) -> None:
    """With a sentence, and nothing else comes out."""
    for text in (start, f"https://{start}", f"https://{start}.com/{end}", URL + end, end):
        try:
            found = read_google_url(text)
        except ValueError as error:
            assert str(error).startswith("url ")  # noqa: PT017 - either way is right
        else:
            assert found.query.strip() == found.query != ""
            assert 1 <= found.pages <= 10
