"""Turns how handlers ended into what is reported, and keeps it until the next report."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import accumulate
from random import Random
from typing import Any

from scheduler.backoff import Exponential
from scheduler.errors import GiveUp, RateLimited, Retry
from scheduler.results import (
    HANDLER_ERROR,
    encode_result,
    error_of_cancel,
    error_of_exception,
    error_of_record,
    error_of_result,
    error_of_timeout,
)
from scheduler.run import Run, Stop
from taskqueue.codec import MAX_PAYLOAD, encode_error
from taskqueue.errors import InvalidTask
from taskqueue.store import ClaimedTask, Completion, Failure, Release
from taskqueue.task import TaskError

logger = logging.getLogger("scheduler.executor")

MOST_BYTES = 4 * 1024 * 1024
"""Results that one call carries at the most, unless a single one is longer."""

_MANY = 32
"""Completions that are worth a call while another one is under way."""

_DEFAULT_BACKOFF = Exponential()


@dataclass(slots=True)
class Batch:
    """Everything that ended and was not reported yet."""

    completions: list[Completion] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.completions or self.failures or self.releases)


class Outcomes:
    """Collects what the claim loop reports with its next call.

    Args:
        wake: Tells the claim loop that there is something to report.
        random: Source of chance for backoffs.
        max_result: How long an encoded result may be, in bytes.

    Attributes:
        when_many: Called whenever so many tasks have succeeded that they are worth a call of their own.
    """

    def __init__(self, wake: Callable[[], None], random: Random, max_result: int = MAX_PAYLOAD) -> None:
        self.when_many: Callable[[], None] | None = None
        self._wake = wake
        self._random = random
        self._max_result = max_result
        self._batch = Batch()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._batch)

    def take(self) -> Batch:
        """Return what was collected; of the results no more than one call should carry."""
        batch, self._batch = self._batch, Batch()
        if self._bytes > MOST_BYTES:
            fitting = _how_many_fit(batch.completions)
            self._batch.completions = batch.completions[fitting:]
            del batch.completions[fitting:]
            self._wake()
        self._bytes = sum(len(done.result) for done in self._batch.completions)
        return batch

    def again(self, report: Completion | Failure | Release) -> None:
        """Keep a report that was not answered, for a later call; rings for nobody."""
        if isinstance(report, Completion):
            self._batch.completions.append(report)
            self._bytes += len(report.result)
        elif isinstance(report, Failure):
            self._batch.failures.append(report)
        else:
            self._batch.releases.append(report)

    def settle(self, run: Run, value: Any, error: BaseException | None) -> bool:
        """Decide what is reported about a handler that has ended.

        Args:
            run: Its run.
            value: What it returned.
            error: What it raised; None if it returned.

        Returns:
            Whether anything is reported. Not about a run whose lease was lost.
        """
        # Even where nothing is reported a slot became free.
        self._wake()
        stop = run.stop
        if stop is Stop.STALE:
            return False
        if stop is Stop.TIMEOUT:
            limit = run.task.timeout.total_seconds() if run.task.timeout is not None else run.handler.timeout
            self._attempt_failed(run, error_of_timeout(limit))
        elif error is None:
            # Also after a cancel or a shutdown: work that was done is reported as done.
            self._completed(run, value)
        elif stop is Stop.CANCELLED:
            failure = Failure(run.id, run.token, encode_error(error_of_cancel()), None, cancelled=True)
            self._batch.failures.append(failure)
        else:
            self._raised(run, _single(error))
        return True

    def refuse(self, run: Run, error: TaskError) -> None:
        """Report a task that failed before its handler was called, and would do so again."""
        self._failed(run, error)
        self._wake()

    def release(self, claimed: ClaimedTask) -> None:
        """Report a claimed task that will not be started here."""
        self._batch.releases.append(Release(claimed.id, claimed.token))
        self._wake()

    def unreadable(self, claimed: ClaimedTask, problem: Exception) -> None:
        """Report a task whose record cannot be read: it ends, because nobody could ever run it."""
        logger.error("task %s cannot be read and ends as FAILED: %s", claimed.id, problem)
        error = encode_error(error_of_record(problem))
        self._batch.failures.append(Failure(claimed.id, claimed.token, error, None))
        self._wake()

    def _completed(self, run: Run, value: Any) -> None:
        try:
            data = encode_result(value, self._max_result)
        except InvalidTask as problem:
            self._failed(run, error_of_result(problem))
        except Exception as problem:  # noqa: BLE001  a model's own serialiser may raise anything
            self._failed(run, error_of_result(problem))
        else:
            done = Completion(run.id, run.token, data, run.task.durability, run.charge, run.tokens)
            self._batch.completions.append(done)
            self._bytes += len(data)
            if len(self._batch.completions) == _MANY and self.when_many is not None:
                self.when_many()

    def _raised(self, run: Run, error: BaseException) -> None:
        if isinstance(error, GiveUp):
            self._failed(run, TaskError(error.code, error.reason, error.details))
        elif isinstance(error, RateLimited):
            after = error.after
            if after is None:
                after = self._backoff(run, run.task.deliveries)
            logger.debug("task %s (%s) is rate limited: %s", run.id, run.handler.type, error.reason)
            self._batch.releases.append(Release(run.id, run.token, _ms(after)))
        elif isinstance(error, Retry):
            self._attempt_failed(run, TaskError(HANDLER_ERROR, error.reason), error.after)
        elif run.stop is Stop.SHUTDOWN:
            # Stopped by us in mid-work: whatever came out of that says nothing about the task.
            self._batch.releases.append(Release(run.id, run.token))
        else:
            self._attempt_failed(run, error_of_exception(error), cause=error)

    def _attempt_failed(
        self, run: Run, error: TaskError, after: timedelta | None = None, cause: BaseException | None = None
    ) -> None:
        """Report a failed attempt: to be retried while there are attempts left."""
        most = run.task.max_attempts or run.handler.max_attempts
        if run.task.attempt >= most:
            self._failed(run, error, cause)
            return
        if after is None:
            after = self._backoff(run, run.task.attempt)
        # The text of an exception may quote the payload, so it is stored with the task, not logged.
        what = error.code if cause is None else type(cause).__name__
        logger.info(
            "task %s (%s): attempt %d of %d failed with %s; next in %.1f s",
            run.id,
            run.handler.type,
            run.task.attempt,
            most,
            what,
            after.total_seconds(),
        )
        logger.debug("task %s: where it failed", run.id, exc_info=cause)
        self._batch.failures.append(Failure(run.id, run.token, encode_error(error), _ms(after)))

    def _backoff(self, run: Run, attempt: int) -> timedelta:
        try:
            return max(timedelta(0), run.handler.backoff.delay(attempt, self._random))
        except Exception:
            # A backoff of the user's own: its fault must not cost the report of the attempt.
            logger.exception("the backoff of handler %s failed; the default is used", run.handler.type)
            return _DEFAULT_BACKOFF.delay(attempt, self._random)

    def _failed(self, run: Run, error: TaskError, cause: BaseException | None = None) -> None:
        what = error.code if cause is None else type(cause).__name__
        logger.warning(
            "task %s (%s) failed with %s on attempt %d and is not retried; its error is stored with it",
            run.id,
            run.handler.type,
            what,
            run.task.attempt,
        )
        logger.debug("task %s: where it failed", run.id, exc_info=cause)
        self._batch.failures.append(Failure(run.id, run.token, encode_error(error), None))


def _how_many_fit(completions: list[Completion]) -> int:
    totals = accumulate(len(done.result) for done in completions)
    return max(1, sum(total <= MOST_BYTES for total in totals))


def _ms(wait: timedelta) -> int:
    return round(wait.total_seconds() * 1000)


def _single(error: BaseException) -> BaseException:
    """Return the one exception inside of a group, so that a TaskGroup in a handler hides no Retry."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
