"""Everything that one call to the server can meet, in the server's own words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from redis import exceptions as redis_errors
from redis.asyncio.connection import DefaultParser

ADMIN = {"PING", "INFO", "CONFIG", "TIME", "FUNCTION", "WAITAOF"}
"""Commands without keys."""

WRITES = {"BLPOP", "LPOP", "ZREM", "DEL"}
SCRIPTS = {"EVALSHA", "EVAL", "FCALL"}


@dataclass(frozen=True)
class Sent:
    """A call on its way to the server.

    Attributes:
        command: Its first word.
        script: Which script it runs; empty if it runs none.
        flags: Of the script, as its first line has them.
        is_durable: Whether a WAIT follows on the same connection.
    """

    command: str
    script: str = ""
    flags: str = ""
    is_durable: bool = False

    def __str__(self) -> str:
        return f"{self.command} {self.script}".strip() + (" and WAIT" if self.is_durable else "")

    @property
    def writes(self) -> bool:
        """Whether a server that takes no writes refuses it."""
        if self.command in SCRIPTS:
            return "no-writes" not in self.flags
        return self.command in WRITES or self.command == "FUNCTION"

    @property
    def needs_memory(self) -> bool:
        """Whether a server that is out of memory refuses it."""
        if self.command in SCRIPTS:
            return "allow-oom" not in self.flags and "no-writes" not in self.flags
        return self.command == "FUNCTION"


@dataclass(frozen=True)
class Fault:
    """What happens to one call.

    Attributes:
        name: What people call it.
        error: Makes what the caller sees.
        meets: Which calls can meet it.
        runs: Whether the server runs the call: `never`, `before` the reply is lost, or `late`, when the
            repeat of the call has been answered.
        cuts: Whether the connection is lost with it.
        on_wait: The script is run and answered; the WAIT behind it meets the error.
        is_final: It is no passing problem: the call may say so, and must have changed nothing.
    """

    name: str
    error: Callable[[], Exception]
    meets: Callable[[Sent], bool]
    runs: Literal["never", "before", "late"] = "never"
    cuts: bool = False
    on_wait: bool = False
    is_final: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class _Said:
    """Makes the exception that redis-py makes of an error of the server."""

    words: str

    def __call__(self) -> Exception:
        error: Exception = DefaultParser.parse_error(self.words)  # type: ignore[no-untyped-call]
        return error


def _any(sent: Sent) -> bool:
    return True


def _not_asked_while_starting(sent: Sent) -> bool:
    return sent.command not in {"INFO", "CONFIG"}


def _has_keys(sent: Sent) -> bool:
    return sent.command not in ADMIN


def _writes_or_ping(sent: Sent) -> bool:
    return sent.writes or sent.command == "PING"


NO_REPLY = Fault("time-out", lambda: redis_errors.TimeoutError("no reply within 5 s"), _any, cuts=True)
# Not the one of redis-py: that of a call which is given up by whoever waits for it.
RUN_WITHOUT_REPLY = replace(NO_REPLY, name="time-out, run all the same", error=TimeoutError, runs="before")
RUN_LATE = replace(
    NO_REPLY,
    name="time-out, run after its repeat",
    meets=lambda sent: sent.command in SCRIPTS and not sent.is_durable,
    runs="late",
)
UNKNOWN_FUNCTION = Fault(
    "Function not found", _Said("ERR Function not found"), lambda sent: sent.command == "FCALL"
)
FULL = Fault(
    "OOM",
    _Said("OOM command not allowed when used memory > 'maxmemory'."),
    lambda sent: sent.needs_memory,
    is_final=True,
)

FAULTS = [
    NO_REPLY,
    RUN_WITHOUT_REPLY,
    RUN_LATE,
    Fault("reset before", lambda: ConnectionResetError(104, "Connection reset by peer"), _any, cuts=True),
    Fault(
        "closed after",
        lambda: redis_errors.ConnectionError("the server closed the connection: no reason given"),
        _any,
        runs="before",
        cuts=True,
    ),
    Fault(
        "READONLY",
        _Said("READONLY You can't write against a read only replica."),
        lambda sent: sent.writes,
        cuts=True,
    ),
    Fault(
        "NOSCRIPT",
        _Said("NOSCRIPT No matching script. Please use EVAL."),
        lambda sent: sent.command == "EVALSHA",
    ),
    UNKNOWN_FUNCTION,
    Fault("TRYAGAIN", _Said("TRYAGAIN Multiple keys request during rehashing of slot"), _has_keys),
    Fault(
        "non local key",
        _Said("ERR Script attempted to access a non local key in a cluster node"),
        lambda sent: sent.command in SCRIPTS,
    ),
    Fault("LOADING", _Said("LOADING Redis is loading the dataset in memory"), _not_asked_while_starting),
    Fault(
        "BUSY",
        _Said("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."),
        _any,
    ),
    FULL,
    Fault(
        "MISCONF",
        _Said("MISCONF Errors writing to the AOF file: No space left on device"),
        _writes_or_ping,
    ),
    Fault("NOREPLICAS", _Said("NOREPLICAS Not enough good replicas to write."), lambda sent: sent.writes),
    Fault("CLUSTERDOWN", _Said("CLUSTERDOWN Hash slot not served"), _has_keys),
    Fault(
        "MASTERDOWN",
        _Said("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
        _not_asked_while_starting,
    ),
    Fault(
        "UNBLOCKED",
        _Said("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"),
        lambda sent: sent.command == "BLPOP",
    ),
    Fault(
        "demoted before WAIT",
        _Said("ERR WAIT cannot be used with replica instances."),
        lambda sent: sent.is_durable,
        on_wait=True,
    ),
]
