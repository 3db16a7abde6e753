"""The public surface: exactly the names of `__all__`, documented, the same in both queues."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import taskqueue
import taskqueue.errors
import taskqueue.testing
from taskqueue import BlockingTaskQueue, TaskQueue, TaskSpec

PROMISED = {
    "BlockingTaskQueue",
    "Durability",
    "DurabilityNotReached",
    "IdempotencyConflict",
    "InvalidTask",
    "LimitReached",
    "PayloadTooLarge",
    "InsufficientCredits",
    "QueueFull",
    "ServerUnavailable",
    "ServerUnsuitable",
    "Stats",
    "Task",
    "TaskError",
    "TaskNotFound",
    "TaskQueue",
    "TaskQueueError",
    "TaskSpec",
    "TaskState",
    "WaitTimeout",
}

INTERNAL = {"store"}
HELPERS = {"lazy_names", "TYPE_CHECKING"}
ROOT = Path(__file__).resolve().parents[1]


def methods(cls: type) -> dict[str, Callable[..., Any]]:
    """Return the public methods of a class, unbound."""
    found = {}
    for name, value in inspect.getmembers_static(cls):
        if not name.startswith("_") and name not in INTERNAL:
            found[name] = value.__func__ if isinstance(value, classmethod) else value
    return found


QUEUE, BLOCKING = methods(TaskQueue), methods(BlockingTaskQueue)


def test_the_public_names_are_the_promised_ones() -> None:
    """Programs import these: a name that goes breaks them, one that comes must be meant to stay."""
    assert set(taskqueue.__all__) == PROMISED
    assert list(taskqueue.__all__) == sorted(taskqueue.__all__)
    assert len(PROMISED) <= 20


def test_nothing_else_is_public() -> None:
    """Whatever else the package has for attributes are its modules."""
    others = {name for name in dir(taskqueue) if not name.startswith("_")} - PROMISED

    assert {name for name in others if not inspect.ismodule(getattr(taskqueue, name))} <= HELPERS
    with pytest.raises(AttributeError, match="no attribute 'TaskQeue'"):
        _ = taskqueue.TaskQeue  # type: ignore[attr-defined]


def test_importing_the_package_imports_no_client() -> None:
    """Whoever only catches an error, or asks for --help, does not wait for a third of a second."""
    code = (
        "import sys, taskqueue; taskqueue.WaitTimeout, taskqueue.TaskSpec; "
        "sys.exit(any(name in sys.modules for name in ('redis', 'pydantic', 'asyncio')))"
    )

    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=30)


def test_a_worker_loads_what_delivers_webhooks_with_the_first_one() -> None:
    """A framework, and cryptography, would be a third of an idle worker's memory."""
    code = (
        "import sys; from scheduler import Scheduler; from taskqueue.settings import Settings; "
        "from taskqueue.cli.deliveries import add_deliveries; from taskqueue.names import WEBHOOK_TYPE; "
        "scheduler = Scheduler(); scheduler.handler('NOTE')(lambda payload: None); "
        "add_deliveries(scheduler, Settings()); assert WEBHOOK_TYPE in scheduler.types; "
        "sys.exit(any(name in sys.modules for name in ('fastapi', 'uvicorn', 'taskqueue.webhooks')))"
    )

    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=30)


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_every_public_name_is_documented(name: str) -> None:
    """A class of our own, with a docstring of its own."""
    value = getattr(taskqueue, name)

    assert value.__module__.startswith("taskqueue")
    assert value.__doc__


@pytest.mark.parametrize("name", sorted(QUEUE))
def test_every_method_is_documented(name: str) -> None:
    """In both queues; the blocking one begins with the same sentence."""
    if name == "connect":
        assert QUEUE[name].__doc__
        assert BLOCKING[name].__doc__
        return
    ours, theirs = inspect.getdoc(QUEUE[name]), inspect.getdoc(BLOCKING[name])

    assert ours
    assert theirs
    assert ours.partition("\n")[0] == theirs.partition("\n")[0]


def test_both_queues_have_the_same_methods() -> None:
    """One cannot get what the other lacks."""
    assert set(QUEUE) == set(BLOCKING)


@pytest.mark.parametrize("name", sorted(QUEUE))
def test_both_queues_take_the_same_arguments(name: str) -> None:
    """Names, order, defaults and types of every parameter, and the type of what is returned."""
    ours, theirs = inspect.signature(QUEUE[name]), inspect.signature(BLOCKING[name])

    assert list(ours.parameters.values()) == list(theirs.parameters.values())
    returned = {"connect": ("Connecting", "Self"), "tasks": ("AsyncIterator[Task]", "Iterator[Task]")}
    same = (ours.return_annotation, ours.return_annotation)
    assert (ours.return_annotation, theirs.return_annotation) == returned.get(name, same)


@pytest.mark.parametrize("name", sorted(set(QUEUE) - {"connect", "tasks"}))
def test_only_the_async_queue_is_awaited(name: str) -> None:
    """The blocking one returns the thing itself."""
    assert inspect.iscoroutinefunction(QUEUE[name])
    assert not inspect.iscoroutinefunction(BLOCKING[name])


def test_enqueue_takes_every_field_of_a_specification() -> None:
    """One task and many can be told the same things, with the same defaults."""
    parameters = dict(inspect.signature(TaskQueue.enqueue).parameters)
    del parameters["self"]
    fields = inspect.signature(TaskSpec).parameters

    assert {name: value.default for name, value in parameters.items()} == {
        name: value.default for name, value in fields.items()
    }


def test_every_exception_is_in_the_drawn_tree() -> None:
    """The docstring of `taskqueue.errors` shows the tree that there is."""
    drawn = taskqueue.errors.__doc__ or ""
    errors = [
        value
        for value in vars(taskqueue.errors).values()
        if inspect.isclass(value) and issubclass(value, Exception)
    ]

    assert errors
    for error in errors:
        assert error.__name__ in drawn
        assert issubclass(error, taskqueue.TaskQueueError)


def test_the_testing_helpers_are_documented() -> None:
    """They are shipped to users, so they are part of the surface."""
    assert taskqueue.testing.__all__ == ["FakeClock", "drain", "memory_queue"]
    for name in taskqueue.testing.__all__:
        assert getattr(taskqueue.testing, name).__doc__


def test_the_testing_helpers_do_not_need_pytest() -> None:
    """A user may test with something else."""
    code = "import sys; sys.modules['pytest'] = None; from taskqueue.testing import drain, FakeClock"

    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=30)
