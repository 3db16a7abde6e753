"""LLMock, a server by others: it speaks the protocols of the services, and fails when it is told to."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

_PATIENCE = 30.0  # seconds to start and to stop
_LISTENING = re.compile(r"Uvicorn running on (http://127\.0\.0\.1:[0-9]+)")


class LlmockServer:
    """The server, seen by its control interface.

    Attributes:
        url: Where it is. OpenAI is at `/v1`, Perplexity at `/perplexity/v1`, xAI at `/xai/v1`.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def reset(self) -> None:
        """Forget what it was asked and told."""
        self._post("/_llmock/reset")

    def behaves(self, *behaviours: dict[str, Any]) -> None:
        """Say how the next calls go, such as `{"type": "fail", "status": 429, "retry_after": 2}`."""
        self._post("/_llmock/scenario", {"behaviors": behaviours})

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What it was asked, and how each call went."""
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/_llmock/requests", trust_env=False).json()[
            "requests"
        ]
        return found

    @property
    def verdict(self) -> dict[str, Any]:
        """What it thinks of us as a client."""
        found: dict[str, Any] = self._get("/_llmock/verdict")
        return found

    def _get(self, path: str) -> Any:
        return httpx.get(self.url + path, trust_env=False).raise_for_status().json()

    def _post(self, path: str, body: Any = None) -> None:
        httpx.post(self.url + path, json=body, trust_env=False).raise_for_status()


@contextmanager
def llmock_server() -> Iterator[LlmockServer]:
    """Run it on a free port of 127.0.0.1; it repeats what it is asked."""
    command = [
        str(Path(sys.executable).with_name("llmock")),
        "serve",
        "--port",
        "0",
        "--response-style",
        "echo",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield LlmockServer(_url_of(process))
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def _url_of(process: subprocess.Popen[str]) -> str:
    """Return where the server listens, and let it write on without anybody who listens to that."""
    assert process.stdout is not None
    killing = threading.Timer(_PATIENCE, process.kill)
    killing.start()
    said = ""
    for line in process.stdout:
        said += line
        if (found := _LISTENING.search(line)) is not None:
            killing.cancel()
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return found[1]
    raise AssertionError(f"LLMock did not start: {said}")
