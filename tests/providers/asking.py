"""How tests ask a provider: made as it would be configured, opened, and asked as a task asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from scheduler import Fixed, Scheduler
from scheduler.providers import LooseCall, Provider, Providers
from scheduler.providers.answering import ask
from taskqueue import Task, TaskQueue
from taskqueue.contract import payload_model


@asynccontextmanager
async def opened(kind: type[Provider], **settings: Any) -> AsyncIterator[Provider]:
    """A provider with these settings, open."""
    provider = kind("tested", kind.Settings.model_validate(settings))
    await provider.open()
    try:
        yield provider
    finally:
        await provider.close()


async def asked(
    provider: Provider, task_type: str, payload: dict[str, Any], call: LooseCall | None = None
) -> dict[str, Any]:
    """What would be stored of the answer to a task of this type."""
    question = payload_model(task_type, strict=False).model_validate(payload)
    return await ask(provider, question, call or LooseCall(task_type), provider.settings.timeout)


async def ran(
    queue: TaskQueue, folder: Path, toml: str, task_type: str, payload: dict[str, Any], **environ: str
) -> Task:
    """The task after a real scheduler with these providers has run everything."""
    path = folder / "providers.toml"
    path.write_text(toml)
    providers = Providers.load(path, environ=environ)
    assert providers.configuration.problems == []
    task = await queue.enqueue(task_type, payload)
    scheduler = Scheduler(queue=queue, backoff=Fixed(timedelta(0)))
    scheduler.include(providers.handlers())
    await scheduler.run(burst=True, handle_signals=False)
    return await queue.wait(task.id, timeout=0)
