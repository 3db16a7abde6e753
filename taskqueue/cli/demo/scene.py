"""The demo's tasks: a packaged JSON Lines file in the contract's shape, and what is special in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.resources import files
from typing import TYPE_CHECKING

from taskqueue.cli.contract import in_contract_words, task_spec
from taskqueue.cli.reading import Document, read_documents
from taskqueue.errors import InvalidTask, TaskQueueError
from taskqueue.task import Task

if TYPE_CHECKING:
    from taskqueue.queue import TaskQueue

SOURCE = "tasks.jsonl"

SEED_KEY = "your-custom-identifier-123"
"""Key of the example request that the contract's own documentation shows."""

FAILS_TWICE_KEY = "demo-fails-twice"
ALWAYS_FAILS_KEY = "demo-always-fails"

DELAYS = {"demo-delayed-1": timedelta(seconds=1.5), "demo-delayed-2": timedelta(seconds=3)}
"""The contract has no field for a delay, so the demo adds it to the tasks with these keys."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line of the file that was not accepted, and why."""

    line: int
    error: TaskQueueError


@dataclass(frozen=True, slots=True)
class Scene:
    """What was submitted.

    Attributes:
        accepted: In the order of the file.
        refused: Invalid lines and duplicates, in the order of the file.
        delayed: Ids of the tasks that were submitted with a delay.
    """

    accepted: list[Task]
    refused: list[Refusal]
    delayed: frozenset[str]


async def submit(queue: TaskQueue) -> Scene:
    """Read the packaged file and enqueue its tasks."""
    lines, specs = [], []
    with (files(__package__) / SOURCE).open("rb") as stream:
        for document in read_documents(stream):
            assert isinstance(document, Document), "every line of our own file is JSON"
            spec = task_spec(document.value)
            lines.append(document.line)
            specs.append(replace(spec, delay=DELAYS.get(spec.idempotency_key or "")))
    accepted: list[Task] = []
    refused: list[Refusal] = []
    for line, outcome in zip(lines, await queue.enqueue_many(specs, return_exceptions=True), strict=True):
        if isinstance(outcome, Task):
            accepted.append(outcome)
        else:
            error = in_contract_words(outcome) if isinstance(outcome, InvalidTask) else outcome
            refused.append(Refusal(line, error))
    delayed = frozenset(task.id for task in accepted if task.idempotency_key in DELAYS)
    return Scene(accepted, refused, delayed)
