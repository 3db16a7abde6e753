"""A service that hands slow work to tasks and runs the scheduler in its own process.

    python -m examples.embedded_in_service

It listens on 127.0.0.1. A client sends one line of text and gets back how many words it has, once
the task that counted them is done. Other processes on the same queue would share the work. The
program starts the service, is its own client for three requests, and stops in order.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TypedDict

from pydantic import BaseModel

from scheduler import Context, Scheduler
from taskqueue import TaskQueue, TaskQueueError

SLOW = timedelta(milliseconds=50)

QUEUE = "words"

scheduler = Scheduler(name=QUEUE, concurrency=10)


class Text(BaseModel):
    """Payload of a WORD_COUNT task."""

    text: str


class Count(TypedDict):
    """Result of a WORD_COUNT task."""

    words: int
    attempt: int


@scheduler.handler("WORD_COUNT", timeout=timedelta(seconds=10))
async def word_count(payload: Text, context: Context) -> Count:
    """Count words, as slowly as if somebody else did it."""
    await asyncio.sleep(SLOW.total_seconds())
    return {"words": len(payload.text.split()), "attempt": context.attempt}


class Service:
    """Answers each line with the result of a task."""

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it closes the connection."""
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, object]:
        try:
            task = await self._queue.enqueue(
                "WORD_COUNT", {"text": line.decode(errors="replace")}, priority=5
            )
            task = await self._queue.wait(task.id, timeout=10)
        except TaskQueueError as error:
            return {"error": str(error)}
        return {"state": task.state, "result": task.result}


async def main() -> None:
    """Start queue, scheduler and service; be a client; stop everything in the opposite order."""
    async with TaskQueue.connect(name=QUEUE) as queue, scheduler:
        server = await asyncio.start_server(Service(queue).serve, "127.0.0.1", 0)
        async with server:
            host, port = server.sockets[0].getsockname()
            for text in ("one", "first in, first out", "highest priority first, and nothing is lost"):
                print(f"{text!r} -> {await ask(host, port, text)}")
    print("stopped")


async def ask(host: str, port: int, text: str) -> str:
    """Send one line and return the answer."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(text.encode() + b"\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer.decode().strip()


if __name__ == "__main__":
    asyncio.run(main())
