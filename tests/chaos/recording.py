"""Makes a worker write down what it asks of the server, and what it is answered.

The verbs of the store are wrapped, where the process that runs them has the package imported from, so
that workers of another version write the same history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from taskqueue.store import Claim, ClaimRequest, Completion, Ended, Failure, Release
from taskqueue.store.working import WorkerVerbs
from tests.chaos.history import Recorder

Passing = Callable[[str], None]
"""Told where the worker is, by the name of the point: it may end the process there."""


def record_worker(recorder: Recorder, passing: Passing = lambda _: None) -> None:
    """Have every claim and report of this process written down, from now on."""
    _record_claims(recorder, passing)
    _record_completions(recorder, passing)
    _record_returns(recorder, passing)


def _record_claims(recorder: Recorder, passing: Passing) -> None:
    plain = WorkerVerbs.claim

    async def claim(self: WorkerVerbs, request: ClaimRequest, **options: Any) -> Claim:
        number = _invoke_claim(recorder, request)
        try:
            answer = await plain(self, request, **options)
        except BaseException:
            recorder.end(number, "unknown")
            raise
        _end_claim(recorder, number, answer)
        passing("after_claim")
        return answer

    WorkerVerbs.claim = claim  # type: ignore[method-assign]


def _record_completions(recorder: Recorder, passing: Passing) -> None:
    plain = WorkerVerbs.complete

    async def complete(
        self: WorkerVerbs,
        completions: Sequence[Completion],
        claim: ClaimRequest | None = None,
        **options: Any,
    ) -> tuple[list[Ended], Claim | None]:
        if not completions:
            # It asks for a claim alone, which is written down above.
            return await plain(self, completions, claim, **options)
        passing("before_report")
        done = [(each.id, each.token, "completed") for each in completions]
        reported = recorder.invoke("report", done=done)
        claimed = None if claim is None else _invoke_claim(recorder, claim)
        try:
            words, answer = await plain(self, completions, claim, **options)
        except BaseException:
            recorder.end(reported, "unknown")
            if claimed is not None:
                recorder.end(claimed, "unknown")
            raise
        recorder.end(reported, "ok", words=words)
        if claimed is not None:
            assert answer is not None, "a claim was asked for"
            _end_claim(recorder, claimed, answer)
        passing("after_report")
        return words, answer

    WorkerVerbs.complete = complete  # type: ignore[method-assign]


def _record_returns(recorder: Recorder, passing: Passing) -> None:
    plain_fail, plain_release = WorkerVerbs.fail, WorkerVerbs.release

    async def reported(done: list[tuple[str, str, str]], call: Callable[[], Any]) -> Any:
        passing("before_report")
        number = recorder.invoke("report", done=done)
        try:
            words = await call()
        except BaseException:
            recorder.end(number, "unknown")
            raise
        recorder.end(number, "ok", words=words)
        return words

    async def fail(self: WorkerVerbs, failures: Sequence[Failure], **options: Any) -> list[Ended]:
        done = [(each.id, each.token, _asked(each)) for each in failures]
        words: list[Ended] = await reported(done, lambda: plain_fail(self, failures, **options))
        return words

    async def release(self: WorkerVerbs, releases: Sequence[Release], **options: Any) -> list[Ended]:
        done = [(each.id, each.token, "released") for each in releases]
        words: list[Ended] = await reported(done, lambda: plain_release(self, releases, **options))
        return words

    WorkerVerbs.fail = fail  # type: ignore[method-assign]
    WorkerVerbs.release = release  # type: ignore[method-assign]


def _asked(failure: Failure) -> str:
    if failure.cancelled:
        return "cancelled"
    return "failed" if failure.retry_in_ms is None else "retried"


def _invoke_claim(recorder: Recorder, request: ClaimRequest) -> int:
    # A claim without any room takes nothing, whatever its types say.
    slots = dict(request.slots) if request.limit else dict.fromkeys(request.slots, 0)
    return recorder.invoke("claim", request=request.request, slots=slots)


def _end_claim(recorder: Recorder, number: int, answer: Claim) -> None:
    recorder.end(number, "ok", tasks=[(each.id, each.token, each.deliveries) for each in answer.tasks])
