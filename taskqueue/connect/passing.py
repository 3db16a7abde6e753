"""Which problems of a call pass by themselves, so that it may be made again."""

from __future__ import annotations

from typing import Final

from redis import exceptions as redis_errors

NO_FUNCTION: Final = "Function not found"
"""What a server says that has not loaded a function, or has lost it."""

NOT_ALLOWED: Final = (redis_errors.AuthenticationError, redis_errors.NoPermissionError)

_REFUSED_FOR_NOW: Final = (
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "NOREPLICAS",
    "MISCONF",
    "UNBLOCKED",
    "MOVED ",
    "ASK ",
    NO_FUNCTION,
)
# The first: a key that a cluster is moving. The second: a WAIT on a master that has just been demoted.
_REFUSED_FOR_NOW_WITHIN: Final = ("non local key", "cannot be used with replica instances")
_RETRIED: Final[tuple[type[Exception], ...]] = (
    redis_errors.InvalidResponse,
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.TryAgainError,
    redis_errors.ClusterDownError,
    redis_errors.MasterDownError,
    redis_errors.MovedError,
    redis_errors.AskError,
    redis_errors.RedisClusterException,
    ConnectionError,
    TimeoutError,
    OSError,
)


def may_be_retried(error: Exception) -> bool:
    """Whether the call that met *error* was not run, or may be run again all the same."""
    if isinstance(error, NOT_ALLOWED):
        return False
    if isinstance(error, _RETRIED):
        return True
    text = str(error)
    return text.startswith(_REFUSED_FOR_NOW) or any(words in text for words in _REFUSED_FOR_NOW_WITHIN)
