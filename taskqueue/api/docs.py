"""The page `/docs`: shows the OpenAPI document and tries what is in it, without anything from elsewhere.

Usual pages of this kind load their scripts from a network of others, which is not there on a machine
without internet, and would see every visit. This one is a single answer. Its policy lets the browser
run the script and the style that are in it, by their digests, and speak to this service only.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from taskqueue.api.replies import Header, Reply

_FOLDER: Final = Path(__file__).with_name("static")
_HTML: Final[Header] = (b"content-type", b"text/html; charset=utf-8")


@cache
def page() -> Reply:
    """Return the page, which reads `openapi.json` beside it."""
    style, script = _read("docs.css"), _read("docs.js")
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    text = _read("docs.html").replace("/* docs.css */", style).replace("/* docs.js */", script)
    headers = ((b"content-security-policy", policy.encode()), (b"referrer-policy", b"no-referrer"))
    return Reply(200, text.encode(), headers, _HTML)


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
