"""The service in this process over a real queue, its clients, and workers for its tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from scheduler import Scheduler
from scheduler.backoff import Fixed
from taskqueue import TaskQueue
from taskqueue.accounts import Accounts
from taskqueue.api import ApiOptions, create_app
from tests.api.conformance import Conformance, checked_client

SECRET = b"a secret of the tests, 32 bytes or more"
MAX_QUEUED = 50

PROMPT: dict[str, Any] = {"prompt": "What do you know about Acme Corp?", "country": "US"}
TASK: dict[str, Any] = {"taskType": "CHATGPT", "payload": PROMPT}

Handlers = dict[str, Callable[..., Any]]
Working = Callable[..., AbstractAsyncContextManager[None]]
Client = httpx.AsyncClient
ClientOf = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def queue(url: str, queue_name: str) -> AsyncIterator[TaskQueue]:
    """A queue as the service has it: with a cap, and without much patience."""
    async with TaskQueue.connect(url, name=queue_name, max_queued=MAX_QUEUED, patience=2.0) as connected:
        yield connected


@pytest.fixture
async def accounts(queue: TaskQueue) -> AsyncIterator[Accounts]:
    """The accounts of the queue's tenants."""
    async with Accounts(queue, SECRET) as opened:
        yield opened


@pytest.fixture
def options() -> dict[str, Any]:
    """Options of the service that a test module may override."""
    return {}


@pytest.fixture
def app(queue: TaskQueue, accounts: Accounts, options: dict[str, Any]) -> FastAPI:
    """The service."""
    return create_app(queue, accounts, ApiOptions(**{"max_queued": MAX_QUEUED, **options}))


@pytest.fixture
def conformance(app: FastAPI) -> Conformance:
    """Holds answers against the service's document."""
    return Conformance(app.openapi())


@pytest.fixture
async def client_of(app: FastAPI, accounts: Accounts, conformance: Conformance) -> AsyncIterator[ClientOf]:
    """Make a client with an API key of a tenant; every answer that it gets is checked."""
    async with AsyncExitStack() as stack:

        async def make(tenant: str | None, *, rate: int = 1000) -> httpx.AsyncClient:
            key = None if tenant is None else (await accounts.create_key(tenant, rate=rate)).key
            return await stack.enter_async_context(checked_client(app, key, conformance))

        yield make


@pytest.fixture
async def client(client_of: ClientOf) -> Client:
    """A client of the tenant `acme`."""
    return await client_of("acme")


@pytest.fixture
async def stranger(client_of: ClientOf) -> Client:
    """A client of another tenant, `globex`."""
    return await client_of("globex")


@pytest.fixture
async def nobody(client_of: ClientOf) -> Client:
    """A client without an API key."""
    return await client_of(None)


@pytest.fixture
def working(queue: TaskQueue) -> Working:
    """Run handlers for tasks, by type, as long as the context lasts."""

    @asynccontextmanager
    async def work(**handlers: Callable[..., Any]) -> AsyncIterator[None]:
        scheduler = Scheduler(queue=queue, backoff=Fixed(timedelta(milliseconds=10)), max_attempts=2, grace=1)
        for name, handler in handlers.items():
            scheduler.handler(name)(handler)
        async with scheduler:
            yield

    return work


def echo(payload: dict[str, Any]) -> dict[str, Any]:
    """Answer with the prompt or the query."""
    return {"text": payload.get("prompt", payload.get("query"))}


def error_of(response: httpx.Response) -> tuple[int, str, str, Any]:
    """Return status, code, message and details of an error."""
    error = response.json()["error"]
    return response.status_code, error["code"], error["message"], error.get("details")
