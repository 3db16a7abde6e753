"""Configured providers in a real scheduler: opened together, asked by type, closed, and never talkative."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, SecretStr

from scheduler import Fixed, Scheduler
from scheduler.errors import GiveUp, Misconfigured, RateLimited, Rejected, Retry, Unavailable
from scheduler.providers import Call, LooseCall, Provider, Providers, ProviderSettings
from scheduler.providers.answering import ask
from scheduler.providers.configuration import Configuration
from taskqueue import Task, TaskQueue, TaskState
from taskqueue.contract import payload_model

SECRET = "a-secret-that-nobody-may-see-0123456789"
PROMPT = {"prompt": "Who is there?", "country": "US"}


class Settings(ProviderSettings):
    """A key, and what is fixed for all tests."""

    api_key: SecretStr = SecretStr(SECRET)


class Scripted(Provider):
    """Answers, or does what a test told it; notes what it went through."""

    Settings: ClassVar[type[ProviderSettings]] = Settings

    def __init__(self, name: str, says: object = None, opens: object = None, **settings: Any) -> None:
        super().__init__(name, Settings(**settings))
        self.says = says
        self.opens = opens
        self.went: list[str] = []

    async def open(self) -> None:
        self.went.append("open")
        if isinstance(self.opens, BaseException):
            raise self.opens
        if isinstance(self.opens, asyncio.Event):
            await self.opens.wait()

    async def close(self) -> None:
        self.went.append("close")
        if self.says == "stuck":
            raise RuntimeError("it does not close")

    async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:
        self.went.append("answer")
        if isinstance(self.says, BaseException):
            raise self.says
        if isinstance(self.says, asyncio.Event):
            await self.says.wait()
        if isinstance(self.says, dict):
            return self.says
        return {"text": f"{self.name} heard: {payload.prompt}"}  # type: ignore[attr-defined]


class Located(Scripted):
    """Has an address."""

    address = None

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name)
        self.address = address


def providers_of(*made: Provider, **chains: tuple[str, ...]) -> Providers:
    """Return providers as if they had been configured."""
    named = {provider.name: provider for provider in made}
    return Providers(Configuration(providers=named, kinds=dict.fromkeys(named, "scripted"), chains=chains))


async def asked(provider: Provider, task_type: str = "CHATGPT") -> dict[str, Any]:
    """Ask a provider without a task."""
    question = payload_model(task_type).model_validate(PROMPT)
    return await ask(provider, question, LooseCall(task_type), provider.settings.timeout)


async def run(queue: TaskQueue, providers: Providers, type_: str = "CHATGPT", **options: Any) -> Task:
    """Enqueue a task, run the providers until it has ended, and return it."""
    task = await queue.enqueue(type_, PROMPT, **options)
    scheduler = Scheduler(queue=queue, backoff=Fixed(timedelta(0)))
    scheduler.include(providers.handlers())
    await scheduler.run(burst=True, handle_signals=False)
    return await queue.wait(task.id, timeout=0)


async def test_a_task_goes_through_a_file_a_chain_and_a_real_queue(queue: TaskQueue, tmp_path: Path) -> None:
    """The first fails it, the second answers; types without a chain have no handler."""
    path = tmp_path / "providers.toml"
    path.write_text("""
        [providers.first]
        kind = "simulated"
        mode = "failing"
        median_latency = 0

        [providers.second]
        kind = "simulated"
        median_latency = 0

        [types]
        CHATGPT = ["first", "second"]
    """)

    task = await run(queue, Providers.load(path, environ={}))

    assert (task.state, task.attempt) == (TaskState.COMPLETED, 1)
    assert task.result["simulated"] is True
    assert task.result["text"] == "A simulated answer of ChatGPT to: Who is there?"
    assert {state.name: state.failures for state in await queue.providers()} == {
        "first": 1,
        "second": 0,
    }


async def test_what_is_paid_for_by_the_answer_is_charged_when_it_is_there(queue: TaskQueue) -> None:
    """Contract: AI Mode's products cost one credit each if they were asked for, beyond the task's price."""
    shop = Scripted("shop", {"text": "Three of them.", "productResults": [{"title": name} for name in "abc"]})
    payload = {"prompt": "Which lamp?", "country": "US"}
    wanted = payload | {"include": {"expandProducts": True}}
    await queue.grant("acme", 100)
    tasks = [
        await queue.enqueue("AIMODE", body, tenant="acme", cost=4, hold=10) for body in (payload, wanted)
    ]

    scheduler = Scheduler(queue=queue)
    scheduler.include(providers_of(shop, AIMODE=("shop",)).handlers())
    await scheduler.run(burst=True, handle_signals=False)

    assert [(await queue.wait(task.id, timeout=0)).charged for task in tasks] == [4, 7]
    balance = await queue.balance("acme")
    assert balance is not None
    assert (balance.spent, balance.held) == (11, 0)


async def test_providers_are_opened_once_and_closed_in_the_end(queue: TaskQueue) -> None:
    """Only those of a chain, each once, whatever it stands in; one that does not close is logged."""
    first, stuck, idle = Scripted("first"), Scripted("stuck", "stuck"), Scripted("idle")
    providers = providers_of(first, stuck, idle, CHATGPT=("first", "stuck"), GROK=("first",))

    task = await run(queue, providers)

    assert task.result == {"text": "first heard: Who is there?", "sources": []}
    assert (first.went, stuck.went, idle.went) == (["open", "answer", "close"], ["open", "close"], [])


async def test_types_that_are_skipped_open_no_providers() -> None:
    """Somebody else handles them."""
    first, second = Scripted("first"), Scripted("second")
    group = providers_of(first, second, CHATGPT=("first",), GROK=("second",)).handlers(skipping=("GROK",))

    (lifespan,) = group.lifespans
    async with lifespan():
        assert (first.went, second.went) == (["open"], [])
    assert [registration.type for registration in group] == ["CHATGPT"]


@pytest.mark.parametrize("how", ["refused", "crashed", "hung"])
async def test_one_that_cannot_be_opened_leaves_its_tasks_to_the_next(
    queue: TaskQueue, how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its breaker opens; why is logged, without its secrets."""
    monkeypatch.setattr("scheduler.providers.fleet._OPENING", 0.05)
    reasons = {
        "refused": Misconfigured(f"the key {SECRET} is wrong"),
        "crashed": RuntimeError(SECRET),
        "hung": asyncio.Event(),
    }
    first, second = Scripted("first", opens=reasons[how]), Scripted("second")

    task = await run(queue, providers_of(first, second, CHATGPT=("first", "second")))

    assert task.result["text"] == "second heard: Who is there?"
    state = {each.name: each.condition for each in await queue.providers()}
    assert state == {"first": "open", "second": "ready"}
    assert "provider first cannot be opened" in caplog.text
    assert SECRET not in caplog.text
    assert first.went == ["open"]


async def test_an_answer_takes_no_longer_than_the_timeout(queue: TaskQueue) -> None:
    """The call is stopped, and the task goes to the next."""
    slow, quick = Scripted("slow", asyncio.Event(), timeout=0.05), Scripted("quick")

    task = await run(queue, providers_of(slow, quick, CHATGPT=("slow", "quick")))

    assert task.result["text"] == "quick heard: Who is there?"


async def test_a_call_knows_how_long_it_may_still_take(queue: TaskQueue) -> None:
    """As long as its provider may, and a little less than its attempt has left; never less than nothing."""
    seen: list[timedelta] = []

    class Watching(Scripted):
        async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:
            seen.append(call.remaining)
            return await super().answer(payload, call)

    quick, slow = Watching("a", timeout=3), Watching("b", timeout=300)
    await run(queue, providers_of(quick, CHATGPT=("a",)))
    await run(queue, providers_of(slow, GROK=("b",)), "GROK", timeout=timedelta(seconds=20))

    assert 2 < seen[0].total_seconds() <= 3
    assert 15 < seen[1].total_seconds() <= 19.5
    assert 2 < LooseCall("CHATGPT", timeout=3).remaining.total_seconds() <= 3
    assert LooseCall("CHATGPT", timeout=-1).remaining == timedelta(0)


async def test_a_provider_that_this_worker_did_not_open_is_unavailable(queue: TaskQueue) -> None:
    """Its handler runs without the lifespan that opens it, such as under a name of one's own."""
    first = Scripted("first")
    (registration,) = providers_of(first, CHATGPT=("first",)).handlers()
    scheduler = Scheduler(queue=queue)
    scheduler.handler("MINE", providers=["first"])(registration.function)
    task = await queue.enqueue("MINE", PROMPT, max_attempts=1)
    await scheduler.run(burst=True, handle_signals=False)

    ended = await queue.wait(task.id, timeout=0)
    assert ended.error is not None
    assert ended.error.message == "provider 'first' is not open in this worker"
    assert first.went == []
    assert [(each.name, each.failures) for each in await queue.providers()] == [("first", 1)]


async def test_a_timeout_of_the_providers_own_is_not_ours() -> None:
    """It says nothing of our limit."""
    with pytest.raises(TimeoutError, match="of its own"):
        await asked(Scripted("a", TimeoutError("of its own")))


async def test_a_limit_without_a_time_takes_the_cooldown_of_the_settings() -> None:
    """A time that the service gives is kept."""
    with pytest.raises(RateLimited) as unsaid:
        await asked(Scripted("a", RateLimited(), cooldown=7.5))
    with pytest.raises(RateLimited) as said:
        await asked(Scripted("a", RateLimited(after=3), cooldown=7.5))

    assert unsaid.value.after == timedelta(seconds=7.5)
    assert said.value.after == timedelta(seconds=3)


@pytest.mark.parametrize(
    "error",
    [
        Retry(reason=f"no {SECRET}"),
        Unavailable(f"no {SECRET}"),
        Misconfigured(f"no {SECRET}"),
        RateLimited(reason=f"no {SECRET}"),
        Rejected(f"no {SECRET}"),
        GiveUp("no", details={"key": [SECRET]}),
        RuntimeError(f"no {SECRET}"),
        TimeoutError(f"no {SECRET}"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_errors_keep_their_kind_and_lose_the_secrets(error: Exception) -> None:
    """Tenants read them; an unknown one becomes `Unavailable`, with its class."""
    with pytest.raises(Exception, match="no") as raised:
        await asked(Scripted("a", error))

    kind = type(error) if isinstance(error, Retry | RateLimited | GiveUp) else Unavailable
    assert type(raised.value) is kind
    assert SECRET not in f"{raised.value!r} {vars(raised.value)}"


async def test_a_secret_in_the_cause_of_an_error_is_found(
    queue: TaskQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """Tracebacks are stored with the task, causes included."""
    caplog.set_level(logging.DEBUG)
    error = KeyError("harmless")
    error.__cause__ = ValueError(f"Bearer {SECRET}")

    task = await run(queue, providers_of(Scripted("a", error), CHATGPT=("a",)), max_attempts=1)

    assert task.error is not None
    assert task.error.message == "KeyError: 'harmless'"
    assert SECRET not in f"{task.error} {caplog.text}"


async def test_a_secret_behind_an_error_that_cannot_be_shown_is_found() -> None:
    """Its own text fails, and its cause holds the secret."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    error = Mute()
    error.__cause__ = ValueError(f"Bearer {SECRET}")
    with pytest.raises(Unavailable) as raised:
        await asked(Scripted("a", error))

    assert str(raised.value) == "Mute: its text cannot be shown"
    assert raised.value.__cause__ is None


async def test_an_error_without_secrets_is_raised_as_it_is() -> None:
    """With the traceback of where it came from."""
    error = KeyError("missing")
    with pytest.raises(KeyError) as raised:
        await asked(Scripted("a", error))

    assert raised.value is error


async def test_what_is_no_result_counts_as_a_failure(queue: TaskQueue) -> None:
    """Of the provider; the next one is asked."""
    task = await run(
        queue, providers_of(Scripted("odd", {"text": 5}), Scripted("good"), CHATGPT=("odd", "good"))
    )

    assert task.result["text"] == "good heard: Who is there?"


async def test_an_answer_that_is_no_object_says_what_it_is() -> None:
    """Whoever wrote the provider forgot to return one."""

    class Forgetful(Scripted):
        async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:
            return None  # type: ignore[return-value]

    with pytest.raises(Unavailable, match="the answer is no object but NoneType"):
        await asked(Forgetful("a"))


async def test_addresses_that_take_no_connection_are_told() -> None:
    """Before anything runs; without passwords."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, and not listening: nobody else gets it
        works, gone = (f"127.0.0.1:{each.getsockname()[1]}" for each in (listening, closed))
        providers = providers_of(
            Scripted("nowhere"),
            Located("works", f"http://{works}"),
            Located("gone", f"http://user:{SECRET}@{gone}"),
            Located("odd", "http://127.0.0.1:99999"),
            Located("empty", "http://"),
            Located("long", f"http://{'a' * 70}.invalid"),
        )

        problems = {problem.key.partition(":")[0]: str(problem) for problem in await providers.unreachable()}

    assert set(problems) == {"gone", "odd", "empty", "long"}
    assert "it cannot be reached: " in problems["gone"]
    assert problems["odd"].endswith("it is no address")
    assert problems["empty"].endswith("it has no host")
    assert SECRET not in str(problems)


async def test_an_address_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After three seconds, which a test need not wait for."""
    monkeypatch.setattr("scheduler.providers.fleet._REACHING", 0.01)

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("asyncio.open_connection", never)
    (problem,) = await providers_of(Located("mute", "http://127.0.0.1:1")).unreachable()

    assert problem.what == "it takes no connection within 0.01 s"
