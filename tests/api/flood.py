"""A flood of bad requests, each with something in it that no other has, and a service to send it to.

    python -m tests.api.flood URL QUEUE

is that service, in a process of its own. It prints its port and an API key of a tenant without credits;
for every line that it reads it prints how many blocks of memory its objects take; it ends with its
standard input.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from taskqueue import TaskQueue
from taskqueue.accounts import Accounts, apikeys
from taskqueue.api import ApiOptions, create_app
from taskqueue.api.protocol import HttpProtocol
from taskqueue.cli.runtime import SERVICE_GARBAGE, collect_garbage_seldom, run
from taskqueue.webhooks import EgressPolicy
from tests.api.conftest import PROMPT, SECRET, TASK
from tests.api.raw import HOST, request

CONNECTIONS = 8
RATE = 1_000_000


def unknown_key(number: int) -> bytes:
    """Return a request with a key that has the right form, and that nobody has."""
    text = f"sk_live_{number:055}"
    return request("GET", "/v1/async/status", text + apikeys._checksum(text), close=number % 10 == 0)


def _posted(path: str, document: Any, key: str, number: int) -> bytes:
    return request("POST", path, key, json.dumps(document).encode(), close=number % 10 == 0)


def _with_header(data: bytes, name: str, number: int) -> bytes:
    return data.replace(b"Host:", f"{name}: {number}\r\nHost:".encode(), 1)


# The numbers of payloads are long: pydantic remembers up to 16,384 texts of up to 63 characters.
KINDS: tuple[Callable[[str, int], bytes], ...] = (
    lambda _, n: request("GET", "/v1/async/status", f"sk_live_{n}", close=False),
    lambda _, n: request("GET", f"/v2/{n}", f"{n}", close=False),
    lambda key, n: request("GET", f"/v1/nope/{n}", key, close=False),
    lambda key, n: request("GET", f"/v1/async/task/unknown-{n}", key, close=False),
    lambda key, n: request("DELETE", f"/v1/async/task/unknown-{n}", key, close=False),
    lambda key, n: request("GET", f"/v1/async/task/unknown-{n}/events", key, close=False),
    lambda key, n: request("PUT", f"/v1/async/task/{n}", key, close=False),
    lambda key, n: request("PROPFIND", f"/v1/async/status?a{n}=1", key, close=n % 10 == 0),
    lambda key, n: request("GET", f"/v1/async/tasks?a{n}=1&cursor={n}", key, close=False),
    lambda key, n: request("GET", f"/v1/states?country={n}", key, close=False),
    lambda key, n: _posted("/v1/async/task", {**TASK, "idempotencyKey": f"key-{n}"}, key, n),
    lambda key, n: _posted("/v1/async/task", {**TASK, f"field{n}": n, "taskType": f"TYPE{n}"}, key, n),
    lambda key, n: _posted("/v1/async/task", {**TASK, "webhook": {"url": f"https://{n}.local:{n}/"}}, key, n),
    lambda key, n: _posted("/v1/async/task/batch", [{**TASK, "idempotencyKey": f"batch-{n}"}] * 2, key, n),
    lambda key, n: _posted("/v1/monitor/chatgpt", {**PROMPT, f"field{n}": n, "country": f"{n:064}"}, key, n),
    lambda key, n: _posted("/v1/monitor/grok", {**PROMPT, "prompt": f"What is {n:064}?"}, key, n),
    lambda key, n: _posted("/v1/monitor/google", {"url": f"https://www.google.com/search?q={n:064}"}, key, n),
    lambda key, n: _posted("/v1/monitor/google/goto", {"url": f"https://example.com/{n}"}, key, n),
    lambda key, n: request("POST", "/v1/async/task", key, b'{"a": %d' % n, close=False),
    lambda key, n: _with_header(request("GET", f"/{n}", key, close=False), f"X-Header-{n}", n),
    lambda key, n: _with_header(_posted("/v1/async/task", TASK, key, n), "Content-Encoding", n),
    lambda _, n: b"GARBAGE %d\r\n\r\n" % n,
)


def bad_requests(key: str, numbers: range, *, strangers: int) -> Iterator[bytes]:
    """Return a bad request for each number, one kind after the other; every tenth is a stranger's.

    Args:
        key: Of the tenant without credits.
        numbers: What is in them that no other has.
        strangers: How many keys there are that nobody has.
    """
    for number in numbers:
        if number % 10 == 0:
            yield unknown_key(number // 10 % strangers)
        else:
            yield KINDS[number % len(KINDS)](key, number)


async def flood(port: int, requests: Iterator[bytes]) -> Counter[int]:
    """Send all *requests*, over a few connections that stay open as long as they may; count the answers."""
    statuses: Counter[int] = Counter()

    async def send_some() -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        for each in requests:
            writer.write(each)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            statuses[int(head.split(b" ", 2)[1])] += 1
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            if b"\r\nconnection: close\r\n" in head:
                writer.close()
                reader, writer = await asyncio.open_connection(HOST, port)
        writer.close()

    await asyncio.gather(*(send_some() for _ in range(CONNECTIONS)))
    return statuses


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _serve(url: str, name: str) -> None:
    async with TaskQueue.connect(url, name=name) as queue, Accounts(queue, SECRET) as accounts:
        await queue.grant("initech", 0)
        key = (await accounts.create_key("initech", rate=RATE)).key
        app = create_app(queue, accounts, ApiOptions(egress=EgressPolicy()))
        with socket.socket(proto=socket.IPPROTO_TCP) as listening:
            listening.bind((HOST, 0))
            listening.listen(100)
            config = uvicorn.Config(
                app, http=HttpProtocol, ws="none", loop="none", log_config=None, access_log=False
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            _tell(f"{listening.getsockname()[1]} {key}")
            while await asyncio.to_thread(sys.stdin.readline):
                gc.collect()
                _tell(f"{sys.getallocatedblocks()}")
            server.should_exit = True
            await serving


if __name__ == "__main__":
    collect_garbage_seldom(SERVICE_GARBAGE)
    run(_serve(*sys.argv[1:3]))
