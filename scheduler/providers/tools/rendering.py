"""Answers as HTML: a page of its own inside a data: URL, because there is no host to keep it on.

What a model writes is not trusted. HTML in it is shown as text, links lead only where Markdown's own
rules let them (never to `javascript:`), and the page forbids itself scripts, frames and forms.
"""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import Final

from markdown_it import MarkdownIt

LONGEST_RENDERED: Final = 50_000
"""Characters that are read as Markdown, which takes up to a second for hostile ones; what is behind them
is shown as it was written."""

LARGEST_PAGE: Final = 384 * 1024
"""Bytes of a page: its URL takes a half of what a record may hold. The rest is left out."""

_BEGINNING: Final = "data:text/html;charset=utf-8;base64,"
_HEAD: Final = (
    '<!doctype html><html><head><meta charset="utf-8">'
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src https: data:; form-action 'none'; base-uri 'none'\">"
    "<title>Answer</title></head><body>\n"
)
_TAIL: Final = "</body></html>\n"

_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def html_of(markdown: str) -> str:
    """Return where *markdown* is as HTML: a data: URL, which a browser opens as it is.

    Of a long answer it takes a while: call it in a thread.

    Args:
        markdown: CommonMark with tables and strikethrough.
    """
    body = _MARKDOWN.render(markdown[:LONGEST_RENDERED])
    if rest := markdown[LONGEST_RENDERED:]:
        body += f"<pre>{escape(rest)}</pre>\n"
    page = (_HEAD + body).encode("utf-8", "replace")[: LARGEST_PAGE - len(_TAIL)] + _TAIL.encode()
    return _BEGINNING + b64encode(page).decode("ascii")
