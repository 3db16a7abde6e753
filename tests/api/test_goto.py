"""POST /v1/monitor/google/goto: where a redirect link leads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskqueue import TaskQueue
from taskqueue.accounts import Accounts
from taskqueue.api import create_app
from tests.api.conformance import checked_client
from tests.api.conftest import Client, error_of

PLACE = "/v1/monitor/google/goto"
RESOLVED: dict[str, Any] = {
    "hostile": "javascript:alert(1)",
    "relative": "/there",
    "torn": "https://[example.com/",
    "lines": "https://example.com/\r\nX-Injected: yes",
    "endless": "https://example.com/" + "x" * 9000,
    "nothing": None,
}
"""What a resolver may find that is no address to hand on."""


@pytest.fixture
def options() -> dict[str, Any]:
    """A resolver of redirect links, and little patience with it."""

    async def resolve(url: str) -> str:
        if "slow" in url:
            await asyncio.Event().wait()
        if "broken" in url:
            raise OSError("canary")
        return next((found for word, found in RESOLVED.items() if word in url), "https://example.com/there")

    return {"resolve_goto": resolve, "goto_timeout": 0.1}


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("https://www.google.com/url?q=https%3A%2F%2Fexample.com%2Fa&sa=U", "https://example.com/a"),
        ("http://google.com/url?sa=t&url=http%3A%2F%2Fexample.com", "http://example.com"),
        ("https://www.google.com/url?q=javascript%3Aalert(1)", "https://example.com/there"),
        ("https://www.google.com/goto?url=abc", "https://example.com/there"),
    ],
)
async def test_a_redirect_link_is_followed(client: Client, link: str, target: str) -> None:
    """By what it says itself, or else by the operator's resolver."""
    assert (await client.post(PLACE, json={"url": link})).json() == {"url": target}


@pytest.mark.parametrize("what", ["slow", "broken", *RESOLVED])
async def test_a_redirect_that_cannot_be_followed(client: Client, what: str) -> None:
    """502 whatever it was, without its text."""
    response = await client.post(PLACE, json={"url": f"https://google.com/goto?x={what}"})

    wanted = (502, "EXTERNAL_SERVICE_ERROR", "goto resolve request failed", {"service": "google"})
    assert error_of(response) == wanted


async def test_without_a_resolver_only_links_that_say_it_are_followed(
    queue: TaskQueue, accounts: Accounts
) -> None:
    """502 for the others: nothing is fetched that the operator did not provide for."""
    app = create_app(queue, accounts)
    async with checked_client(app, (await accounts.create_key("acme")).key) as client:
        said = await client.post(PLACE, json={"url": "https://google.com/url?q=https%3A%2F%2Fexample.com"})
        other = await client.post(PLACE, json={"url": "https://google.com/goto?url=abc"})

    assert said.json() == {"url": "https://example.com"}
    assert error_of(other)[:2] == (502, "EXTERNAL_SERVICE_ERROR")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": 1},
        {"url": "x"},
        {"url": "https://example.com/url?q=x"},
        {"url": "https://google.com.evil.example/url"},
        {"url": "https://user@google.com/url"},
        {"url": "https://google.com:444/url"},
        {"url": "//google.com/url"},
        {"url": "ftp://google.com/url"},
        {"url": "https://google.com/search?q=x"},
        {"url": "https://google.com/url\n"},
        {"url": "https://[google.com/url"},
        {"url": "https://google.com/url?" + "&".join(f"a{n}=1" for n in range(200))},
        {"url": "https://google.com/url?q=" + "x" * 9000},
        {"url": "https://google.com/url", "more": 1},
    ],
)
async def test_what_is_no_redirect_link(client: Client, body: dict[str, Any]) -> None:
    """400: nothing else is fetched for anybody."""
    assert error_of(await client.post(PLACE, json=body))[:2] == (400, "VALIDATION_ERROR")
