"""Runs one claimed task: checks its payload, calls its handler, watches its time, and says how it ended.

An async handler runs as one asyncio task in the scheduler's event loop, any other in a thread. A
handler keeps its slot until it has really ended, whatever was asked of it meanwhile.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError

from scheduler.context import Context, Surroundings
from scheduler.deadlines import Deadlines
from scheduler.outcomes import Outcomes
from scheduler.results import error_of_exception, error_of_payload
from scheduler.run import Run, Stop
from scheduler.slots import Slots
from scheduler.threads import DaemonThreads
from scheduler.work import Work
from taskqueue.errors import QueueCorrupt
from taskqueue.queue import TaskQueue
from taskqueue.store import ClaimedTask
from taskqueue.task import TaskError

logger = logging.getLogger("scheduler.executor")

CallNext = Callable[[], Awaitable[Any]]
"""Calls the next middleware, or the handler, and returns what it returned."""

Middleware = Callable[[Context, CallNext], Awaitable[Any]]
"""An async function around every task; what it returns becomes the result."""


Done = Callable[[Any, BaseException | None], None]
"""Gets what a handler returned, or what it raised."""


class Executor:
    """Runs claimed tasks in the slots that the claim loop has claimed them for.

    Args:
        slots: Counts what runs; holds the handlers.
        outcomes: Gets how every run ended.
        store: Where handlers' progress is stored.
        state: What the lifespan yielded; handlers reach it through their context.
        queue: The queue; handlers reach it likewise.
        middleware: Wrapped around every task; the first is the outermost.
    """

    def __init__(
        self,
        slots: Slots,
        outcomes: Outcomes,
        store: Work,
        *,
        state: Any = None,
        queue: TaskQueue | None = None,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        self._runs: dict[str, Run] = {}
        self._slots = slots
        self._outcomes = outcomes
        self._middleware = tuple(reversed(middleware))
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._runs, partial(self._stop, reason=Stop.TIMEOUT))
        self._threads = DaemonThreads(slots.for_threads, "scheduler-handler")
        self._surroundings = Surroundings(store, state, partial(self._stop, reason=Stop.STALE), queue)
        # Runs whose task was claimed anew while they went on: somebody must hold on to them, because
        # an event loop keeps only weak references to its tasks.
        self._replaced: set[Run] = set()

    @property
    def runs(self) -> Mapping[str, Run]:
        """Every run by its task's id, from its claim until its report is answered."""
        return self._runs

    @property
    def running(self) -> int:
        """How many handlers have not ended."""
        return self._slots.running

    def start(self, claimed: ClaimedTask, claimed_at: float) -> None:
        """Start the handler of a claimed task.

        Args:
            claimed: The task, as the claim returned it.
            claimed_at: When that claim was sent, on the monotonic clock.
        """
        try:
            task = claimed.task()
        except QueueCorrupt as problem:
            self._outcomes.unreadable(claimed, problem)
            return
        if (old := self._runs.get(claimed.id)) is not None:
            # Claimed again, here of all places: the older lease was lost without our noticing.
            self._stop(old, Stop.STALE)
            if not old.has_ended:
                self._replaced.add(old)
        handler = self._slots.handlers[task.type]
        timeout = handler.timeout if task.timeout is None else task.timeout.total_seconds()
        run = Run(claimed, task, handler, claimed_at, time.monotonic() + timeout)
        self._runs[run.id] = run
        payload: Any = task.payload
        if handler.adapter is not None:
            try:
                payload = handler.adapter.validate_python(payload)
            except ValidationError as problem:
                self._refuse(run, error_of_payload(problem))
                return
            except Exception as problem:  # noqa: BLE001  a model's own validator may raise anything
                self._refuse(run, error_of_exception(problem))
                return
        self._slots.take(handler)
        self._call(run, payload)
        self._deadlines.watch(run)

    def lost(self, leases: Sequence[tuple[str, str]]) -> None:
        """Stop the handlers of these (id, token): their leases are not ours any more."""
        for run in self._running(leases):
            logger.warning(
                "task %s (%s): its lease was lost; the handler is stopped", run.id, run.handler.type
            )
            self._stop(run, Stop.STALE)

    def cancel(self, leases: Sequence[tuple[str, str]]) -> None:
        """Stop the handlers of these (id, token): somebody cancelled their tasks."""
        for run in self._running(leases):
            self._stop(run, Stop.CANCELLED)

    def stop_all(self, reason: Stop) -> None:
        """Stop every handler that has not ended."""
        for run in list(self._runs.values()):
            if not run.has_ended:
                self._stop(run, reason)

    def reported(self, task_id: str, token: str) -> None:
        """Forget a run, because the server has answered what was reported of it."""
        run = self._runs.get(task_id)
        if run is not None and run.token == token:
            del self._runs[task_id]

    def close(self) -> None:
        """Start nothing more; handlers in threads that have not ended are left to themselves."""
        self._deadlines.close()
        self._threads.close()
        self._surroundings.is_over = True

    def _running(self, leases: Sequence[tuple[str, str]]) -> list[Run]:
        found = [(self._runs.get(task_id), token) for task_id, token in leases]
        # What has ended is left alone: the answer to its report says whether it came too late.
        return [run for run, token in found if run is not None and run.token == token and not run.has_ended]

    def _refuse(self, run: Run, error: TaskError) -> None:
        run.has_ended = True
        self._outcomes.refuse(run, error)

    def _call(self, run: Run, payload: Any) -> None:
        handler = run.handler
        if handler.is_async or self._middleware:
            run.future = self._loop.create_task(self._perform(run, payload))
        else:
            self._start_thread(run, payload, partial(self._end, run))

    async def _perform(self, run: Run, payload: Any) -> None:
        run.has_begun = True
        value, problem = None, None
        if run.stop is None:
            try:
                handler = run.handler
                if self._middleware:
                    value = await self._through_middleware(run, payload)
                elif handler.takes_context:
                    value = await handler.function(payload, self._context(run))
                else:
                    value = await handler.function(payload)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:  # noqa: BLE001  also a cancel, and sys.exit() in a handler
                problem = error
        else:
            problem = asyncio.CancelledError()
        self._end(run, value, problem)
        # Its traceback holds this frame, which must not hold it in turn.
        problem = None

    async def _through_middleware(self, run: Run, payload: Any) -> Any:
        context = self._context(run)
        call: CallNext = partial(self._call_handler, run, payload, context)
        for middleware in self._middleware:
            call = partial(middleware, context, call)
        return await call()

    async def _call_handler(self, run: Run, payload: Any, context: Context) -> Any:
        function = run.handler.function
        if not run.handler.is_async:
            done: asyncio.Future[Any] = self._loop.create_future()
            self._start_thread(run, payload, partial(_resolve, done))
            return await done
        return await (function(payload, context) if run.handler.takes_context else function(payload))

    def _start_thread(self, run: Run, payload: Any, done: Done) -> None:
        arguments = (payload, self._context(run)) if run.handler.takes_context else (payload,)
        call = partial(contextvars.copy_context().run, run.handler.function, *arguments)
        self._threads.submit(partial(_work, call, self._loop, done))

    def _context(self, run: Run) -> Context:
        return Context(run, self._surroundings)

    def _stop(self, run: Run, reason: Stop) -> None:
        if run.stop is not None:
            run.stop = max(run.stop, reason)
            return
        run.stop = reason
        # Before its first step a coroutine cannot be cancelled: it would end without a word.
        if run.future is not None and run.handler.is_async and run.has_begun:
            run.future.cancel()

    def _end(self, run: Run, value: Any, error: BaseException | None) -> None:
        run.has_ended = True
        self._slots.give(run.handler)
        is_reported = self._outcomes.settle(run, value, error)
        if not is_reported:
            self._replaced.discard(run)
            if self._runs.get(run.id) is run:
                del self._runs[run.id]


def _work(
    call: Callable[[], Any],
    loop: asyncio.AbstractEventLoop,
    done: Done,
) -> None:
    """Call a handler in this thread, and bring what came of it back into the event loop."""
    value, problem = None, None
    try:
        value = call()
    except BaseException as error:  # noqa: BLE001  also sys.exit() in a handler; nobody else is there to see it
        problem = error
    try:
        loop.call_soon_threadsafe(done, value, problem)
    except RuntimeError:
        logger.debug("a handler ended after its scheduler; what came of it is dropped")
    problem = None  # its traceback holds this frame, which must not hold it in turn


def _resolve(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        # A future cannot carry StopIteration, and would take a cancel for its own.
        is_plain = isinstance(error, Exception) and not isinstance(error, StopIteration)
        future.set_exception(error if is_plain else RuntimeError(repr(error)))
