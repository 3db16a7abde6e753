"""Synchronous requests: a task that starts before all others, and its result as the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from taskqueue.api.counting import counting_of
from taskqueue.api.errors import (
    Problem,
    concurrency_reached,
    external_failed,
    insufficient_credits,
    internal,
    invalid,
    invalid_field,
    request_canceled,
    route_not_found,
    unavailable,
)
from taskqueue.api.exchange import Exchange
from taskqueue.api.replies import Header, Reply, json_reply
from taskqueue.api.routes.credits import remaining
from taskqueue.api.routes.queue import concurrency_block
from taskqueue.api.schemas import error_block
from taskqueue.api.service import Handler, Service
from taskqueue.api.submission import Refused, expected, read_payload
from taskqueue.api.watching import running, until_gone
from taskqueue.errors import LimitReached, TaskNotFound
from taskqueue.task import Task, TaskSpec, TaskState

ENGINES: Final = (
    ("/v1/monitor/chatgpt", "Chatgpt", "CHATGPT"),
    ("/v1/monitor/gemini", "Gemini", "GEMINI"),
    ("/v1/monitor/perplexity", "Perplexity", "PERPLEXITY"),
    ("/v1/monitor/copilot", "Copilot", "COPILOT"),
    ("/v1/monitor/grok", "Grok", "GROK"),
    ("/v1/monitor/aimode", "Aimode", "AIMODE"),
    ("/v1/monitor/google", "Google", "GOOGLE"),
    ("/v1/monitor/google/news", "GoogleNews", "GOOGLE_NEWS"),
)
"""Path, name and task type of every engine."""

MAX_RETRIES = "Maximum retries exceeded"
_GOTO_HOSTS = frozenset({"google.com", "www.google.com"})
_GOTO_PATHS = frozenset({"/goto", "/url"})
_LONGEST_LINK = 8192
_LINK_MESSAGE = "It must be an absolute google.com or www.google.com link with the path /goto or /url"


def handler_of(task_type: str) -> Handler:
    """Return the handler of the engine that runs *task_type*."""

    async def run(service: Service, exchange: Exchange) -> Reply:
        """Run one task and answer with its result (contract: POST /v1/monitor/*)."""
        if task_type not in service.options.served:
            raise route_not_found(exchange.scope["path"])
        payload = await service.body(exchange)
        if type(payload) is not dict:
            raise invalid_field("", expected("object", payload))
        try:
            checked, price = read_payload(task_type, payload, service.options, prefix="", sync=True)
        except Refused as refused:
            raise invalid(refused.problems) from None
        with _waiting(service):
            # Before the task takes one; so it cannot be asked with the call that stores it.
            slots = concurrency_block(await service.queue.stats(tenant=exchange.tenant))
            spec = TaskSpec(
                type=task_type,
                payload=checked,
                tenant=exchange.tenant,
                cost=price.charge,
                hold=price.hold if price.hold > price.charge else None,
                reserve=True,
            )
            try:
                task = await service.submissions.enqueue(spec, counting_of(exchange).ticket)
            except LimitReached as error:
                raise concurrency_reached(error.limit, _slots(error.limit, error.limit)) from None
            ended = await _ended(service, exchange, task)
        headers = [] if slots is None else _slots(slots["max"], slots["used"])
        return await _answer(service, ended, headers)

    return run


@contextmanager
def _waiting(service: Service) -> Iterator[None]:
    """Count a synchronous request, and turn it away if there are too many."""
    if service.metrics.waiting >= service.options.max_waiting or service.stopping.is_set():
        raise unavailable(service.options.retry_after)
    service.metrics.waiting += 1
    try:
        yield
    finally:
        service.metrics.waiting -= 1


def _slots(most: int, used: int) -> list[Header]:
    """Return the headers that tell of the tenant's slots as the request found them."""
    return [
        (b"x-concurrency-limit", b"%d" % most),
        (b"x-concurrency-current", b"%d" % used),
        (b"x-concurrency-remaining", b"%d" % max(0, most - used)),
    ]


async def _ended(service: Service, exchange: Exchange, task: Task) -> Task:
    """Return the task once it has ended.

    Raises:
        ApiError: 499 if the client went away or the task was cleared, 500 if it took too long, 503 if
            the service stops before it began.
    """
    timeout = service.options.sync_timeout
    left = max(0.0, timeout - exchange.elapsed_ms / 1000)
    works = (service.queue.wait(task.id), until_gone(exchange.receive), service.stopping.wait())
    async with running(*works) as (ended, gone, stopping):
        loop = asyncio.get_running_loop()
        deadline, watched = loop.time() + left, {ended, gone, stopping}
        while True:
            done, _ = await asyncio.wait(
                watched, timeout=max(0.0, deadline - loop.time()), return_when=asyncio.FIRST_COMPLETED
            )
            if ended in done:
                return _result(ended)
            if gone in done:
                # An attempt that runs is not stopped (contract: 5.2, 499).
                await service.queue.store.cancel_queued(task.id)
                raise request_canceled()
            if stopping not in done:
                return await _stopped(service, task, timeout)
            # What runs may end in the time that the server gives it.
            if await service.queue.store.cancel_queued(task.id):
                raise unavailable(service.options.retry_after)
            watched.discard(stopping)


def _result(ended: asyncio.Task[Task]) -> Task:
    try:
        return ended.result()
    except TaskNotFound:
        # Somebody emptied the tenant's queue.
        raise request_canceled() from None


async def _stopped(service: Service, task: Task, timeout: float) -> Task:
    """Stop a task that took too long: what answers with an error must not be charged."""
    try:
        after = await service.queue.cancel(task.id)
    except TaskNotFound:
        raise request_canceled() from None
    if after.state is TaskState.COMPLETED:
        return after
    minutes, rest = divmod(timeout, 60)
    told = f"{timeout:g} seconds" if rest else f"{minutes:g} minutes"
    raise internal(f"Maximum timeout ({told}) exceeded")


async def _answer(service: Service, task: Task, headers: list[Header]) -> Reply:
    if task.state is TaskState.COMPLETED:
        left = remaining(await service.queue.balance(task.tenant))
        headers += [
            (b"x-credits-charged", b"%d" % (task.charged or 0)),
            (b"x-credits-remaining", b"%d" % max(0, left)),
        ]
        return json_reply({"success": True, "result": task.result}, headers=headers)
    code = task.error.code if task.error is not None else ""
    if code == "INSUFFICIENT_CREDITS":
        raise insufficient_credits()
    if task.state is TaskState.CANCELLED:
        raise request_canceled()
    error = internal(MAX_RETRIES)
    error.details = error_block(task).get("details")
    raise error


async def goto(service: Service, exchange: Exchange) -> Reply:
    """Tell where a redirect link leads (contract: POST /v1/monitor/google/goto).

    Links with the path `/url` say it themselves; for others the operator's resolver is asked.
    """
    link = _link(await service.body(exchange))
    query = parse_qs(link.query, max_num_fields=100)
    if link.path == "/url":
        for target in (*query.get("q", ()), *query.get("url", ())):
            if _is_absolute(target):
                return json_reply({"url": target})
    resolve = service.options.resolve_goto
    if resolve is None:
        raise external_failed()
    try:
        async with asyncio.timeout(service.options.goto_timeout):
            target = await resolve(link.geturl())
    except Exception:  # noqa: BLE001 - the contract has one answer for whatever went wrong out there
        raise external_failed() from None
    if not _is_absolute(target):
        raise external_failed()
    return json_reply({"url": target})


def _link(document: object) -> SplitResult:
    if type(document) is not dict:
        raise invalid_field("", expected("object", document))
    problems = [Problem(name, f'Unrecognized key: "{name}"') for name in document if name != "url"]
    url, link = document.get("url"), None
    if isinstance(url, str) and len(url) <= _LONGEST_LINK and url.isprintable():
        try:
            link = urlsplit(url)
            is_right = (
                link.scheme in {"http", "https"} and link.netloc in _GOTO_HOSTS and link.path in _GOTO_PATHS
            )
            parse_qs(link.query, max_num_fields=100)
        except ValueError:
            is_right = False
        link = link if is_right else None
    if link is None:
        problems.append(Problem("url", _LINK_MESSAGE))
    if problems or link is None:
        raise invalid(problems)
    return link


def _is_absolute(target: object) -> bool:
    if not isinstance(target, str) or len(target) > _LONGEST_LINK or not target.isprintable():
        return False
    try:
        parts = urlsplit(target)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
