"""A service with two tenants, `acme` and `globex`, and one with `globex` alone.

Whatever globex asks, it must be answered the same in both: then nothing tells it of acme. Nobody works
here, and the clock stands still, so that two answers differ only where the services do.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import unquote

import httpx
import redis

from taskqueue import TaskQueue
from taskqueue.accounts import Accounts
from taskqueue.api import ApiOptions, create_app
from taskqueue.codec import encode_error, encode_value
from taskqueue.contract import TASK_TYPES
from taskqueue.store import ClaimRequest, Completion, Failure
from taskqueue.task import TaskError
from taskqueue.testing import FakeClock
from tests.api.conformance import checked_client
from tests.api.conftest import PROMPT, SECRET, TASK
from tests.audit import audit, dump
from tests.servers import RealServer

CANARY = "canary"
NAME = "NAME"
"""Stands in paths and bodies of a `Case` for the name of a task, or of an idempotency key."""

KEYED: dict[str, Any] = {"taskType": "CHATGPT", "payload": PROMPT, "idempotencyKey": NAME}
UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
LATE = timedelta(hours=1)
# Types for the states that tasks of both tenants are brought to, so that each claim takes what it means.
_DONE, _RUNNING, _QUEUED = "GEMINI", "COPILOT", "CHATGPT"
_ROOM = 10_000


class Case(NamedTuple):
    """How a route is asked.

    Attributes:
        body: JSON; None for none.
        query: Of the address.
        is_for_operators: Whether it tells of the whole service, to those who run it.
    """

    body: Any = None
    query: str = ""
    is_for_operators: bool = False


_MONITORED = {"query": "x", "country": "US"}
CASES: dict[str, Case] = {
    "createTask": Case(KEYED),
    "createTaskBatch": Case([KEYED, TASK]),
    "streamTask": Case(),
    "getTask": Case(),
    "cancelTask": Case(),
    "listTasks": Case(query="?limit=3"),
    "getQueueStatus": Case(),
    "clearQueue": Case(),
    "getCredits": Case(),
    "listCountries": Case(),
    "listStates": Case(),
    "monitorChatgpt": Case(PROMPT),
    "monitorGemini": Case(PROMPT),
    "monitorPerplexity": Case(PROMPT),
    "monitorCopilot": Case(PROMPT),
    "monitorGrok": Case(PROMPT),
    "monitorAimode": Case(PROMPT),
    "monitorGoogle": Case(_MONITORED),
    "monitorGoogleNews": Case(_MONITORED),
    "resolveGoto": Case({"url": "https://www.google.com/url?q=https%3A%2F%2Fexample.com"}),
    "getTaskOldPath": Case(),
    "healthz": Case(is_for_operators=True),
    "readyz": Case(is_for_operators=True),
    "metrics": Case(is_for_operators=True),
    "openapi": Case(is_for_operators=True),
    "docs": Case(is_for_operators=True),
}
"""By the names of the routes; a test sees to it that every route is here."""


@dataclass
class World:
    """A service, and how globex asks it.

    Attributes:
        queue: Its queue.
        server: The queue's server.
        stranger: The client of globex.
        key: The API key of acme, if it is there.
    """

    queue: TaskQueue
    server: redis.Redis
    stranger: httpx.AsyncClient
    key: str = ""

    async def ask(self, spec: Any, name: str = "unknown") -> httpx.Response:
        """Ask a route as globex; *name* is the task, or the idempotency key, that it is about."""
        case = CASES[spec.name]
        path = spec.path.replace(":path", "").replace("{task_id}", name) + case.query
        return await self.stranger.request(spec.method, path, json=_named(case.body, name))

    def of(self, tenant: str) -> dict[str, Any]:
        """Return all that the server has of a tenant, whose name is in the names of everything of it."""
        found = dump(self.server, self.queue.name).values
        return {
            **{key: value for key, value in found.items() if tenant in key},
            **{f"leased {key}": at for key, at in found.get("leased", {}).items() if tenant in key},
        }

    async def commands(self, spec: Any, name: str = "unknown") -> list[str]:
        """Ask a route as globex; return what the server was told for it: commands with their keys, sorted.

        Scripts go through what they have gathered in no order, so that none can be held against another.
        """
        # Connections are open from here on, and scripts known.
        await self.ask(spec, "first")
        told: list[str] = []
        with self.server.monitor() as monitor:  # type: ignore[no-untyped-call]
            self.server.echo("it begins")
            await self.ask(spec, name)
            self.server.echo("it has ended")
            for line in monitor.listen():
                command: str = line["command"]
                if "it begins" in command:
                    told.clear()
                elif "it has ended" in command:
                    break
                else:
                    told.append(_essence(command, self.queue.store.keys.prefix, name))
        return sorted(told)


def _named(body: Any, name: str) -> Any:
    if isinstance(body, list):
        return [_named(item, name) for item in body]
    if isinstance(body, dict):
        return {key: name if value == NAME else value for key, value in body.items()}
    return body


def _essence(command: str, prefix: str, name: str) -> str:
    """Return a command and its keys. What is an id in them, or a digest, or the name itself, is left out."""
    word, *rest = command.split(" ")
    keys = [key.removeprefix(prefix).replace(name, NAME) for key in rest if key.startswith(prefix)]
    return " ".join([word, *(re.sub(rf"(idem:\w+:|rate:)[\w-]+|{UUID}", r"\1ID", key) for key in keys)])


def essence(reply: httpx.Response, name: str) -> tuple[int, dict[str, str], str]:
    """Return an answer without what differs from each request to the next: ids, instants, times, counts."""
    headers = dict(reply.headers)
    for each in ("x-request-id", "x-latency-ms", "x-ratelimit-remaining", "content-length"):
        headers[each] = "" if each in headers else "is missing"
    text = re.sub(UUID, "ID", reply.text.replace(name, NAME).replace(unquote(name), NAME))
    text = re.sub('"nextCursor":"[^"]+"', '"nextCursor":"CURSOR"', text)
    return reply.status_code, headers, re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "INSTANT", text)


@asynccontextmanager
async def world(
    server: RealServer, name: str, clock: FakeClock, *, with_acme: bool, running: bool = False
) -> AsyncIterator[World]:
    """Open a service for globex, with or without acme; *running*: a task of globex runs."""
    async with AsyncExitStack() as stack:
        client = stack.enter_context(server.client())
        queue = await stack.enter_async_context(
            TaskQueue.connect(server.url, name=name, max_queued=_ROOM, patience=5, clock=clock)
        )
        accounts = await stack.enter_async_context(Accounts(queue, SECRET))
        app = create_app(queue, accounts, ApiOptions(max_queued=_ROOM, sync_timeout=0.1, stream_lifetime=0.2))
        key = (await accounts.create_key("globex")).key
        # Somebody whose work is always there: that there is some at all is no secret.
        for task_type in TASK_TYPES:
            await queue.enqueue(task_type, PROMPT, tenant="initech", priority=1)
        await _fill(queue, "globex", running=running)
        foreign_key = ""
        if with_acme:
            foreign_key = (await accounts.create_key("acme")).key
            await accounts.set_plan("acme", per_cycle=77, resets_at=None)
            await _fill(queue, "acme", running=True)
            await queue.set_limit(tenant="acme", concurrency=3)
        stranger = await stack.enter_async_context(checked_client(app, key))
        # From here on the key is known, and noted as used.
        assert (await stranger.get("/v1/countries")).status_code == 200
        try:
            yield World(queue, client, stranger, foreign_key)
            assert audit(client, name) == []
        finally:
            for kept in client.scan_iter(match=f"*{{{name}}}*", count=1000):
                client.delete(kept)


async def _fill(queue: TaskQueue, tenant: str, *, running: bool) -> None:
    """Give a tenant credits and tasks in every state, named after it; everything of it says its name."""
    await queue.grant(tenant, 1000)

    async def add(name: str, task_type: str, **fields: Any) -> None:
        await queue.enqueue(
            task_type,
            {**PROMPT, "prompt": f"{CANARY} of {tenant} " + "x" * 20_000},
            id=f"{tenant}-{name}",
            tenant=tenant,
            cost=5,
            **fields,
        )

    ended = [f"{tenant}-done", f"{tenant}-failed"]
    for name in ended:
        await add(name.removeprefix(f"{tenant}-"), _DONE, priority=10, webhook=f"https://{tenant}.example/x")
    done, failed = (await queue.store.claim(_claim(tenant, _DONE, 2))).tasks
    assert [done.id, failed.id] == ended
    result = encode_value({"text": f"{CANARY} of {tenant}"}, field="result", max_bytes=1000)
    await queue.store.complete([Completion(done.id, done.token, result, charge=5)])
    error = encode_error(TaskError("NO_ANSWER", f"{CANARY} of {tenant}"))
    await queue.store.fail([Failure(failed.id, failed.token, error)])
    if running:
        await add("running", _RUNNING, priority=10)
        [claimed] = (await queue.store.claim(_claim(tenant, _RUNNING, 1))).tasks
        assert claimed.id == f"{tenant}-running"
    await add("cancelled", _QUEUED)
    await queue.cancel(f"{tenant}-cancelled")
    await add("queued", _QUEUED, idempotency_key=f"{tenant}-key", priority=5)
    await add("late", _QUEUED, idempotency_key=f"{tenant} key/2", delay=LATE)
    if tenant == "acme":
        await add("reserved", _QUEUED, reserve=True)


def _claim(tenant: str, task_type: str, count: int) -> ClaimRequest:
    return ClaimRequest(f"worker-{tenant}", f"request-{task_type}", {task_type: count}, count, 60_000)


def foreign_names(of: World) -> dict[str, tuple[str, str]]:
    """Return names of what is acme's, by what it is, each with a name like it that stands for nothing."""
    kinds = ("queued", "late", "running", "done", "failed", "cancelled", "reserved", "key")
    names = {kind: (f"acme-{kind}", f"acmf-{kind}") for kind in kinds}
    [delivery] = [
        key.removeprefix("task:")
        for key, record in dump(of.server, of.queue.name).values.items()
        if key.startswith("task:_hook-") and "|_acme." in str(record) and "acme-done" in str(record)
    ]
    return {**names, "spaced": ("acme key%2F2", "acmf key%2F2"), "delivery": (delivery, "_hook-99")}
