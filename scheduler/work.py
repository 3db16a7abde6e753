"""Where a scheduler's tasks come from and where their outcomes go: a store, or the partitions of a queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taskqueue.store import (
    Claim,
    ClaimRequest,
    Completion,
    Ended,
    Extension,
    Failure,
    Release,
    Switched,
    Verdict,
)


class Work(Protocol):
    """What the claim loop and running handlers ask of the server; see `Store`, which answers all of it."""

    async def complete(
        self,
        completions: Sequence[Completion],
        claim: ClaimRequest | None = None,
        *,
        patience: float | None = None,
    ) -> tuple[Sequence[Ended | None], Claim | None]:
        """Report what succeeded, and claim; None stands for a report that must be made again."""

    async def claim(self, request: ClaimRequest, *, patience: float | None = None) -> Claim:
        """Borrow the best tasks of some types."""

    async def fail(
        self, failures: Sequence[Failure], *, patience: float | None = None
    ) -> Sequence[Ended | None]:
        """Report attempts that did not succeed; None as for `complete`."""

    async def release(
        self, releases: Sequence[Release], *, patience: float | None = None
    ) -> Sequence[Ended | None]:
        """Give tasks back; None as for `complete`."""

    async def extend(
        self, worker: str, leases: Sequence[tuple[str, str]], lease_ms: int, *, patience: float | None = None
    ) -> Extension:
        """Lengthen leases, given as (id, token)."""

    async def progress(self, task_id: str, token: str, value: bytes) -> bool:
        """Store how far a task is; False if its lease is no longer the caller's."""

    async def switch(
        self,
        task_id: str,
        token: str,
        *,
        left: str,
        verdict: Verdict,
        after_ms: int,
        tokens: int,
        following: Sequence[str],
        patience: float | None = None,
    ) -> Switched:
        """Move a running task to the next provider that has room."""
