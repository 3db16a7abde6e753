"""`taskqueue enqueue`: tasks from a file or a pipe, in the contract's shape, checked line by line."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from taskqueue.cli import options
from taskqueue.cli.contract import in_contract_words, task_spec
from taskqueue.cli.documents import error_document, task_document
from taskqueue.cli.exits import ExitCode, Stop
from taskqueue.cli.feed import Feed
from taskqueue.cli.logs import showing_warnings
from taskqueue.cli.output import say, write_json, write_line
from taskqueue.cli.reading import BadDocument, Document, read_documents
from taskqueue.cli.runtime import open_queue, run
from taskqueue.errors import IdempotencyConflict, InvalidTask, TaskQueueError
from taskqueue.task import Task, TaskSpec

if TYPE_CHECKING:
    from taskqueue.queue import TaskQueue

CHUNK = 1_000
"""Tasks that are sent at a time."""

_SPOOL_BYTES = 8 * 1024 * 1024
"""A pipe that is read twice stays in memory up to this size, then goes to a temporary file."""


@dataclass(slots=True)
class Counts:
    """What became of the documents so far."""

    enqueued: int = 0
    repeated: int = 0
    """Their key names a task of the same content: enqueued before."""
    refused: int = 0
    """Right, but not taken: their key names another task."""
    invalid: int = 0


def enqueue(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="JSON, a JSON array, or JSON Lines; - reads stdin.")
    ],
    *,
    tenant: Annotated[
        str, typer.Option("--tenant", metavar="TENANT", help="Whose tasks these are.")
    ] = "default",
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Check the whole file first; enqueue nothing if a line is invalid."),
    ] = False,
    allow_repeats: Annotated[
        bool,
        typer.Option(
            "--allow-repeats",
            help="An idempotency key that names the same task already is no failure (for reruns).",
        ),
    ] = False,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Enqueue tasks written in the contract's shape.

    One task: {"taskType": "CHATGPT", "payload": {"prompt": "..."}, "priority": 5,
    "idempotencyKey": "k", "webhook": {"url": "https://..."}}; the last three may be left out.

    Every line is checked, each invalid one is reported with its number, and the others are
    enqueued. Exit code 2 if any was invalid, else 1 if the idempotency key of any is taken, else 0.
    """
    with showing_warnings(), _open(file, again=strict) as stream:
        report = Report(source="stdin" if file == "-" else file, as_json=as_json)
        try:
            run(_enqueue_all(url, queue, stream, tenant, report, strict=strict))
        except TaskQueueError:
            say(f"{report.source}: stopped; so far {report.summary()}")
            raise
    counts = report.counts
    if not as_json:
        write_line(report.summary())
    if counts.invalid:
        raise typer.Exit(ExitCode.BAD_INPUT)
    if counts.refused or (counts.repeated and not allow_repeats):
        raise typer.Exit(ExitCode.NEGATIVE)


@dataclass(slots=True)
class Report:
    """Tells what became of each document: a line of JSON on stdout, or the bad news on stderr.

    Attributes:
        source: Name of the input, for messages.
        as_json: Whether every document gets its line of JSON.
        counts: What there was so far.
        failure: The first error that is no fault of a document, such as a server that went away.
    """

    source: str
    as_json: bool
    counts: Counts = field(default_factory=Counts)
    failure: TaskQueueError | None = None

    def add(self, line: int, outcome: Task | TaskQueueError | str) -> None:
        """Tell what became of the document on *line*; text says why it could not be read."""
        if isinstance(outcome, Task):
            self._accepted(line, outcome)
        elif isinstance(outcome, InvalidTask):
            error = in_contract_words(outcome)
            self._invalid(line, str(error), {"field": error.field, "rule": error.rule})
        elif isinstance(outcome, str):
            self._invalid(line, outcome, None)
        else:
            self._refused(line, outcome)

    def _accepted(self, line: int, task: Task) -> None:
        self.counts.enqueued += 1
        if self.as_json:
            names = ("id", "taskType", "status", "priority", "createdAt", "idempotencyKey")
            document = task_document(task)
            write_json({"line": line, "success": True, "task": {name: document[name] for name in names}})

    def _invalid(self, line: int, message: str, details: dict[str, object] | None) -> None:
        self.counts.invalid += 1
        self._bad(line, "VALIDATION_ERROR", message, details)

    def _refused(self, line: int, error: TaskQueueError) -> None:
        if isinstance(error, IdempotencyConflict):
            self.counts.repeated += error.same_payload
            self.counts.refused += not error.same_payload
            details: dict[str, object] = {
                "field": "idempotencyKey",
                "value": error.key,
                "id": error.task_id,
                "samePayload": error.same_payload,
            }
            self._bad(line, "RESOURCE_ALREADY_EXISTS", str(error), details)
        else:
            self.failure = self.failure or error

    def _bad(self, line: int, code: str, message: str, details: dict[str, object] | None) -> None:
        say(f"{self.source}:{line}: {message}")
        if self.as_json:
            write_json({"line": line, "success": False, "error": error_document(code, message, details)})

    def summary(self) -> str:
        """Return one line with all counts that are not zero."""
        counts = self.counts
        parts = [f"{counts.enqueued:,} enqueued"]
        parts += [f"{counts.repeated:,} enqueued before"] if counts.repeated else []
        parts += [f"{counts.refused:,} refused"] if counts.refused else []
        parts += [f"{counts.invalid:,} invalid"] if counts.invalid else []
        return ", ".join(parts)


@contextmanager
def _open(file: str, *, again: bool) -> Iterator[IO[bytes]]:
    """Open the input; *again* makes a pipe one that can be read twice."""
    if file == "-" and not again:
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        with _explained(file):
            if file == "-":
                stream: IO[bytes] = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES))
                shutil.copyfileobj(sys.stdin.buffer, stream)
                stream.seek(0)
            else:
                stream = stack.enter_context(Path(file).open("rb"))
        yield stream


@contextmanager
def _explained(file: str) -> Iterator[None]:
    """Say which input could not be read; nothing else: a lost server is an OSError too."""
    try:
        yield
    except OSError as error:
        raise Stop(f"cannot read {file}: {error.strerror or error}") from error


def _documents(stream: IO[bytes], source: str) -> Iterator[Document | BadDocument]:
    with _explained(source):
        yield from read_documents(stream)


async def _enqueue_all(
    url: str | None, name: str | None, stream: IO[bytes], tenant: str, report: Report, *, strict: bool
) -> None:
    async with open_queue(url, name) as queue:
        if strict and not _is_right(queue, stream, tenant, report):
            return
        async for batch in Feed(_documents(stream, report.source), CHUNK).batches():
            found = [(document.line, _spec(document, tenant)) for document in batch]
            specs = [spec for _, spec in found if isinstance(spec, TaskSpec)]
            outcomes = iter(await queue.enqueue_many(specs, return_exceptions=True))
            for line, spec in found:
                report.add(line, next(outcomes) if isinstance(spec, TaskSpec) else spec)
            if report.failure is not None:
                raise report.failure


def _spec(document: Document | BadDocument, tenant: str) -> TaskSpec | InvalidTask | str:
    """Return the task of a document, or why there is none."""
    if isinstance(document, BadDocument):
        return document.problem
    try:
        return task_spec(document.value, tenant=tenant)
    except InvalidTask as error:
        return error


def _is_right(queue: TaskQueue, stream: IO[bytes], tenant: str, report: Report) -> bool:
    """Check the whole input without sending anything, report what is wrong, and go back to its start."""
    from taskqueue.codec import encode_entry
    from taskqueue.settings import Settings

    order, max_bytes = queue.store.settings.order, Settings.load().max_payload
    for document in _documents(stream, report.source):
        spec = _spec(document, tenant)
        if isinstance(spec, TaskSpec):
            try:
                encode_entry(spec, max_bytes=max_bytes, order=order)
            except InvalidTask as error:
                report.add(document.line, error)
        else:
            report.add(document.line, spec)
    stream.seek(0)
    return report.counts.invalid == 0
