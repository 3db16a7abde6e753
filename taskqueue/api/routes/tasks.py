"""Tasks: create one or many, look at one, cancel it, list them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from taskqueue.api.counting import counting_of
from taskqueue.api.errors import (
    ApiError,
    error_of,
    invalid,
    invalid_field,
    problem_of,
    task_not_found,
)
from taskqueue.api.exchange import Exchange
from taskqueue.api.listing import Listing
from taskqueue.api.options import MOST_TASKS
from taskqueue.api.replies import Reply, json_reply
from taskqueue.api.schemas import created_body, credits_block, is_visible, status_body, task_block
from taskqueue.api.service import Service
from taskqueue.api.submission import Refused, expected, read_task
from taskqueue.errors import InvalidTask, TaskQueueError
from taskqueue.names import check_idempotency_key
from taskqueue.store.rates import Whole
from taskqueue.task import Task, TaskSpec

_READ_AT_ONCE = 50
"""Tasks of a batch after which other requests get their turn."""


async def create(service: Service, exchange: Exchange) -> Reply:
    """Accept one task (contract: POST /v1/async/task).

    In order: the body's shape, room in the queue, validation, the idempotency key, credits.
    """
    document = await service.body(exchange)
    if type(document) is not dict:
        raise invalid_field("", expected("object", document))
    tenant = exchange.tenant
    counting = counting_of(exchange)
    try:
        spec = read_task(document, tenant, service.options)
        task = await service.submissions.enqueue(spec, counting.ticket)
    except (Refused, InvalidTask) as refused:
        # The rate, then a full queue are told first, but only a refused task needs to ask here.
        await counting.settle()
        await service.check_room(tenant, 1)
        problems = refused.problems if isinstance(refused, Refused) else [problem_of(refused)]
        raise invalid(problems) from None
    return json_reply(created_body(task))


async def create_batch(service: Service, exchange: Exchange) -> Reply:
    """Accept up to 500 tasks, each on its own (contract: POST /v1/async/task/batch).

    In order: the body's shape and room for all of them, which concern the whole batch; then for each
    task validation, the idempotency key, credits.
    """
    documents = await service.body(exchange, is_batch=True)
    _check_batch(documents)
    tenant = exchange.tenant
    outcomes: dict[int, Task | ApiError] = {}
    specs: dict[int, TaskSpec] = {}
    for index, document in enumerate(documents):
        if index % _READ_AT_ONCE == _READ_AT_ONCE - 1:
            await asyncio.sleep(0)
        try:
            specs[index] = read_task(document, tenant, service.options)
        except Refused as refused:
            outcomes[index] = invalid(refused.problems)
    stored = await _stored(service, exchange, list(specs.values()), len(documents))
    retry_after = service.options.retry_after
    for index, outcome in zip(specs, stored, strict=True):
        outcomes[index] = outcome if isinstance(outcome, Task) else error_of(outcome, retry_after)
    _check_outage([outcomes[index] for index in specs], stored)
    results = [_result(index, outcomes[index]) for index in range(len(documents))]
    succeeded = sum(result["success"] for result in results)
    summary = {"total": len(results), "succeeded": succeeded, "failed": len(results) - succeeded}
    return json_reply({"success": True, "summary": summary, "results": results})


async def _stored(
    service: Service, exchange: Exchange, specs: Sequence[TaskSpec], total: int
) -> Sequence[Task | TaskQueueError]:
    """Store what can be stored of a batch of *total* tasks, if its rate and the queue's room allow all.

    Raises:
        RateExceeded: If the rate does not.
        QueueFull, ApiError: If the room does not. The call that stores tasks says so, so that no two
            batches are promised the same room; only a batch without any fit task asks here.
    """
    counting = counting_of(exchange)
    stored = await service.submissions.enqueue_batch(specs, Whole(total, counting.ticket))
    if all(isinstance(outcome, InvalidTask) for outcome in stored):
        await counting.settle()
        await service.check_room(exchange.tenant, total)
    return stored


def _check_batch(documents: Any) -> None:
    """Refuse what is no array of 1 to 500 objects, as a whole."""
    if type(documents) is not list:
        raise invalid_field("", expected("array", documents))
    if not documents:
        raise invalid_field("", "Too small: expected array to have >=1 items")
    if len(documents) > MOST_TASKS:
        raise invalid_field("", f"Too big: expected array to have <={MOST_TASKS} items")
    for index, document in enumerate(documents):
        if type(document) is not dict:
            raise invalid_field(f"[{index}]", expected("object", document))


def _check_outage(outcomes: list[Task | ApiError], stored: Any) -> None:
    """Turn the whole batch away if the server took none of it: the client may then send it again."""
    if stored and all(isinstance(each, ApiError) and each.status >= 500 for each in outcomes):  # noqa: PLR2004
        raise next(each for each in stored if isinstance(each, TaskQueueError))


def _result(index: int, outcome: Task | ApiError) -> dict[str, Any]:
    if isinstance(outcome, Task):
        return {
            "success": True,
            "index": index,
            "task": task_block(outcome),
            "credits": credits_block(outcome),
        }
    error = outcome.document()
    if outcome.code == "VALIDATION_ERROR":
        error["message"] = f"Invalid task at index {index}"
        error["details"] = {"errors": outcome.details}
    return {"success": False, "index": index, "error": error}


async def find(service: Service, exchange: Exchange) -> Task:
    """Return the tenant's task that the path names, by its id or by its idempotency key.

    Raises:
        ApiError: 404, the same for what is unknown and for what is another tenant's.
    """
    named, tenant = exchange.parameter("task_id"), exchange.tenant
    task = await service.queue.get(named, tenant=tenant)
    if task is not None and is_visible(task, tenant):
        return task
    try:
        key = check_idempotency_key(named)
    except InvalidTask:
        raise task_not_found(named) from None
    task = await service.queue.find(tenant, key)
    if task is None or not is_visible(task, tenant):
        raise task_not_found(named)
    return task


async def get(service: Service, exchange: Exchange) -> Reply:
    """Tell what is known of a task (contract: GET /v1/async/task/{taskId})."""
    exchange.query()
    return json_reply(status_body(await find(service, exchange)))


async def cancel(service: Service, exchange: Exchange) -> Reply:
    """End a QUEUED task, ask a PROCESSING one to stop; a finished one stays as it ended (ours)."""
    exchange.query()
    task = await find(service, exchange)
    after = await service.queue.cancel(task.id)
    return json_reply({"success": True, **status_body(after)})


async def list_tasks(service: Service, exchange: Exchange) -> Reply:
    """Go through the tenant's tasks, page by page (ours)."""
    query = exchange.query("status", "taskType", "limit", "cursor")
    tasks, cursor = await Listing.parse(query, service.queue, exchange.tenant).page()
    shown = [{"task": task_block(task), "credits": credits_block(task)} for task in tasks]
    return json_reply({"tasks": shown, "nextCursor": cursor})
