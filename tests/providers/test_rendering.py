"""Answers as HTML: what a model writes cannot become more than a page to read."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scheduler.providers.results import checked_result
from scheduler.providers.tools.rendering import LARGEST_PAGE, LONGEST_RENDERED, html_of


def page_of(markdown: str) -> str:
    """The page behind the URL."""
    beginning, _, data = html_of(markdown).partition(",")
    assert beginning == "data:text/html;charset=utf-8;base64"
    return base64.b64decode(data).decode("utf-8", "replace")


def body_of(markdown: str) -> str:
    """What is between the body's tags."""
    return page_of(markdown).partition("<body>")[2].partition("</body>")[0].strip()


def test_an_answer_becomes_a_page() -> None:
    """Headings, lists, tables and links, in UTF-8."""
    page = page_of("# Títle\n\n- **a**\n- [b](https://example.org)\n\n|x|\n|-|\n|y|\n")

    assert page.startswith("<!doctype html>")
    for part in (
        '<meta charset="utf-8">',
        "<h1>Títle</h1>",
        "<strong>a</strong>",
        '<a href="https://example.org">b</a>',
        "<td>y</td>",
    ):
        assert part in page


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a <b onclick='x'>b</b>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](data:text/html;base64,AAAA)",
        "![a](javascript:alert(1))",
        "<javascript:alert(1)>",
        '[a](https://example.org "x\\" onclick=\\"alert(1)")',
        "</body></html><script>alert(1)</script>",
    ],
)
def test_markup_of_the_model_is_only_text(hostile: str) -> None:
    """No tag, handler or address of its own comes through."""
    body = body_of(hostile)

    for tag in ("<script", "<img src=x", "<b ", "<iframe", 'href="javascript', 'href="JaVa', 'href="data'):
        assert tag not in body
    assert 'src="javascript' not in body
    assert '" onclick' not in body


def test_a_page_forbids_itself_to_run_anything() -> None:
    """Whatever comes through after all."""
    assert "default-src 'none'" in page_of("x").partition("<body>")[0]


def test_a_long_answer_is_whole_and_bounded() -> None:
    """What is behind the part that is rendered is shown as it was written."""
    page = page_of("**a**" + "x" * LONGEST_RENDERED + "<END>")
    assert "<strong>a</strong>" in page
    assert "x&lt;END&gt;</pre>" in page
    assert page.endswith("</body></html>\n")

    longest = html_of("é&" * 200_000)
    assert len(longest) < LARGEST_PAGE * 4 // 3 + 100
    checked_result("CHATGPT", {"text": "x", "html": longest})


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=200))
@example("a\ud83d")
def test_whatever_is_written_becomes_a_page(markdown: str) -> None:
    """Halves of surrogate pairs and control characters, too, also behind what is rendered."""
    for text in (markdown, "x" * LONGEST_RENDERED + markdown):
        assert page_of(text).endswith("</body></html>\n")
