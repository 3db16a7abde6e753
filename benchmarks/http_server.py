"""An HTTP server in a process of its own: our service, or an endpoint that only validates the same body.

    python -m benchmarks.http_server service|empty URL QUEUE

It prints its port and an API key, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import AsyncExitStack
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from taskqueue import TaskQueue
from taskqueue.accounts import Accounts
from taskqueue.api import ApiOptions, create_app
from taskqueue.api.protocol import HttpProtocol
from taskqueue.cli.runtime import SERVICE_GARBAGE, collect_garbage_seldom, run
from taskqueue.contract import TASK_TYPES

_SECRET = b"benchmarks keep no secrets, so any 32 bytes do"
_RATE = 1_000_000
_CREDITS = 10**12


class EmptyPayload(BaseModel):
    """The fields that the measured requests have."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[str, Field(min_length=1, max_length=10_000)]
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]


class EmptyTask(BaseModel):
    """A task in the contract's shape."""

    model_config = ConfigDict(extra="forbid")

    taskType: Literal[TASK_TYPES]  # type: ignore[valid-type]  # noqa: N815  the contract's name
    payload: EmptyPayload
    priority: Annotated[int, Field(ge=1, le=10)] = 1


def empty_app() -> FastAPI:
    """Return what the framework costs: the same body, validated as its users do, and a short answer."""
    app = FastAPI(openapi_url=None)

    @app.post("/v1/async/task")
    async def create(task: EmptyTask) -> dict[str, Any]:
        return {"success": True, "priority": task.priority}

    return app


async def main(kind: str, url: str, name: str) -> None:
    """Serve until the standard input ends."""
    async with AsyncExitStack() as stack:
        key = "none"
        if kind == "empty":
            app = empty_app()
        else:
            queue = await stack.enter_async_context(
                TaskQueue.connect(url, name=name, policy="fair_tenants", max_queued=10**9)
            )
            accounts = await stack.enter_async_context(Accounts(queue, _SECRET))
            await queue.grant("bench", _CREDITS)
            key = (await accounts.create_key("bench", rate=_RATE)).key
            app = create_app(queue, accounts, ApiOptions(max_queued=10**9))
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(1024)
        config = uvicorn.Config(
            app, http=HttpProtocol, ws="none", loop="none", log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        # As the command does, when all is there.
        collect_garbage_seldom(SERVICE_GARBAGE)
        print(listening.getsockname()[1], key, flush=True)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        await asyncio.to_thread(sys.stdin.read)
        if kind != "empty":
            app.state.service.stop()
        server.should_exit = True
        await serving


if __name__ == "__main__":
    run(main(*sys.argv[1:]))
