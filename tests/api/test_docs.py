"""The page `/docs`: whole in one answer, and locked up in it."""

from __future__ import annotations

import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from taskqueue import TaskQueue
from taskqueue.accounts import Accounts
from taskqueue.api import ApiOptions, create_app
from taskqueue.api.docs import page
from tests.api.conftest import Client, error_of

ELEMENTS = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


@pytest.fixture
async def docs(nobody: Client) -> httpx.Response:
    """The page, asked for without a key, of a service with the defaults."""
    response = await nobody.get("/docs")
    assert response.status_code == 200
    return response


def test_it_needs_nothing_from_elsewhere(docs: httpx.Response) -> None:
    """A machine without internet shows it, and nobody else learns that it was looked at."""
    assert docs.headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(r"https?:|[\"'(=]//\w", docs.text) == []
    links = re.findall(r"(?:src|href)=\"([^\"]*)\"|url\(([^)]*)\)|@import\s+(\S+)", docs.text)
    assert {"".join(link) for link in links} == {"openapi.json", "data:,"}


def test_it_runs_what_is_in_it_and_speaks_to_the_service_alone(docs: httpx.Response) -> None:
    """The policy names script and style by digest; nothing stands where the policy would not let it run."""
    policy = {
        name: values
        for name, *values in (part.split() for part in docs.headers["content-security-policy"].split(";"))
    }
    found = dict(ELEMENTS.findall(docs.text))

    for name, text in found.items():
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert policy[f"{name}-src"] == [f"'sha256-{digest}'"]
    assert len(found["script"]) > 5_000
    assert policy["default-src"] == ["'none'"]
    assert policy["connect-src"] == ["'self'"]
    assert policy["frame-ancestors"] == ["'none'"]
    assert re.findall(r"<[^>]*\s(?:on\w+|style)=", ELEMENTS.sub("", docs.text)) == []
    assert docs.headers["referrer-policy"] == "no-referrer"


def test_its_script_takes_no_text_for_html(docs: httpx.Response) -> None:
    """What a task answers with is a stranger's text; and the API key is stored nowhere."""
    script = dict(ELEMENTS.findall(docs.text))["script"]

    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("):
        assert word not in script
    for word in ("localStorage", "sessionStorage", "cookie"):
        assert word not in script


def test_its_script_finds_what_it_looks_for(docs: httpx.Response) -> None:
    """Every element that it names is there."""
    named = set(re.findall(r"getElementById\(\"(\w+)\"\)", docs.text))

    assert named == {"title", "about", "key", "operations"}
    assert named <= set(re.findall(r" id=\"(\w+)\"", docs.text))


@pytest.mark.skipif(shutil.which("node") is None, reason="reads scripts by node, which is not installed")
def test_its_script_can_be_read(docs: httpx.Response, tmp_path: Path) -> None:
    """Without a mistake in its grammar."""
    script = tmp_path / "docs.js"
    script.write_text(dict(ELEMENTS.findall(docs.text))["script"])

    subprocess.run(["node", "--check", script], check=True, timeout=20)


async def test_it_can_be_turned_off(queue: TaskQueue, accounts: Accounts) -> None:
    """Then it is not found, and not in the document."""
    app = create_app(queue, accounts, ApiOptions(docs=False))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as browser:
        refused = await browser.get("/docs")

    assert error_of(refused) == (404, "RESOURCE_NOT_FOUND", "Route not found", {"id": "/docs"})
    assert "/docs" not in app.openapi()["paths"]


def test_it_is_put_together_once() -> None:
    """Whoever asks for it makes no work."""
    assert page() is page()
