"""Exit codes that scripts can use, and which error ends the program with which of them."""

from __future__ import annotations

from enum import IntEnum

from taskqueue.errors import (
    DurabilityNotReached,
    InvalidSetting,
    InvalidTask,
    QueueCorrupt,
    ServerUnavailable,
    ServerUnsuitable,
    TaskQueueError,
    WaitTimeout,
)


class ExitCode(IntEnum):
    """What a command says about its outcome."""

    OK = 0
    NEGATIVE = 1
    """The thing asked about is not well: task FAILED or unknown, a refusal, a doctor's finding."""
    BAD_INPUT = 2
    """An argument, a file or a value in it breaks a rule."""
    SERVER = 3
    """The server cannot be reached, or cannot keep the promises."""
    TIMED_OUT = 4
    """`wait`: the task had not finished when the time was up."""
    UNEXPECTED = 70
    """A mistake in this program, or in a module of yours that a worker runs."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C."""


EXIT_CODES = """\
Exit codes: 0 done; 1 the thing asked about failed or does not exist; 2 bad input; \
3 server unavailable or unsuitable; 4 wait timed out; 70 unexpected; 130 interrupted."""


class Stop(Exception):
    """End the command now, with one sentence for people and an exit code for scripts.

    Args:
        message: What was wrong, with which value, and what to do.
        code: How the program ends.
    """

    def __init__(self, message: str, code: ExitCode = ExitCode.BAD_INPUT) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


_CODES: tuple[tuple[type[TaskQueueError], ExitCode], ...] = (
    (InvalidTask, ExitCode.BAD_INPUT),
    (InvalidSetting, ExitCode.BAD_INPUT),
    (WaitTimeout, ExitCode.TIMED_OUT),
    (ServerUnavailable, ExitCode.SERVER),
    (ServerUnsuitable, ExitCode.SERVER),
    (DurabilityNotReached, ExitCode.SERVER),
    (QueueCorrupt, ExitCode.SERVER),
)


def code_of(error: TaskQueueError) -> ExitCode:
    """Return the exit code of *error*: refusals and missing tasks are NEGATIVE."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.NEGATIVE
