"""One task at a time: how handlers are called, stopped, timed, and what is reported of them."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from scheduler import CallNext, Context, Fixed, GiveUp, Handlers, RateLimited, Retry, Unavailable
from scheduler.executor import Executor
from scheduler.failover import failing_over
from scheduler.outcomes import MOST_BYTES, Batch, Outcomes
from scheduler.run import Stop
from scheduler.slots import Defaults, Slots
from taskqueue import TaskQueue
from taskqueue.codec import decode_error, decode_value
from taskqueue.errors import InvalidSetting
from taskqueue.store import ClaimedTask, Completion, Failure, Release
from taskqueue.task import Durability
from tests.unit.fake_store import FakeStore, claimed_task

DEFAULTS = Defaults(concurrency=10, timeout=30.0, max_attempts=3, backoff=Fixed(timedelta(seconds=7)))

Handler = Callable[..., Any]


_benches: list[Bench] = []


@pytest.fixture(autouse=True)
async def no_threads_are_left() -> AsyncIterator[None]:
    """Threads of one test must not be found by another."""
    yield
    while _benches:
        _benches.pop().executor.close()


class Bench:
    """An executor with one handler for type T, and everything it needs."""

    def __init__(
        self,
        handler: Handler,
        middleware: tuple[Any, ...] = (),
        queue: TaskQueue | None = None,
        **options: Any,
    ) -> None:
        handlers = Handlers()
        handlers.handler("T", **options)(handler)
        self.rung = asyncio.Event()
        self.store = FakeStore()
        self.slots = Slots(map(failing_over, handlers), DEFAULTS)
        self.outcomes = Outcomes(self.rung.set, Random(1), max_result=100_000)
        self.executor = Executor(
            self.slots,
            self.outcomes,
            self.store.store,
            state="state",
            queue=queue,
            middleware=middleware,
        )

        _benches.append(self)

    def start(self, claimed: ClaimedTask | None = None) -> ClaimedTask:
        """Start a task."""
        claimed = claimed or claimed_task()
        self.executor.start(claimed, time.monotonic())
        return claimed

    async def outcome(self) -> Batch:
        """Return what is reported next."""
        async with asyncio.timeout(5):
            while not self.outcomes:
                await self.rung.wait()
                self.rung.clear()
        return self.outcomes.take()

    async def run(self, claimed: ClaimedTask | None = None) -> Completion | Failure | Release:
        """Start a task and return its one report."""
        self.start(claimed)
        batch = await self.outcome()
        reports: list[Completion | Failure | Release] = []
        reports += [*batch.completions]
        reports += [*batch.failures]
        reports += [*batch.releases]
        [report] = reports
        return report


async def until(predicate: Callable[[], object]) -> None:
    """Let the event loop turn until something is true."""
    async with asyncio.timeout(5):
        while not predicate():
            await asyncio.sleep(0.001)


async def completed(bench: Bench, claimed: ClaimedTask | None = None) -> Any:
    """Run a task and return its result."""
    report = await bench.run(claimed)
    assert isinstance(report, Completion), report
    return decode_value(report.result)


async def failed(bench: Bench, claimed: ClaimedTask | None = None) -> tuple[Failure, Any]:
    """Run a task and return its failure, and the error in it."""
    report = await bench.run(claimed)
    assert isinstance(report, Failure), report
    return report, decode_error(report.error)


class Question(BaseModel):
    """A payload, and a result."""

    prompt: str
    at: datetime | None = None


class Broken(BaseModel):
    """A payload whose own check is wrong."""

    prompt: str

    @field_validator("prompt")
    @classmethod
    def check(cls, value: str) -> str:
        raise ZeroDivisionError(value)


@dataclass
class Answer:
    """A result."""

    text: str
    at: datetime


# ------------------------------------------------------------------------------------- calling


async def test_an_async_handler_gets_the_payload_and_its_result_is_reported() -> None:
    """The report carries the token of the claim."""

    async def double(payload: dict[str, Any]) -> int:
        await asyncio.sleep(0)
        return int(payload["n"] * 2)

    bench = Bench(double)
    claimed = claimed_task(payload={"n": 21})

    report = await bench.run(claimed)

    assert report == Completion(claimed.id, claimed.token, b"*")
    assert bench.executor.running == 0


async def test_a_completion_is_reported_at_the_level_of_its_task() -> None:
    """What was accepted on disk is done on disk."""

    async def handle(payload: dict[str, Any]) -> None: ...

    report = await Bench(handle).run(claimed_task(durability="fsync"))

    assert isinstance(report, Completion)
    assert report.durability is Durability.FSYNC


async def test_a_sync_handler_runs_in_a_daemon_thread() -> None:
    """So it blocks nobody, and a hanging one does not keep the process alive."""

    def who(payload: dict[str, Any], context: Context) -> list[Any]:
        thread = threading.current_thread()
        return [thread.daemon, thread is threading.main_thread(), context.task.payload == payload]

    assert await completed(Bench(who)) == [True, False, True]


async def test_a_context_knows_its_task() -> None:
    """Everything that a handler may want to know of its attempt."""
    seen: dict[str, Any] = {}

    async def look(payload: dict[str, Any], context: Context) -> None:
        seen.update(
            attempt=context.attempt,
            deliveries=context.deliveries,
            key=context.idempotency_key,
            fence=context.fence,
            state=context.state,
            cancelled=context.cancelled,
            remaining=context.remaining,
            deadline=context.deadline,
            shown=repr(context),
        )

    await Bench(look, timeout=60).run(claimed_task(task_id="abc", attempt=2, deliveries=5))

    assert seen.pop("remaining") <= timedelta(seconds=60)
    assert abs(seen.pop("deadline") - datetime.now(UTC) - timedelta(seconds=60)) < timedelta(seconds=5)
    assert seen == {
        "attempt": 2,
        "deliveries": 5,
        "key": "abc",
        "fence": 5,
        "state": "state",
        "cancelled": False,
        "shown": "<Context of T abc, attempt 2>",
    }


async def test_a_contexts_logger_names_the_task_before_every_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without the payload."""

    async def log(payload: dict[str, Any], context: Context) -> None:
        context.logger.warning("half of %d done", 10)

    await Bench(log).run(claimed_task(task_id="abc", payload={"secret": "hush"}))

    assert caplog.messages == ["T abc: half of 10 done"]
    assert caplog.records[0].name == "scheduler.handler"


# ------------------------------------------------------------------------------------ payloads


async def test_an_annotated_payload_arrives_as_its_model() -> None:
    """Validated and converted before the handler is called."""

    async def ask(payload: Question) -> str:
        return f"{type(payload).__name__} {payload.prompt}"

    assert await completed(Bench(ask), claimed_task(payload={"prompt": "why"})) == "Question why"


async def test_a_payload_that_does_not_fit_fails_at_once_with_its_fields() -> None:
    """The handler is not called, no attempt is made again, and the values stay out of the error."""
    called = False

    async def ask(payload: Question) -> None:
        nonlocal called
        called = True

    bench = Bench(ask)
    failure, error = await failed(bench, claimed_task(payload={"prompt": 7, "at": "hush"}))

    assert not called
    assert failure.retry_in_ms is None
    assert error.code == "INVALID_PAYLOAD"
    assert [(each["field"], each["type"]) for each in error.details] == [
        ("prompt", "string_type"),
        ("at", "datetime_from_date_parsing"),
    ]
    assert "prompt" in error.message
    assert "hush" not in str(error)
    assert bench.slots.free == DEFAULTS.concurrency


async def test_a_validator_that_breaks_fails_its_task_at_once() -> None:
    """What is broken for this payload stays broken."""

    async def ask(payload: Broken) -> None: ...

    failure, error = await failed(Bench(ask), claimed_task(payload={"prompt": "x"}))

    assert (failure.retry_in_ms, error.code) == (None, "HANDLER_ERROR")


async def test_a_task_that_cannot_be_read_ends_without_its_handler() -> None:
    """It would come back for ever."""

    async def never(payload: dict[str, Any]) -> None:
        raise AssertionError

    bench = Bench(never)
    failure, error = await failed(bench, replace(claimed_task(), record=b"9|from|the|future"))

    assert (failure.retry_in_ms, error.code) == (None, "UNREADABLE")
    assert bench.executor.runs == {}


# ------------------------------------------------------------------------------------- results


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        ({"a": [1, 2.5, "x", b"y", True]}, {"a": [1, 2.5, "x", b"y", True]}),
        ((1, 2), [1, 2]),
        (
            Question(prompt="why", at=datetime(2030, 1, 2, tzinfo=UTC)),
            {"prompt": "why", "at": "2030-01-02T00:00:00Z"},
        ),
        (
            Answer("because", datetime(2030, 1, 2, tzinfo=UTC)),
            {"text": "because", "at": "2030-01-02T00:00:00Z"},
        ),
    ],
)
async def test_results_are_stored_as_plain_values(value: Any, stored: Any) -> None:
    """Models and dataclasses in the form they have in JSON."""

    async def give(payload: dict[str, Any]) -> Any:
        return value

    assert await completed(Bench(give)) == stored


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "result:"),
        ({"deep": {"set": {1, 2}}}, "result.deep.set"),
        (float("nan"), "a finite number"),
        ("x" * 200_000, "at most 100,000 bytes"),
        (Answer(object(), datetime.now(UTC)), "serialize"),  # type: ignore[arg-type]
        (type, "result:"),
    ],
)
async def test_a_result_that_cannot_be_stored_fails_its_task_with_the_reason(value: Any, reason: str) -> None:
    """The work was done, and doing it again would give the same; the worker goes on."""

    async def give(payload: dict[str, Any]) -> Any:
        return value

    failure, error = await failed(Bench(give))

    assert (failure.retry_in_ms, error.code) == (None, "INVALID_RESULT")
    assert reason in error.message


async def test_one_call_carries_four_megabytes_of_results() -> None:
    """More are left for the next call, in order; a single longer one goes alone."""
    rung = asyncio.Event()
    outcomes = Outcomes(rung.set, Random(1), max_result=2 * MOST_BYTES)

    async def give(payload: dict[str, Any]) -> Any: ...

    bench = Bench(give)
    sizes = [MOST_BYTES - 10, 20, 30, MOST_BYTES + 1, 40]
    for number, size in enumerate(sizes):
        bench.start(claimed_task(task_id=str(number)))
        outcomes.settle(bench.executor.runs[str(number)], b"x" * size, None)

    taken = []
    while outcomes:
        assert rung.is_set()
        rung.clear()
        taken.append([report.id for report in outcomes.take().completions])

    assert taken == [["0"], ["1", "2"], ["3"], ["4"]]


# ------------------------------------------------------------------------------------ failures


async def test_a_failed_attempt_is_retried_after_the_backoff() -> None:
    """The error says what was raised and where, without the values of variables."""

    async def fail(payload: dict[str, Any]) -> None:
        secret = payload["secret"]
        raise ValueError(f"no answer after {len(secret)} tries")

    failure, error = await failed(Bench(fail), claimed_task(payload={"secret": "hush"}))

    assert failure.retry_in_ms == 7000
    assert (error.code, error.message) == ("HANDLER_ERROR", "ValueError: no answer after 4 tries")
    assert error.details["exception"] == "builtins.ValueError"
    assert "in fail" in error.details["traceback"]
    assert "scheduler/executor.py" not in error.details["traceback"]
    assert "hush" not in str(error)


async def test_the_last_attempt_ends_the_task() -> None:
    """Three of the scheduler, unless the handler or the task says otherwise; the task goes first."""

    async def fail(payload: dict[str, Any]) -> None:
        raise ValueError

    default, own = Bench(fail), Bench(fail, max_attempts=2)

    assert (await failed(default, claimed_task(attempt=2)))[0].retry_in_ms == 7000
    assert (await failed(default, claimed_task(attempt=3)))[0].retry_in_ms is None
    assert (await failed(own, claimed_task(attempt=2)))[0].retry_in_ms is None
    assert (await failed(own, claimed_task(attempt=2, max_attempts=4)))[0].retry_in_ms == 7000
    assert (await failed(own, claimed_task(attempt=4, max_attempts=4)))[0].retry_in_ms is None


async def test_retry_spends_the_attempt_and_may_say_when() -> None:
    """After the last attempt it is a failure with the handler's reason."""

    async def again(payload: dict[str, Any]) -> None:
        raise Retry(payload.get("after"), "still computing")

    bench = Bench(again)
    failure, error = await failed(bench, claimed_task(payload={"after": 1.5}))
    assert (failure.retry_in_ms, error.message) == (1500, "still computing")
    assert (await failed(bench))[0].retry_in_ms == 7000
    assert (await failed(bench, claimed_task(attempt=3)))[0].retry_in_ms is None


async def test_rate_limited_gives_the_task_back_without_spending_the_attempt() -> None:
    """Also on the last attempt; the wait is the handler's, or the backoff's."""

    async def limited(payload: dict[str, Any]) -> None:
        raise RateLimited(payload.get("after"))

    bench = Bench(limited)
    claimed = claimed_task(payload={"after": 2}, attempt=3)

    assert await bench.run(claimed) == Release(claimed.id, claimed.token, 2000)
    assert (await bench.run()) == Release("task-1", claimed_task().token, 7000)


async def test_give_up_ends_the_task_at_once() -> None:
    """With the handler's code and details."""

    async def give_up(payload: dict[str, Any]) -> None:
        raise GiveUp("no such page", code="NOT_FOUND", details={"status": 404})

    failure, error = await failed(Bench(give_up))

    assert failure.retry_in_ms is None
    assert (error.code, error.message, error.details) == ("NOT_FOUND", "no such page", {"status": 404})


@pytest.mark.parametrize("is_async", [True, False])
async def test_not_even_a_handler_that_exits_ends_the_worker(is_async: bool) -> None:
    """sys.exit() in a handler is a failed attempt."""

    async def leave(payload: dict[str, Any]) -> None:
        sys.exit(3)

    def leave_in_thread(payload: dict[str, Any]) -> None:
        sys.exit(3)

    _, error = await failed(Bench(leave if is_async else leave_in_thread))

    assert error.message == "SystemExit: 3"


def test_an_interrupt_in_a_handler_ends_the_program() -> None:
    """Ctrl-C may arrive while one runs: it is for whoever runs the event loop, and no failed attempt."""
    benches: list[Bench] = []

    async def interrupted(payload: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        benches.append(Bench(interrupted))
        benches[0].start()
        await asyncio.wait_for(asyncio.Event().wait(), 5)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert not benches[0].outcomes


async def test_a_handler_that_cancels_itself_has_failed() -> None:
    """Nobody asked for it, so it is no cancel of the task."""

    async def cancel_inner(payload: dict[str, Any]) -> None:
        raise asyncio.CancelledError("inner")

    failure, error = await failed(Bench(cancel_inner))

    assert (failure.cancelled, failure.retry_in_ms) == (False, 7000)
    assert error.message == "CancelledError: inner"


async def test_a_task_group_in_a_handler_hides_no_retry() -> None:
    """One exception inside of a group counts as itself."""

    async def again() -> None:
        raise Retry(after=2)

    async def grouped(payload: dict[str, Any]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(again())

    assert (await failed(Bench(grouped)))[0].retry_in_ms == 2000


async def test_the_traceback_of_what_a_group_carried_is_whole() -> None:
    """Its first frame is the handler's, not ours; what was never raised has none."""

    async def part() -> None:
        raise ValueError

    async def grouped(payload: dict[str, Any]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(part())

    async def made_by_hand(payload: dict[str, Any]) -> None:
        raise ExceptionGroup("one of one", [ValueError("never raised")])

    assert "in part" in (await failed(Bench(grouped)))[1].details["traceback"]
    error = (await failed(Bench(made_by_hand)))[1]
    assert (error.message, error.details) == (
        "ValueError: never raised",
        {"exception": "builtins.ValueError"},
    )


async def test_an_exception_that_cannot_be_shown_is_reported_all_the_same() -> None:
    """Reporting must not fail because of what it reports."""

    class Bad(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    async def fail(payload: dict[str, Any]) -> None:
        raise Bad

    assert "Bad" in (await failed(Bench(fail)))[1].message


async def test_a_broken_backoff_costs_no_report(caplog: pytest.LogCaptureFixture) -> None:
    """The default is used, and the fault is logged."""

    class Broken:
        def delay(self, attempt: int, random: Random) -> timedelta:
            raise ZeroDivisionError

    async def fail(payload: dict[str, Any]) -> None:
        raise ValueError

    failure, _ = await failed(Bench(fail, backoff=Broken()))

    assert failure.retry_in_ms is not None
    assert failure.retry_in_ms <= 1000
    assert "the backoff of handler T failed" in caplog.text


async def test_the_log_tells_of_failures_but_not_of_payloads(caplog: pytest.LogCaptureFixture) -> None:
    """The text of an exception may quote the payload; the kind of exception does not."""
    caplog.set_level(logging.INFO)

    async def fail(payload: dict[str, Any]) -> None:
        raise ValueError(payload["secret"])

    await Bench(fail).run(claimed_task(payload={"secret": "hush"}))
    await Bench(fail).run(claimed_task(payload={"secret": "hush"}, attempt=3))

    assert "attempt 1 of 3 failed with ValueError; next in 7.0 s" in caplog.text
    assert "failed with ValueError on attempt 3 and is not retried" in caplog.text
    assert "hush" not in caplog.text


# ---------------------------------------------------------------------------- time and stopping


async def forever(payload: dict[str, Any]) -> None:
    """Never end by itself."""
    await asyncio.Event().wait()


async def test_a_timeout_cancels_the_handler_and_the_attempt_counts() -> None:
    """With a backoff like every failed attempt."""
    failure, error = await failed(Bench(forever, timeout=0.02))

    assert failure.retry_in_ms == 7000
    assert (error.code, "0.02 s" in error.message) == ("TIMEOUT", True)


async def test_the_tasks_own_timeout_beats_the_handlers() -> None:
    """Longer or shorter."""
    claimed = claimed_task(timeout=timedelta(milliseconds=20))

    assert (await failed(Bench(forever, timeout=60), claimed))[1].code == "TIMEOUT"


async def test_each_task_has_a_deadline_of_its_own() -> None:
    """One timer serves all of them, whatever order they come in."""
    bench = Bench(forever)
    for number, milliseconds in enumerate([60_000, 500, 20, 260]):
        bench.start(claimed_task(task_id=str(number), timeout=timedelta(milliseconds=milliseconds)))

    order: list[str] = []
    while len(order) < 3:
        order += [failure.id for failure in (await bench.outcome()).failures]

    assert order == ["2", "3", "1"]
    assert next(iter(bench.executor.runs)) == "0"
    bench.executor.stop_all(Stop.STALE)
    await until(lambda: bench.executor.running == 0)


async def test_a_handler_that_ignores_its_timeout_keeps_its_slot() -> None:
    """Only when it ends is the timeout reported; what it returned is too late."""
    release = asyncio.Event()

    async def stubborn(payload: dict[str, Any]) -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    bench = Bench(stubborn, timeout=0.02)
    bench.start()
    await until(lambda: bench.executor.runs["task-1"].stop is Stop.TIMEOUT)
    await asyncio.sleep(0.02)
    assert bench.slots.by_type() == {"T": DEFAULTS.concurrency - 1}

    release.set()
    [failure] = (await bench.outcome()).failures
    assert decode_error(failure.error).code == "TIMEOUT"
    assert bench.slots.by_type() == {"T": DEFAULTS.concurrency}


async def test_a_sync_handler_is_told_of_its_timeout() -> None:
    """It cannot be stopped; its result comes too late."""

    def patient(payload: dict[str, Any], context: Context) -> str:
        while not context.cancelled:
            time.sleep(0.002)
        assert context.remaining == timedelta(0)
        return "late"

    assert (await failed(Bench(patient, timeout=0.02)))[1].code == "TIMEOUT"


async def test_cancelling_a_running_task_ends_it_as_cancelled() -> None:
    """By id and token; the handler can clean up."""
    cleaned = False

    async def tidy(payload: dict[str, Any]) -> None:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
        finally:
            cleaned = True

    bench = Bench(tidy)
    claimed = bench.start()
    await asyncio.sleep(0)

    bench.executor.cancel([(claimed.id, claimed.token), (claimed.id, claimed.token)])
    [failure] = (await bench.outcome()).failures

    assert cleaned
    assert (failure.cancelled, decode_error(failure.error).code) == (True, "TASK_CANCELLED")


async def test_a_cancel_before_the_first_step_of_a_handler_is_not_lost() -> None:
    """An asyncio task that is cancelled so early ends without running any of its code."""
    bench = Bench(forever)
    claimed = bench.start()

    bench.executor.cancel([(claimed.id, claimed.token)])

    assert [failure.cancelled for failure in (await bench.outcome()).failures] == [True]
    assert bench.executor.running == 0


async def test_a_result_that_beats_the_cancel_is_reported() -> None:
    """The server decides which of the two came first."""

    async def finish(payload: dict[str, Any]) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done anyway"
        return "never"

    bench = Bench(finish)
    claimed = bench.start()
    await asyncio.sleep(0)
    bench.executor.cancel([(claimed.id, claimed.token)])

    assert [decode_value(done.result) for done in (await bench.outcome()).completions] == ["done anyway"]


async def test_a_cancel_for_another_lease_changes_nothing() -> None:
    """A late message about an earlier run of the same task."""
    bench = Bench(forever)
    claimed = bench.start()
    await asyncio.sleep(0)

    bench.executor.cancel([(claimed.id, "other token"), ("other id", claimed.token)])
    bench.executor.lost([(claimed.id, "other token")])
    await asyncio.sleep(0.01)

    assert bench.executor.running == 1
    bench.executor.stop_all(Stop.STALE)
    await until(lambda: bench.executor.running == 0)


async def test_a_lost_lease_stops_the_handler_and_drops_its_outcome(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Somebody else has the task; what this handler says does not count."""
    bench = Bench(forever)
    claimed = bench.start()
    await asyncio.sleep(0)

    bench.executor.lost([(claimed.id, claimed.token)])
    await until(lambda: bench.executor.running == 0)

    assert not bench.outcomes
    assert bench.rung.is_set(), "a slot became free: the claim loop must hear of it"
    assert bench.executor.runs == {}
    assert "its lease was lost" in caplog.text


async def test_a_lost_lease_after_the_end_waits_for_the_answer_to_the_report() -> None:
    """The heartbeat may have been under way while the report was accepted."""

    async def done(payload: dict[str, Any]) -> None: ...

    bench = Bench(done)
    claimed = bench.start()
    batch = await bench.outcome()

    bench.executor.lost([(claimed.id, claimed.token)])
    assert list(bench.executor.runs) == [claimed.id]

    bench.executor.reported(batch.completions[0].id, "other token")
    assert list(bench.executor.runs) == [claimed.id]
    bench.executor.reported(claimed.id, claimed.token)
    assert bench.executor.runs == {}


async def test_the_same_task_claimed_anew_replaces_its_older_run() -> None:
    """The older lease was lost, or there would be no newer one."""
    bench = Bench(forever)
    bench.start(claimed_task(attempt=1))
    await asyncio.sleep(0)

    newer = bench.start(claimed_task(attempt=2))
    await until(lambda: bench.executor.running == 1)

    assert bench.executor.runs[newer.id].token == newer.token
    assert not bench.outcomes
    bench.executor.cancel([(newer.id, newer.token)])
    assert [each.token for each in (await bench.outcome()).failures] == [newer.token]


async def test_a_shutdown_releases_what_it_stopped() -> None:
    """Whatever the handler raises on the way out, the attempt is not spent."""

    async def breaks_on_the_way_out(payload: dict[str, Any]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("half done") from None

    for handler in (forever, breaks_on_the_way_out):
        bench = Bench(handler)
        claimed = bench.start()
        await asyncio.sleep(0)

        bench.executor.stop_all(Stop.SHUTDOWN)

        assert (await bench.outcome()).releases == [Release(claimed.id, claimed.token)]


async def test_a_stronger_reason_to_stop_replaces_a_weaker_one() -> None:
    """A handler that is stopped for the shutdown and then loses its lease reports nothing."""
    bench = Bench(forever)
    claimed = bench.start()
    await asyncio.sleep(0)

    bench.executor.stop_all(Stop.SHUTDOWN)
    bench.executor.lost([(claimed.id, claimed.token)])
    await until(lambda: bench.executor.running == 0)

    assert not bench.outcomes


async def test_a_thread_that_outlives_its_executor_harms_nobody() -> None:
    """Its progress goes nowhere."""
    go_on, done = threading.Event(), threading.Event()

    def late(payload: dict[str, Any], context: Context) -> None:
        go_on.wait(5)
        context.progress(1)
        done.set()

    bench = Bench(late)
    bench.start()
    bench.executor.close()
    go_on.set()

    await until(done.is_set)
    assert bench.store.stored_progress == []
    await until(lambda: bench.executor.running == 0)


# ------------------------------------------------------------------------------------- context


async def test_what_a_handler_tells_of_tokens_and_credits_is_a_whole_number() -> None:
    """Of 0 or more; anything else is its mistake, told at once."""
    refused: list[str] = []

    async def tell(payload: dict[str, Any], context: Context) -> None:
        for bad in (-1, 1.5, "2", True, None):
            for report in (context.spend, context.charge):
                with pytest.raises(InvalidSetting, match="whole number of 0 or more") as raised:
                    report(bad)  # type: ignore[arg-type]
                refused.append(raised.value.setting)
        context.spend(3)
        context.spend(4)
        context.charge(5)

    report = await Bench(tell).run()

    assert refused == ["tokens", "credits"] * 5
    assert isinstance(report, Completion)
    assert (report.tokens, report.charge) == (7, 5)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_context_that_can_give_no_queue_says_what_to_use(is_async: bool) -> None:
    """The queue belongs to the event loop of the scheduler; partitions are opened by the lifespan."""

    def threaded(payload: dict[str, Any], context: Context) -> str:
        return context.queue.name

    async def asynchronous(payload: dict[str, Any], context: Context) -> str:
        return context.queue.name

    async with TaskQueue.connect("memory://") as queue:
        bench = Bench(asynchronous if is_async else threaded, queue=None if is_async else queue)
        _, error = await failed(bench)

    assert error.message.startswith("InvalidSetting: queue")
    assert ("PartitionedQueue" if is_async else "BlockingTaskQueue") in error.message


async def test_a_provider_cannot_be_left_where_there_is_none() -> None:
    """Also when the handler has left the last one itself: then its error ends the attempt as it is."""

    async def leave(payload: dict[str, Any], context: Context) -> str | None:
        return await context.leave("failed")

    async def leave_and_wait(payload: dict[str, Any], context: Context) -> None:
        await context.leave("failed")
        assert context.provider is None
        raise RateLimited(after=3)

    plain, chained = Bench(leave), Bench(leave_and_wait, providers=["first"])

    assert await completed(plain) is None
    claimed = replace(claimed_task(), provider="first")
    assert await chained.run(claimed) == Release(claimed.id, claimed.token, 3000)
    assert (len(plain.store.switches), len(chained.store.switches)) == (0, 1)


async def test_a_provider_is_left_though_the_server_is_away() -> None:
    """Nobody knows who is next: the attempt ends with what its provider said."""

    async def unavailable(payload: dict[str, Any], context: Context) -> None:
        raise Unavailable("it is down")

    bench = Bench(unavailable, providers=["first", "second"])
    bench.store.is_away = True
    failure, error = await failed(bench, replace(claimed_task(), provider="first"))

    assert bench.store.calls == ["switch"]
    assert (error.message, failure.retry_in_ms) == ("it is down", 7000)


async def test_leaving_a_provider_finds_out_that_the_lease_is_lost() -> None:
    """The handler is stopped, and what comes of it is dropped."""

    async def unavailable(payload: dict[str, Any], context: Context) -> None:
        raise Unavailable("it is down")

    bench = Bench(unavailable, providers=["first", "second"])
    bench.store.stale.add("task-1")
    bench.start(replace(claimed_task(), provider="first"))

    await until(lambda: bench.executor.runs == {})
    assert [each["verdict"] for each in bench.store.switches] == ["failed"]
    assert not bench.outcomes


# ------------------------------------------------------------------------------------ progress


async def test_progress_is_awaited_by_async_handlers_and_called_by_the_others() -> None:
    """Stored when the call returns, in both."""
    seen: list[int] = []

    async def asynchronous(payload: dict[str, Any], context: Context) -> None:
        await context.progress({"done": 1})
        seen.append(len(bench.store.stored_progress))

    def synchronous(payload: dict[str, Any], context: Context) -> None:
        context.progress({"done": 2})
        seen.append(len(bench.store.stored_progress))

    for handler in (asynchronous, synchronous):
        bench = Bench(handler)
        await bench.run()
        [(task_id, data)] = bench.store.stored_progress
        assert (task_id, decode_value(data)) == ("task-1", {"done": 1 if handler is asynchronous else 2})
    assert seen == [1, 1]


async def test_a_sync_handler_may_await_nothing_from_progress() -> None:
    """What it returns can be awaited by a handler that somebody runs in a loop of its own."""

    def nested(payload: dict[str, Any], context: Context) -> None:
        async def inner() -> None:
            await context.progress(1)

        asyncio.run(inner())

    bench = Bench(nested)
    await completed(bench)
    assert len(bench.store.stored_progress) == 1


async def test_progress_that_cannot_be_stored_is_the_handlers_error() -> None:
    """Like a result."""

    async def bad(payload: dict[str, Any], context: Context) -> None:
        await context.progress({1, 2})

    assert "progress" in (await failed(Bench(bad)))[1].message


async def test_progress_while_the_server_is_away_does_not_stop_the_handler() -> None:
    """The value is dropped; the work is what counts."""

    async def work(payload: dict[str, Any], context: Context) -> str:
        await context.progress(1)
        return "done"

    bench = Bench(work)
    bench.store.is_away = True

    assert await completed(bench) == "done"


async def test_progress_finds_out_that_the_lease_is_lost() -> None:
    """And stops the handler as the heartbeat would."""

    async def work(payload: dict[str, Any], context: Context) -> None:
        await context.progress(1)
        await asyncio.Event().wait()

    bench = Bench(work)
    bench.store.stale.add("task-1")
    bench.start()

    await until(lambda: bench.executor.runs == {})
    assert not bench.outcomes


async def test_a_cancel_that_a_client_loses_under_progress_stops_the_handler_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Up to Python 3.11 asyncio.wait_for loses some; the client of the server waits with it."""
    asked = asyncio.Event()

    async def work(payload: dict[str, Any], context: Context) -> str:
        await context.progress(1)
        return "never"

    async def wait() -> bool:
        asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return True

    async def loses_a_cancel(task_id: str, token: str, value: bytes) -> bool:
        return await asyncio.create_task(wait())

    bench = Bench(work)
    monkeypatch.setattr(bench.store, "progress", loses_a_cancel)
    claimed = bench.start()
    await asked.wait()
    bench.executor.cancel([(claimed.id, claimed.token)])

    assert [failure.cancelled for failure in (await bench.outcome()).failures] == [True]


def test_a_thread_that_outlives_its_event_loop_harms_nobody() -> None:
    """Its progress and its result go nowhere, and it ends."""
    go_on, done = threading.Event(), threading.Event()

    def late(payload: dict[str, Any], context: Context) -> None:
        go_on.wait(5)
        context.progress(1)
        done.set()

    async def main() -> Bench:
        bench = Bench(late)
        bench.start()
        return bench

    bench = asyncio.run(main())
    go_on.set()

    assert done.wait(5)
    bench.executor._threads.close()
    assert bench.store.stored_progress == []


# ---------------------------------------------------------------------------------- middleware


@pytest.mark.parametrize("is_async", [True, False])
async def test_middleware_wraps_the_handler_first_one_outermost(is_async: bool) -> None:
    """Each sees the context, may change the result, and sees what was raised."""
    seen: list[str] = []

    def named(name: str) -> Any:
        async def middleware(context: Context, call_next: CallNext) -> Any:
            seen.append(f"{name} in {context.task.type}")
            result = await call_next()
            seen.append(f"{name} out")
            return f"{name}({result})"

        return middleware

    async def handle(payload: dict[str, Any], context: Context) -> str:
        seen.append("handler")
        return "result"

    def handle_in_thread(payload: dict[str, Any]) -> str:
        seen.append("handler")
        return "result"

    bench = Bench(handle if is_async else handle_in_thread, middleware=(named("a"), named("b")))

    assert await completed(bench) == "a(b(result))"
    assert seen == ["a in T", "b in T", "handler", "b out", "a out"]


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration(), SystemExit(3)])
async def test_middleware_sees_what_a_handler_in_a_thread_raised(error: BaseException) -> None:
    """Even what a future cannot carry."""
    seen: list[BaseException] = []

    async def watch(context: Context, call_next: CallNext) -> Any:
        try:
            return await call_next()
        except BaseException as raised:
            seen.append(raised)
            raise

    def fail(payload: dict[str, Any]) -> None:
        raise error

    await failed(Bench(fail, middleware=(watch,)))

    assert len(seen) == 1
    assert type(error).__name__ in repr(seen[0])


async def test_middleware_may_answer_for_the_handler_or_ask_for_a_retry() -> None:
    """It has the same words as a handler."""

    async def cache(context: Context, call_next: CallNext) -> Any:
        if context.task.payload.get("cached"):
            return "from the cache"
        raise Retry(after=1)

    async def never(payload: dict[str, Any]) -> None:
        raise AssertionError

    bench = Bench(never, middleware=(cache,))

    assert await completed(bench, claimed_task(payload={"cached": True})) == "from the cache"
    assert (await failed(bench))[0].retry_in_ms == 1000


async def test_a_sync_handler_under_middleware_is_told_to_stop_but_not_abandoned() -> None:
    """Its slot and its report wait for the thread."""

    async def plain(context: Context, call_next: CallNext) -> Any:
        return await call_next()

    def patient(payload: dict[str, Any], context: Context) -> None:
        while not context.cancelled:
            time.sleep(0.002)

    assert (await failed(Bench(patient, middleware=(plain,), timeout=0.02)))[1].code == "TIMEOUT"


async def test_a_sync_handler_may_outlive_the_patience_of_its_middleware() -> None:
    """What comes of it then is dropped, and harms nobody; what the middleware says is the outcome."""
    go_on, done, told = threading.Event(), threading.Event(), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def impatient(context: Context, call_next: CallNext) -> Any:
        try:
            async with asyncio.timeout(0.02):
                return await call_next()
        except TimeoutError:
            return "given up"

    def slow(payload: dict[str, Any]) -> str:
        go_on.wait(5)
        done.set()
        return "too late"

    bench = Bench(slow, middleware=(impatient,))

    assert await completed(bench) == "given up"
    go_on.set()
    await until(done.is_set)
    bench.executor.close()
    await until(
        lambda: not [each for each in threading.enumerate() if each.name.startswith("scheduler-handler")]
    )
    await asyncio.sleep(0)
    assert told == []
