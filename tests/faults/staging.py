"""A stage: one queue on a real server, its public verbs, and a ledger of what they answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field, is_dataclass
from itertools import count
from typing import Any, NamedTuple

import redis

from taskqueue import Task, TaskQueue, TaskSpec
from taskqueue.errors import ServerFull, ServerUnavailable, TaskQueueError
from taskqueue.store import ClaimedTask, Completion, Failure, Release
from taskqueue.testing import FakeClock
from tests.faults.injecting import Injector
from tests.lua.scene import BOOM, Scene

TYPES = ("GROK", "GEMINI", "ROUTED", "_webhook")
RESULT = b"\x81\xa2ok\xc3"

_PATIENCE = 30.0  # seconds; far more than any run takes

Call = Callable[[], Awaitable[Any]]
Excuse = Callable[[Any], bool]


def _never(answer: Any) -> bool:
    return False


class GaveUp(Exception):
    """The call ran out of patience, as it was told to: its fate is unknown, and the story ends there."""


class Broken(Exception):
    """A call did what it must not: the story cannot go on."""


class Answer(NamedTuple):
    """What a call answered, as plain values.

    Attributes:
        value: The answer, or the refusal.
        is_excused: The documentation allows this answer after the fault that there was.
    """

    value: Any
    is_excused: bool = False


@dataclass
class Ledger:
    """What was answered: the history that the promises are held against.

    Attributes:
        accepted: Tasks by id, as they were accepted.
        removed: Ids that were cleared or discarded.
        completed: How many completions of a task were accepted, over all tokens.
        granted: Credits by tenant.
        starts: The tasks of each claim that answered, in its order.
        held: Claims that their worker still has.
        kept: What else the story needs from what happened before.
    """

    accepted: dict[str, Task] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    completed: Counter[str] = field(default_factory=Counter)
    granted: Counter[str] = field(default_factory=Counter)
    starts: list[list[ClaimedTask]] = field(default_factory=list)
    held: dict[str, ClaimedTask] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)


class Stage:
    """One queue, played on again and again.

    Attributes:
        url: Of the server.
        queue: What users hold.
        scene: Short verbs of the store, looks, snapshots.
        ledger: The history of this run.
        answers: What each call of this run answered, in order, as plain values.
        problems: What a call did that it must not.
        was_refused: A call raised `ServerFull`.
        is_impatient: A call that meets a fault has no patience for another try.
    """

    def __init__(
        self, url: str, queue: TaskQueue, clock: FakeClock, client: redis.Redis, injector: Injector
    ) -> None:
        self.url = url
        self.queue = queue
        self.scene = Scene(queue.store, clock, client)
        self.injector = injector
        self.ledger = Ledger()
        self.answers: list[Answer] = []
        self.problems: list[str] = []
        self.was_refused = False
        self.is_impatient = False

    @property
    def store(self) -> Any:
        """The queue's store, with its verbs for workers and maintenance."""
        return self.queue.store

    def begin(self, ledger: Ledger, *, is_impatient: bool) -> None:
        """Start another run from the history that there is."""
        self.ledger = deepcopy(ledger)
        self.answers, self.problems = [], []
        self.was_refused, self.is_impatient = False, is_impatient
        self.store._caller.patience = 0.0 if is_impatient else _PATIENCE
        self.injector.made = 0
        # Not those of what happened before: a claim that is asked for again gets the same tasks again.
        self.scene._requests = (f"act-{number}" for number in count(1))

    async def ask(self, call: Call, *, repeated: Excuse = _never, lost: Excuse = _never) -> Any:
        """Make a public call; note its answer, or its documented refusal.

        Args:
            call: The call.
            repeated: Whether an answer is one that the documentation allows if the call was run twice.
            lost: Likewise, if a connection was lost, or the server refused.

        Raises:
            GaveUp: If it was told to have no patience, and ran out of it.
            Broken: If it did what it must not.
        """
        before, made = self.scene.snapshot() if self._may_be_refused else {}, self.injector.made
        try:
            answer = await _made(call)
        except ServerUnavailable as problem:
            if self.is_impatient and self._was_met:
                raise GaveUp from problem
            if not (isinstance(problem, ServerFull) and self._was_refused):
                self.problems.append(f"it raised {problem!r}")
                raise Broken from problem
            if self.scene.snapshot() != before:
                self.problems.append(f"it was refused ({problem}), and left something")
            self.was_refused = True
            # The server has memory again, and the user tries again.
            self.injector.made = made
            return await self.ask(call, repeated=repeated, lost=lost)
        is_excused = (self.was_run_twice and repeated(answer)) or (self._was_met and lost(answer))
        self.answers.append(Answer(plain(answer), is_excused))
        return answer

    @property
    def _was_met(self) -> bool:
        return self.injector.met is not None

    @property
    def _may_be_refused(self) -> bool:
        return self.injector.fault is not None and self.injector.fault.is_final

    @property
    def _was_refused(self) -> bool:
        return self.injector.fault is not None and self.injector.fault.is_final and self._was_met

    @property
    def was_run_twice(self) -> bool:
        """Whether the server runs a call of this run, and its repeat."""
        return self.injector.fault is not None and self.injector.fault.runs != "never" and self._was_met

    def note(self, value: Any) -> None:
        """Note what a call left in the caller's own hands, as an answer."""
        self.answers.append(Answer(plain(value)))

    # Producers -----------------------------------------------------------------------------------

    async def enqueue(self, type_: str = "GROK", /, **fields: Any) -> Any:
        """Enqueue one task."""
        return self._accept(await self.ask(lambda: self.queue.enqueue(type_, {"text": "hello"}, **fields)))

    async def enqueue_many(self, *specs: dict[str, Any], return_exceptions: bool = False) -> Any:
        """Enqueue several in one call."""
        tasks = [TaskSpec(**({"type": "GROK", "payload": {"text": "hello"}} | spec)) for spec in specs]
        many = self.queue.enqueue_many
        answer = await self.ask(lambda: many(tasks, return_exceptions=return_exceptions))
        for each in answer if isinstance(answer, list) else ():
            self._accept(each)
        return answer

    def _accept(self, answer: Any) -> Any:
        if isinstance(answer, Task):
            self.ledger.accepted[answer.id] = answer
        return answer

    async def grant(self, tenant: str, credits: int) -> None:  # noqa: A002 - the field's word
        """Grant credits."""
        await self.ask(lambda: self.queue.grant(tenant, credits))
        self.ledger.granted[tenant] += credits

    # Workers -------------------------------------------------------------------------------------

    async def claim(
        self, slots: Mapping[str, int] | Sequence[str] = ("GROK",), **options: Any
    ) -> list[ClaimedTask]:
        """Claim; what comes is held."""
        request = self.scene.request(slots, **options)
        return self._take(await self.ask(lambda: self.store.claim(request)))

    async def complete(self, *ids: str, slots: Any = None, **fields: Any) -> list[ClaimedTask]:
        """Complete tasks that are held, and claim in the same call if slots are given."""
        done = [self._report(Completion, name, RESULT, **fields) for name in ids]
        request = None if slots is None else self.scene.request(slots)
        answer = await self.ask(lambda: self.store.complete(done, request))
        words, claim = answer
        for name, word in zip(ids, words, strict=True):
            self.ledger.completed[name] += word == "completed"
        return self._take(claim) if claim is not None else []

    async def fail(self, name: str, retry_in_ms: int | None = None, *, cancelled: bool = False) -> None:
        """Fail a task that is held."""
        failure = self._report(Failure, name, BOOM, retry_in_ms, cancelled)
        await self.ask(lambda: self.store.fail([failure]))

    async def release(self, name: str, delay_ms: int = 0) -> None:
        """Release a task that is held."""
        release = self._report(Release, name, delay_ms)
        await self.ask(lambda: self.store.release([release]))

    def _report(self, kind: Any, name: str, *rest: Any, **fields: Any) -> Any:
        return kind(name, self.ledger.held.pop(name).token, *rest, **fields)

    def _take(self, claim: Any) -> list[ClaimedTask]:
        tasks: list[ClaimedTask] = claim.tasks
        self.ledger.starts.append(tasks)
        self.ledger.held |= {task.id: task for task in tasks}
        return tasks


@asynccontextmanager
async def staged(
    url: str, name: str, clock: FakeClock, client: redis.Redis, injector: Injector, **options: Any
) -> AsyncIterator[Stage]:
    """Open a queue for a stage."""
    async with TaskQueue.connect(url, name=name, clock=clock, **options) as queue:
        yield Stage(url, queue, clock, client, injector)


async def _made(call: Call) -> Any:
    """Return what a call answers, or the refusal that it raises; one that may be repeated is raised."""
    try:
        answer = await call()
    except ServerUnavailable:
        raise
    except TaskQueueError as refusal:
        return refusal
    for each in answer if isinstance(answer, list) else ():
        if isinstance(each, ServerUnavailable):
            raise each
    return answer


def plain(value: Any) -> Any:
    """Return an answer as values that compare."""
    if isinstance(value, BaseException):
        return type(value).__name__, str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value).__name__, plain(asdict(value))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
