"""For those who run the service: health, counts, the document; options and the application itself."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openapi_spec_validator import validate

from taskqueue import TaskQueue
from taskqueue.accounts import Accounts
from taskqueue.api import ApiOptions, create_app
from taskqueue.api.routes import ROUTES
from taskqueue.contract import TASK_TYPES
from taskqueue.errors import InvalidSetting
from tests.api.conformance import Conformance, checked_client
from tests.api.conftest import PROMPT, TASK, Client


async def test_health(nobody: Client) -> None:
    """Without a key: it lives, it is ready."""
    for place in ("/healthz", "/readyz"):
        response = await nobody.get(place)
        assert (response.status_code, response.json()) == (200, {"status": "ok", "demo": False})


async def test_metrics_count_without_names(nobody: Client, client: Client) -> None:
    """Requests by endpoint, method and status; the queue's numbers; no tenant, no path of a client."""
    await client.post("/v1/async/task", json=TASK)
    await client.get("/v1/never-heard-of")
    await nobody.request("BREW", "/coffee")

    response = await nobody.get("/metrics")

    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    assert 'taskqueue_http_requests_total{endpoint="createTask",method="POST",status="200"} 1' in lines
    assert 'taskqueue_http_requests_total{endpoint="unmatched",method="GET",status="404"} 1' in lines
    assert 'taskqueue_http_requests_total{endpoint="unmatched",method="other",status="404"} 1' in lines
    assert 'taskqueue_http_request_seconds_count{endpoint="createTask"} 1' in lines
    assert {"taskqueue_up 1", "taskqueue_queued 1", 'taskqueue_queued_by_priority{priority="1"} 1'} <= set(
        lines
    )
    assert not any(name in response.text for name in ("acme", "never-heard", "coffee", "BREW"))
    assert all(line.startswith(("#", "taskqueue_")) for line in lines)


async def test_metrics_tell_what_providers_are_at(nobody: Client, queue: TaskQueue) -> None:
    """Each is in one of the conditions; what is not limited has no number."""
    assert "taskqueue_provider" not in (await nobody.get("/metrics")).text
    await queue.set_limit(provider="openai", concurrency=7)
    await queue.pause(provider="openai")
    await queue.set_limit(provider="spare", rate=5)

    lines = (await nobody.get("/metrics")).text.splitlines()

    conditions = [
        line for line in lines if line.startswith("taskqueue_provider_condition{") and line.endswith(" 1")
    ]
    assert conditions == [
        'taskqueue_provider_condition{provider="openai",condition="paused"} 1',
        'taskqueue_provider_condition{provider="spare",condition="ready"} 1',
    ]
    for line in ("running", "failures", "opens_in_seconds", "waiting_types"):
        assert f'taskqueue_provider_{line}{{provider="spare"}} 0' in " ".join(lines)
    assert 'taskqueue_provider_allowed{provider="openai"} 7' in lines
    assert not [line for line in lines if line.startswith('taskqueue_provider_allowed{provider="spare"}')]


async def test_buckets_add_up(nobody: Client) -> None:
    """Each bucket of the histogram has what is in those before it."""
    for _ in range(3):
        await nobody.get("/healthz")

    lines = (await nobody.get("/metrics")).text.splitlines()
    counts = [int(line.rpartition(" ")[2]) for line in lines if '_bucket{endpoint="healthz"' in line]

    assert counts == sorted(counts)
    assert counts[-1] == 3


def test_the_document_is_valid(app: FastAPI) -> None:
    """OpenAPI 3.1, in the eyes of its own schema."""
    document = app.openapi()

    validate(document)
    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_every_route_is_in_the_document_and_nothing_else(app: FastAPI) -> None:
    """Also: every operation inside of /v1 needs a key, and can answer 401, 429, 500 and 503."""
    paths = app.openapi()["paths"]
    found = {
        (method.upper(), path, operation["operationId"])
        for path, item in paths.items()
        for method, operation in item.items()
        if method != "parameters"
    }
    routes = {
        (
            spec.method,
            spec.path.replace("{task_id:path}", "{taskId}").replace("{task_id}", "{taskId}"),
            spec.name,
        )
        for spec in ROUTES
    }

    assert found == routes
    for path, item in paths.items():
        for method, operation in item.items():
            if method != "parameters" and path.startswith("/v1"):
                assert "security" not in operation
                assert {"401", "429", "500", "503"} <= set(operation["responses"])


async def test_the_document_is_served(nobody: Client, app: FastAPI) -> None:
    """To everybody, as it is."""
    assert (await nobody.get("/openapi.json")).json() == app.openapi()


@pytest.mark.parametrize(
    ("document", "is_right"),
    [
        (TASK, True),
        ({**TASK, "priority": 10, "idempotencyKey": "k", "webhook": {"url": "https://x.com"}}, True),
        ({"taskType": "GOOGLE", "payload": {"query": "x", "gl": "us"}}, True),
        ({"taskType": "GOOGLE", "payload": PROMPT}, False),
        ({**TASK, "priority": 0}, False),
        ({**TASK, "priority": 11}, False),
        ({**TASK, "more": 1}, False),
        ({**TASK, "taskType": "OTHER"}, False),
        ({**TASK, "webhook": {"url": "https://x.com", "a": 1}}, False),
        ({"taskType": "CHATGPT", "payload": {"prompt": "", "country": "US"}}, False),
        ({"payload": PROMPT}, False),
        ({}, False),
    ],
)
async def test_the_document_and_the_service_agree(
    client: Client, conformance: Conformance, document: dict[str, Any], is_right: bool
) -> None:
    """What the schema of a task accepts is accepted, what it refuses is refused."""
    response = await client.post("/v1/async/task", json=document)

    assert conformance.accepts("#/components/schemas/TaskRequest", document) is is_right
    assert (response.status_code == 200) is is_right


async def _client(app: FastAPI, accounts: Accounts) -> httpx.AsyncClient:
    return checked_client(app, (await accounts.create_key("acme")).key)


async def test_a_service_of_some_types(queue: TaskQueue, accounts: Accounts) -> None:
    """Others are refused, are not in the document, and have no synchronous endpoint."""
    app = create_app(queue, accounts, ApiOptions(types={"GOOGLE"}, metrics=False))
    async with await _client(app, accounts) as client:
        refused = await client.post("/v1/async/task", json=TASK)
        missing = await client.post("/v1/monitor/chatgpt", json=PROMPT)
        search = {"taskType": "GOOGLE", "payload": {"query": "x", "country": "US"}}
        accepted = await client.post("/v1/async/task", json=search)
        counts = await client.get("/metrics")

    assert [each.status_code for each in (refused, missing, accepted, counts)] == [400, 404, 200, 404]
    assert "CHATGPT_Payload" not in app.openapi()["components"]["schemas"]
    assert "/v1/monitor/chatgpt" not in app.openapi()["paths"]


async def test_a_lenient_service(queue: TaskQueue, accounts: Accounts) -> None:
    """Unknown fields of a payload are dropped, those beside it are refused."""
    app = create_app(queue, accounts, ApiOptions(strict=False))
    async with await _client(app, accounts) as client:
        dropped = await client.post("/v1/async/task", json={**TASK, "payload": {**PROMPT, "more": 1}})
        refused = await client.post("/v1/async/task", json={**TASK, "more": 1})

    assert (dropped.status_code, refused.status_code) == (200, 400)
    task = await queue.get(dropped.json()["task"]["id"])
    assert task is not None
    assert task.payload == PROMPT


async def test_a_demo_says_so(queue: TaskQueue, accounts: Accounts) -> None:
    """Nobody shall take made-up results for real ones."""
    app = create_app(queue, accounts, ApiOptions(demo=True))
    async with await _client(app, accounts) as client:
        assert (await client.get("/healthz")).json()["demo"] is True
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as browser:
            docs = await browser.get("/docs")

    assert "made up" in app.openapi()["info"]["description"]
    assert docs.headers["content-type"].startswith("text/html")


async def test_webhooks_go_where_the_policy_lets_them(queue: TaskQueue, accounts: Accounts) -> None:
    """As far as an address itself tells; the form is looked at in any case."""
    from taskqueue.webhooks import EgressPolicy

    app = create_app(queue, accounts, ApiOptions(egress=EgressPolicy()))
    async with await _client(app, accounts) as client:

        async def status(url: str) -> int:
            reply = await client.post("/v1/async/task", json={**TASK, "webhook": {"url": url}})
            return reply.status_code

        assert await status("https://example.com/hook") == 200
        for url in ("http://example.com", "https://127.0.0.1/x", "https://169.254.169.254", "https://[::1]/"):
            assert await status(url) == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"types": []},
        {"types": ["OTHER"]},
        {"max_body_bytes": 0},
        {"max_task_bytes": True},
        {"max_queued": 0},
        {"sync_timeout": 0},
        {"sync_timeout": float("nan")},
        {"heartbeat": "1"},
        {"retry_after": -1},
        {"max_waiting": -1},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    """By name, when the service is made."""
    with pytest.raises(InvalidSetting) as caught:
        ApiOptions(**wrong)

    assert caught.value.setting in wrong


def test_served_types_are_in_the_contracts_order() -> None:
    """Whatever the order in which they were given."""
    assert ApiOptions().served == TASK_TYPES
    assert ApiOptions(types=["GROK", "AIMODE"]).served == ("AIMODE", "GROK")
