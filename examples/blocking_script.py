"""A script without async: it enqueues, waits for the results, and prints them.

    python -m examples.blocking_script

The handler is an ordinary function, so it runs in a thread. A script usually leaves the running to
workers elsewhere; to be complete this one starts a worker of its own, which ends when the queue
is empty:

    taskqueue worker examples.blocking_script:scheduler --burst
"""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from typing import TypedDict
from uuid import uuid4

from pydantic import BaseModel

from scheduler import Scheduler
from taskqueue import BlockingTaskQueue, IdempotencyConflict, TaskSpec

WORDS = ("alpha", "beta", "gamma", "delta")

QUEUE = "digests"

scheduler = Scheduler(name=QUEUE, concurrency=4)


class Word(BaseModel):
    """Payload of a DIGEST task."""

    word: str


class Digest(TypedDict):
    """Result of a DIGEST task."""

    word: str
    digest: str


@scheduler.handler("DIGEST")
def digest(payload: Word) -> Digest:
    """Hash a word."""
    return {"word": payload.word, "digest": sha256(payload.word.encode()).hexdigest()[:12]}


def main() -> None:
    """Enqueue one task a word, later words with more priority, and print what became of them."""
    run = uuid4().hex[:8]
    with BlockingTaskQueue.connect(name=QUEUE) as queue:
        tasks = queue.enqueue_many(
            TaskSpec(
                type="DIGEST", payload={"word": word}, priority=priority, idempotency_key=f"{run}-{word}"
            )
            for priority, word in enumerate(WORDS, start=1)
        )
        try:
            queue.enqueue("DIGEST", {"word": "alpha"}, idempotency_key=f"{run}-alpha")
        except IdempotencyConflict as conflict:
            print(f"refused: the key already names {'the same' if conflict.same_payload else 'another'} task")

        worker = [
            sys.executable,
            "-m",
            "taskqueue",
            "worker",
            "examples.blocking_script:scheduler",
            "--burst",
        ]
        subprocess.run(worker, check=True)

        for task in tasks:
            done = queue.wait(task.id, timeout=10)
            print(f"{done.state} {done.result['word']} {done.result['digest']}")


if __name__ == "__main__":
    main()
