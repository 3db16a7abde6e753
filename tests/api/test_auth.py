"""Who may ask, and how often."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from taskqueue.accounts import Accounts
from taskqueue.api.errors import ApiError
from tests.api.conformance import Conformance, checked_client
from tests.api.conftest import TASK, Client, ClientOf, error_of

MISSING = (401, "MISSING_API_KEY", "Missing or invalid API key", None)
MALFORMED = (401, "INVALID_API_KEY_FORMAT", "Invalid API key format", None)
UNKNOWN = (401, "INVALID_OR_EXPIRED_API_KEY", "Invalid or expired API key", None)


@pytest.fixture
async def key(accounts: Accounts) -> str:
    """An API key that is good."""
    return (await accounts.create_key("acme")).key


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, MISSING),
        ("", MISSING),
        ("Bearer", MISSING),
        ("Bearer ", MISSING),
        ("bearer {key}", MISSING),
        ("BEARER {key}", MISSING),
        ("Basic {key}", MISSING),
        ("Token {key}", MISSING),
        ("{key}", MISSING),
        ("Bearer\t{key}", MISSING),
        ("Bearer x", MALFORMED),
        ("Bearer  {key}", MALFORMED),
        ("Bearer {key}x", MALFORMED),
        ("Bearer {key} {key}", MALFORMED),
        ("Bearer sk_test_1234", MALFORMED),
        ("Bearer ü", MALFORMED),
        ("Bearer " + "a" * 10_000, MALFORMED),
    ],
)
async def test_what_is_no_key_is_refused(
    nobody: Client, key: str, header: str | None, wanted: tuple[int, str, str, None]
) -> None:
    """Exactly `Authorization: Bearer <key>`; the code says how far it was from that."""
    headers = {} if header is None else {"Authorization": header.replace("{key}", key).encode("latin-1")}

    response = await nobody.get("/v1/async/status", headers=headers)  # type: ignore[arg-type]

    assert error_of(response) == wanted
    assert "x-ratelimit-limit" not in response.headers


async def test_a_revoked_key_is_refused(nobody: Client, accounts: Accounts) -> None:
    """As one that never was."""
    made = await accounts.create_key("acme")
    await accounts.revoke(made.info.id)

    response = await nobody.get("/v1/async/status", headers={"Authorization": f"Bearer {made.key}"})

    assert error_of(response) == UNKNOWN


async def test_two_keys_are_none(nobody: Client, key: str) -> None:
    """Programs on the way could read one, and we the other."""
    headers = [("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {key}")]

    assert error_of(await nobody.get("/v1/async/status", headers=headers)) == MISSING


@pytest.mark.parametrize("place", ["/v1", "/v1/", "/v1/nope", "/v1/openapi.json", "/v1/async/task/x/events"])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "OPTIONS"])
async def test_inside_of_v1_nobody_learns_what_there_is(nobody: Client, place: str, method: str) -> None:
    """The key is asked for before the route."""
    assert error_of(await nobody.request(method, place)) == MISSING


@pytest.mark.parametrize("place", ["/", "/nope", "/v2/async/task", "/v1x", "/V1/async/status", "/docs/"])
async def test_outside_of_it_a_route_is_not_found(nobody: Client, place: str) -> None:
    """404 without a key, with the path."""
    response = await nobody.get(place)

    assert error_of(response) == (404, "RESOURCE_NOT_FOUND", "Route not found", {"id": place})
    assert "x-ratelimit-limit" not in response.headers


async def test_an_unknown_route_with_a_key(client: Client) -> None:
    """404, counted; a slash at the end is another path, not a redirect; another method is named."""
    for place in ("/v1/nope", "/v1/async/status/", "/v1/task"):
        response = await client.get(place)
        assert error_of(response) == (404, "RESOURCE_NOT_FOUND", "Route not found", {"id": place})
        assert response.headers["x-ratelimit-limit"] == "1000"
    response = await client.put("/v1/async/task", json=TASK)
    assert response.headers["allow"] == "POST"
    assert (await client.put("/v1/async/task/x")).headers["allow"] == "DELETE, GET, HEAD"
    assert error_of(response)[:2] == (405, "RESOURCE_NOT_FOUND")


async def test_every_endpoint_counts_by_itself(client_of: ClientOf) -> None:
    """The rate is of a key and an endpoint; the headers say what is left; what is refused has them too."""
    client = await client_of("acme", rate=2)

    async def ask() -> list[httpx.Response]:
        # From the beginning of a second: all three are in it, unless the machine stands still for most of it.
        await asyncio.sleep(1.01 - time.time() % 1)
        return [await client.get("/v1/async/status") for _ in range(3)]

    replies = await ask()
    for _ in range(2):
        if replies[2].status_code != 429:
            replies = await ask()

    assert [each.status_code for each in replies] == [200, 200, 429]
    assert [each.headers["x-ratelimit-remaining"] for each in replies] == ["1", "0", "0"]
    assert {each.headers["x-ratelimit-limit"] for each in replies} == {"2"}
    assert error_of(replies[2]) == (429, "RATE_LIMIT_EXCEEDED", "API key rate limit exceeded", None)
    assert (await client.get("/v1/credits")).status_code == 200


async def test_a_refused_request_does_nothing(client_of: ClientOf) -> None:
    """The rate is looked at before the body."""
    client = await client_of("acme", rate=1)
    replies = [await client.post("/v1/async/task", json=TASK) for _ in range(4)]

    accepted = sum(each.status_code == 200 for each in replies)

    assert {each.status_code for each in replies} == {200, 429}
    assert (await client.get("/v1/async/status")).json()["queuedTasks"] == accepted


async def test_every_answer_has_its_own_id(client: Client, nobody: Client) -> None:
    """On good ones and on errors, in and outside of /v1."""
    replies = await asyncio.gather(
        client.get("/v1/async/status"), client.get("/v1/x"), nobody.get("/"), nobody.get("/v1/x")
    )

    ids = {each.headers["x-request-id"] for each in replies}
    assert len(ids) == 4
    assert all(int(each.headers["x-latency-ms"]) >= 0 for each in replies)


async def test_an_id_of_the_client_is_not_taken(client: Client) -> None:
    """It would end up in our log."""
    response = await client.get("/v1/async/status", headers={"X-Request-ID": "mine"})

    assert response.headers["x-request-id"] != "mine"


async def test_a_key_is_in_no_log(
    app: FastAPI, conformance: Conformance, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line a request, with its id and its path as a literal."""
    caplog.set_level("DEBUG")
    async with checked_client(app, key, conformance) as client:
        response = await client.get("/v1/async/task/a%0Ab")

    lines = [record.getMessage() for record in caplog.records if record.name == "taskqueue.api.access"]
    assert len(lines) == 1
    assert "'/v1/async/task/a\\nb' 404" in lines[0]
    assert "tenant=acme" in lines[0]
    assert response.headers["x-request-id"] in lines[0]
    assert key not in caplog.text


async def test_below_another_path(app: FastAPI, key: str) -> None:
    """Behind a proxy or mounted in another application the same rules hold: no key, no answer."""
    for transport in (
        httpx.ASGITransport(app=app, root_path="/queue"),
        httpx.ASGITransport(app=Starlette(routes=[Mount("/queue", app=app)])),
    ):
        async with httpx.AsyncClient(transport=transport, base_url="http://service/queue") as client:
            for place in ("/v1/countries", "/v1/async/status", "/v1/nope"):
                assert error_of(await client.get(place)) == MISSING
            client.headers["Authorization"] = f"Bearer {key}"
            assert len((await client.get("/v1/countries")).json()) == 250
            assert (await client.post("/v1/async/task", json=TASK)).status_code == 200


async def test_an_endpoint_guards_itself_too(app: FastAPI) -> None:
    """Should a request ever slip past the middleware, it stops here."""
    from taskqueue.api.exchange import KEY, Exchange

    for route in app.routes:
        if isinstance(route, Route) and route.path.startswith("/v1"):
            scope: dict[str, Any] = {
                "type": "http",
                "path": route.path,
                "path_params": {"task_id": "x"},
                "query_string": b"",
            }
            scope[KEY] = Exchange(scope, AsyncMock())
            with pytest.raises(ApiError, match="API key"):
                await route.app(scope, AsyncMock(), AsyncMock())


def test_a_request_without_a_key_is_nobodys() -> None:
    """Whatever asks whose it is gets no tenant, and the client the same words as ever."""
    from taskqueue.api.exchange import Exchange

    exchange = Exchange({"type": "http"}, AsyncMock())

    with pytest.raises(ApiError, match="API key") as refused:
        _ = exchange.tenant
    assert refused.value.status == 401
