"""A service that speaks the contract as a provider: whatever it answers, and one engine behind another."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from scheduler import Fixed, Scheduler
from scheduler.errors import Misconfigured, RateLimited, Rejected, Unavailable
from scheduler.providers import LooseCall, Providers
from scheduler.providers.answering import ask
from scheduler.providers.upstream import PATHS, Upstream, UpstreamSettings, question_of
from taskqueue import Task, TaskQueue, TaskState
from taskqueue.accounts import Accounts
from taskqueue.api import ApiOptions, create_app
from taskqueue.api.routes.monitor import ENGINES
from taskqueue.contract import TASK_TYPES, payload_model
from tests.api.live import served
from tests.providers.upstream_server import HANG, RESET, refusal, reply, success, upstream
from tests.servers import RealServer

KEY = "sk_live_a-key-that-nobody-may-see-0123456789"
ACCOUNTS_SECRET = b"a secret of the tests, 32 bytes or more"
PROMPT = {"prompt": "What do you know about Acme Corp?", "country": "US"}
ANSWER = {"text": "It is made up.", "sources": [], "citationPills": [{"label": "one"}], "model": None}


@asynccontextmanager
async def opened(address: str, **settings: Any) -> AsyncIterator[Upstream]:
    """Open a provider for a service."""
    given: dict[str, Any] = {"base_url": address, "api_key": SecretStr(KEY), "timeout": 5.0, **settings}
    provider = Upstream("behind", UpstreamSettings(**given))
    await provider.open()
    try:
        yield provider
    finally:
        await provider.close()


async def asked(
    provider: Upstream, task_type: str = "CHATGPT", call: LooseCall | None = None, **payload: Any
) -> dict[str, Any]:
    """Ask it, and return what would be stored."""
    question = payload_model(task_type, strict=False).model_validate(payload or PROMPT)
    return await ask(provider, question, call or LooseCall(task_type), provider.settings.timeout)


async def error_after(answer: bytes, **settings: Any) -> Exception:
    """Return what is raised for an answer."""
    async with upstream(answer) as service, opened(service.address, **settings) as provider:
        with pytest.raises((Rejected, RateLimited, Unavailable, Misconfigured)) as raised:
            await asked(provider)
    assert KEY not in f"{raised.value!r} {vars(raised.value)}"
    return raised.value


def test_every_type_has_the_path_of_the_contract() -> None:
    """As our own service has it."""
    assert {name: path for path, _, name in ENGINES} == PATHS
    assert set(PATHS) == set(TASK_TYPES)


async def test_a_result_is_kept_whole_and_its_credits_are_tokens() -> None:
    """Fields of the contract that we do not name are the reason to ask; the key goes by a header."""
    call = LooseCall("CHATGPT")
    answer = success(ANSWER, {"X-Credits-Charged": "7"})
    async with upstream(answer) as service, opened(f"{service.address}/behind/") as provider:
        result = await asked(provider, call=call)

    (request,) = service.asked
    assert result == {name: value for name, value in ANSWER.items() if value is not None}
    assert call.tokens == 7
    assert request.line == "POST /behind/v1/monitor/chatgpt HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.json == PROMPT


@pytest.mark.parametrize("charged", ["", "-1", "many", "9" * 5_000, "1.5", "٣"])
async def test_credits_that_are_no_number_are_none(charged: str) -> None:
    """The result counts all the same."""
    call = LooseCall("CHATGPT")
    answer = success(ANSWER).replace(b"\r\n\r\n", f"\r\nX-Credits-Charged: {charged}\r\n\r\n".encode(), 1)
    async with upstream(answer) as service, opened(service.address) as provider:
        result = await asked(provider, call=call)

    assert result["text"] == ANSWER["text"]
    assert call.tokens == 0


@pytest.mark.parametrize(
    ("task_type", "payload"),
    [
        ("CHATGPT", {**PROMPT, "state": "NY", "include": {"markdown": True, "shopping": True}}),
        ("CHATGPT", {**PROMPT, "disableWebSearch": False, "include": {"html": False}}),
        ("AIMODE", {"prompt": "shoes", "gl": "us", "device": "mobile"}),
        ("GOOGLE", {"url": "https://www.google.com/search?q=best+laptops&gl=us&num=30"}),
        ("GOOGLE", {"query": "laptops", "country": "DE", "pages": 3, "include": {"aioverview": {}}}),
        ("GOOGLE_NEWS", {"query": "climate", "country": "US", "pages": 2}),
    ],
)
def test_a_payload_is_passed_on_as_it_was_submitted(task_type: str, payload: dict[str, Any]) -> None:
    """What was left out stays out: a strict service takes it, and its own defaults hold."""
    sent = question_of(payload_model(task_type, strict=False).model_validate(payload))

    assert sent == payload
    payload_model(task_type).model_validate(sent)


@pytest.mark.parametrize(
    ("answer", "error", "what"),
    [
        (
            refusal(
                400, "VALIDATION_ERROR", "Request validation failed", [{"field": "country", "message": "No"}]
            ),
            Rejected,
            "the service answered 400: VALIDATION_ERROR: Request validation failed country: No",
        ),
        (
            reply(400, {"success": False, "error": "no prompt"}),
            Rejected,
            "the service answered 400: no prompt",
        ),
        (refusal(422, "VALIDATION_ERROR", "odd"), Rejected, "422"),
        (refusal(401, "INVALID_OR_EXPIRED_API_KEY", "Invalid"), Misconfigured, "INVALID_OR_EXPIRED_API_KEY"),
        (refusal(403, "INSUFFICIENT_PERMISSIONS", "scopes"), Misconfigured, "INSUFFICIENT_PERMISSIONS"),
        (refusal(404, "RESOURCE_NOT_FOUND", "Route not found"), Misconfigured, "has no /v1/monitor/chatgpt"),
        (reply(302, b"", {"Location": "http://127.0.0.1:1/"}), Misconfigured, "redirects are not followed"),
        (refusal(499, "REQUEST_CANCELED", "Request was canceled"), Unavailable, "499"),
        (refusal(500, "INTERNAL_SERVER_ERROR", "Maximum retries exceeded"), Unavailable, "Maximum retries"),
        (refusal(502, "EXTERNAL_SERVICE_ERROR", "goto"), Unavailable, "502"),
        (reply(500, b"<html>Oops</html>"), Unavailable, "500: <html>Oops</html>"),
        (reply(500, {"error": {"code": 5, "message": None, "details": "x"}}), Unavailable, "500"),
        (reply(500, ["x"]), Unavailable, "500"),
        (reply(500, b"[" * 60_000), Unavailable, "500"),
        (refusal(500, "ODD", f"the key {KEY} broke"), Unavailable, r"the key \[hidden\] broke"),
        (reply(500, b""), Unavailable, "the service answered 500$"),
    ],
)
async def test_a_refusal_says_how_the_task_goes_on(answer: bytes, error: type[Exception], what: str) -> None:
    """By status and code, with what the service said."""
    raised = await error_after(answer)

    assert type(raised) is error
    assert re.search(what, str(raised))


@pytest.mark.parametrize("code", ["RATE_LIMIT_EXCEEDED", "CONCURRENCY_LIMIT_EXCEEDED"])
async def test_a_limit_without_a_time_lasts_the_cooldown(code: str) -> None:
    """The contract sends no Retry-After with a 429; where there is one it holds, as seconds or a date."""
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    unsaid = await error_after(refusal(429, code, "too much", {"limit": 1}), cooldown=9.0)
    said = await error_after(refusal(429, code, "too much", headers={"Retry-After": "17"}))
    dated = await error_after(refusal(429, code, "too much", headers={"Retry-After": at}))

    assert isinstance(unsaid, RateLimited)
    assert isinstance(said, RateLimited)
    assert isinstance(dated, RateLimited)
    assert (unsaid.after, said.after) == (timedelta(seconds=9), timedelta(seconds=17))
    assert dated.after is not None
    assert timedelta(seconds=50) < dated.after <= timedelta(seconds=60)


@pytest.mark.parametrize("status", [402, 403])
async def test_an_account_without_credits_is_left_alone_for_long(status: int) -> None:
    """An hour, or as the settings say: nothing but a person changes that."""
    answer = refusal(status, "INSUFFICIENT_CREDITS", "Insufficient credits")
    usual, said = await error_after(answer), await error_after(answer, quota_cooldown=60.0)

    assert isinstance(usual, RateLimited)
    assert isinstance(said, RateLimited)
    assert (usual.after, said.after) == (timedelta(hours=1), timedelta(minutes=1))
    assert "INSUFFICIENT_CREDITS" in usual.reason


async def test_a_service_that_is_away_says_for_how_long() -> None:
    """By the Retry-After of its 503."""
    raised = await error_after(
        refusal(503, "SERVICE_UNAVAILABLE", "Service unavailable", headers={"Retry-After": "4"})
    )

    assert isinstance(raised, Unavailable)
    assert raised.after == timedelta(seconds=4)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (reply(200, {"success": False, "result": ANSWER}), "200 without a result"),
        (reply(200, {"success": True, "result": [ANSWER]}), "200 without a result"),
        (reply(200, {"success": True}), "200 without a result"),
        (success({"text": ""}), "does not fit CHATGPT: text"),
        (success({"text": "x", "sources": [{"position": 1, "url": "javascript:1"}]}), "does not fit CHATGPT"),
        (reply(200, b"<html>a proxy</html>", {"Content-Type": "text/html"}), "no JSON but text/html"),
        (reply(200, b""), "it is empty"),
        (reply(200, b'{"success": true, "result": {"text": NaN}}'), "no JSON"),
        (reply(200, b'{"success": true, "result": ' + b"[" * 1_900), "no JSON"),
        (reply(200, b"[]"), "no JSON object"),
        (success({"text": "x", "map": [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}), "nested deeper than 16"),
        (reply(200, "é".encode("utf-16")), "no JSON"),
        (success({"text": "x" * 5_000}), "longer than 2,000 bytes"),
        (reply(200, gzip.compress(b" " * 10**6), {"Content-Encoding": "gzip"}), "longer than 2,000 bytes"),
        (success(ANSWER)[:-9] + RESET, "the connection broke"),
        (RESET, "the connection broke"),
    ],
)
async def test_an_answer_that_makes_no_sense_counts_as_a_failure(answer: bytes, what: str) -> None:
    """Whatever its status says; an excerpt tells what came."""
    raised = await error_after(answer, largest_response=2_000)

    assert isinstance(raised, Unavailable)
    assert what in str(raised)


async def test_a_service_that_says_nothing_is_given_up() -> None:
    """After the timeout."""
    raised = await error_after(HANG, timeout=0.1)

    assert isinstance(raised, Unavailable)
    assert "0.1 s" in str(raised)


async def test_a_service_that_is_not_there_is_told() -> None:
    """Whose port nobody listens on."""
    async with upstream(HANG) as service:
        address = service.address
    async with opened(address) as provider:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await asked(provider)


async def test_cancelling_a_call_hangs_up() -> None:
    """The service sees that nobody waits any more."""
    async with upstream(HANG) as service, opened(service.address) as provider:
        asking = asyncio.create_task(asked(provider))
        await asyncio.wait_for(service.was_asked.wait(), 5)
        asking.cancel()
        await asyncio.wait([asking], timeout=5)

        await asyncio.wait_for(service.was_left.wait(), 5)
    assert asking.cancelled()


@pytest.mark.parametrize("settings", [{"api_key": ""}, {"base_url": "ftp://x"}, {"quota_cooldown": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    """By its model, without the key."""
    with pytest.raises(ValidationError) as refused:
        UpstreamSettings(**{"base_url": "http://127.0.0.1:1", "api_key": KEY, **settings})

    assert KEY not in str(refused.value)


# ------------------------------------------------------------------------------ one engine behind another


@pytest.fixture(scope="module")
def other_server() -> Iterator[RealServer]:
    """The server of the engine behind."""
    with RealServer() as running:
        yield running


class Behind:
    """An engine with its service, its tenants and simulated providers."""

    def __init__(self, address: str, key: str, queue: TaskQueue) -> None:
        self.address = address
        self.key = key
        self.queue = queue


@asynccontextmanager
async def engine_behind(url: str, folder: Path, **simulated: object) -> AsyncIterator[Behind]:
    """Run another engine: queue, accounts, HTTP service, and a scheduler with simulated providers."""
    lines = "".join(f"{name} = {value!r}\n" for name, value in simulated.items())
    file = folder / "behind.toml"
    file.write_text(
        f'[providers.made-up]\nkind = "simulated"\nmedian_latency = 0\n{lines}'
        '[types]\nCHATGPT = ["made-up"]\nGOOGLE = ["made-up"]\n'
    )
    providers = Providers.load(file, environ={})
    async with (
        TaskQueue.connect(url, name=f"behind-{folder.name}") as queue,
        Accounts(queue, ACCOUNTS_SECRET) as accounts,
    ):
        scheduler = Scheduler(queue=queue, max_attempts=1)
        scheduler.include(providers.handlers())
        app = create_app(queue, accounts, ApiOptions(types=providers.types))
        key = (await accounts.create_key("front")).key
        async with scheduler, served(app) as address:
            yield Behind(address, key, queue)


async def through(
    queue: TaskQueue,
    behind: Behind,
    folder: Path,
    task_type: str = "CHATGPT",
    *,
    spare: str | None = None,
    **options: Any,
) -> Task:
    """Run one task through an engine whose first provider is the engine behind."""
    more = "" if spare is None else f'[providers.spare]\nkind = "{spare}"\n'
    chain = ["behind"] if spare is None else ["behind", "spare"]
    file = folder / "front.toml"
    file.write_text(
        f'[providers.behind]\nkind = "upstream"\nbase_url = "{behind.address}"\n'
        f'api_key = {{ env = "BEHIND_KEY" }}\n{more}[types]\n{task_type} = {chain}\n'
    )
    providers = Providers.load(file, environ={"BEHIND_KEY": behind.key})
    assert providers.configuration.problems == []
    assert await providers.unreachable() == []
    payload = {"query": "harbours", "country": "US", "pages": 2} if task_type == "GOOGLE" else PROMPT
    task = await queue.enqueue(task_type, payload, **options)
    scheduler = Scheduler(queue=queue, backoff=Fixed(timedelta(0)))
    scheduler.include(providers.handlers())
    async with scheduler:
        return await queue.wait(task.id, timeout=20)


@pytest.mark.parametrize("task_type", ["CHATGPT", "GOOGLE"])
async def test_one_engine_stands_in_front_of_another(
    queue: TaskQueue, other_server: RealServer, tmp_path: Path, task_type: str
) -> None:
    """Two queues on two servers and HTTP between them: what was made up behind arrives whole in front."""
    async with engine_behind(other_server.url, tmp_path) as behind:
        task = await through(queue, behind, tmp_path, task_type)
        (done,) = [each async for each in behind.queue.tasks(state=TaskState.COMPLETED, type=task_type)]

    assert task.state is TaskState.COMPLETED
    assert task.result == done.result
    assert task.result["simulated"] is True
    assert done.tenant == "front"


async def test_a_task_that_failed_behind_is_a_failure_of_the_provider_in_front(
    queue: TaskQueue, other_server: RealServer, tmp_path: Path
) -> None:
    """Its error says what the service behind said."""
    async with engine_behind(other_server.url, tmp_path, mode="failing") as behind:
        task = await through(queue, behind, tmp_path, max_attempts=1)

    assert (task.state, task.attempt) == (TaskState.FAILED, 1)
    assert task.error is not None
    assert "the service answered 500: INTERNAL_SERVER_ERROR: Maximum retries exceeded" in task.error.message
    assert behind.key not in str(task.error)


async def test_a_type_that_is_not_served_behind_opens_the_breaker(
    queue: TaskQueue, other_server: RealServer, tmp_path: Path
) -> None:
    """It stands in a chain where it has no place; the error says so."""
    async with engine_behind(other_server.url, tmp_path) as behind:
        task = await through(queue, behind, tmp_path, "GROK", max_attempts=1)

    assert task.error is not None
    assert "take it out of the chain of GROK" in task.error.message
    (state,) = await queue.providers()
    assert state.condition == "open"


async def test_an_account_without_credits_behind_leaves_the_task_to_the_next(
    queue: TaskQueue, other_server: RealServer, tmp_path: Path
) -> None:
    """No attempt is spent, and the engine behind is left alone for an hour."""
    async with engine_behind(other_server.url, tmp_path) as behind:
        await behind.queue.grant("front", 1)
        task = await through(queue, behind, tmp_path, spare="simulated")
        state = {each.name: each for each in await queue.providers()}

    assert (task.state, task.attempt) == (TaskState.COMPLETED, 1)
    assert (state["behind"].condition, state["spare"].condition) == ("cooling", "ready")
    assert state["behind"].opens_in is not None
    assert 3_500 < state["behind"].opens_in <= 3_600
