"""What an OpenAI-compatible service answered, put together from one object or from many events.

Services that speak the same protocol say the same things in different places. What is understood:

| of the answer | chat                                            | responses                                |
|---------------|-------------------------------------------------|------------------------------------------|
| text          | `message.content`, `delta.content`              | `output_text` of the messages            |
| sources       | `annotations` (OpenAI, OpenRouter)              | `annotations` of the texts               |
|               | `citations` (Perplexity, xAI)                   | `citations` (xAI)                        |
|               | `search_results` (Perplexity)                   | `search_results` (Perplexity)            |
|               |                                                 | `action.sources` of searches             |
| searches      |                                                 | `action.queries` of searches             |

An answer was cut at its limit of tokens (`length`): its text is kept. Anything may be of the wrong type:
what is not understood is left out, and what remains has to make sense.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from scheduler.errors import Unavailable
from scheduler.providers.results import LONGEST_TEXT
from scheduler.providers.tools.decoding import objects_of, text_of, web_address
from scheduler.providers.tools.raw import RawAnswer, mended

_MOST_TOKENS: Final = 10**9
_TOLD_EACH: Final = 256
"""A partial text is told once the text has grown by 1/256: more often would take time by its square."""


class ErrorInside(Exception):
    """The service said an error where an answer was to come.

    Args:
        body: What it said.
    """

    def __init__(self, body: Any) -> None:
        super().__init__("an error inside an answer")
        self.body = body


@dataclass(slots=True)
class Answer:
    """What was said so far.

    Attributes:
        model: Which one answers, as the service says.
        tokens: How many it counted: the last count, which holds for all of the answer.
        ended: Why the answer ended; "" if it did not, or if that was not told.
        refusal: What the model says instead of an answer.
        functions: What it wants to be called instead of answering.
        cited: Pages that the text itself refers to: address -> label and description.
        found: Pages that the service found: the same.
        queries: What it searched for.
        raw: What came, for those who ask for it.
    """

    model: str = ""
    tokens: int = 0
    ended: str = ""
    refusal: str = ""
    functions: list[str] = field(default_factory=list)
    cited: dict[str, tuple[str, str]] = field(default_factory=dict)
    found: dict[str, tuple[str, str]] = field(default_factory=dict)
    queries: dict[str, None] = field(default_factory=dict)
    raw: RawAnswer = field(default_factory=RawAnswer)
    _parts: list[str] = field(default_factory=list)
    _length: int = 0
    _told: int = 0

    @property
    def text(self) -> str:
        """The text so far; a character that came in two halves is whole again."""
        return mended("".join(self._parts))

    @property
    def has_grown(self) -> bool:
        """Whether enough text came since the last time that this was true."""
        if self._length <= self._told + self._told // _TOLD_EACH:
            return False
        self._told = self._length
        return True

    @property
    def sources(self) -> list[dict[str, Any]]:
        """The pages that it leans on, each once: those that it cites first; positions from 1."""
        pages = dict(self.cited)
        for url, (label, description) in self.found.items():
            before = pages.get(url, ("", ""))
            pages[url] = (before[0] or label, before[1] or description)
        return [
            {"position": position, "url": url, "label": label, "description": description}
            for position, (url, (label, description)) in enumerate(pages.items(), start=1)
        ]

    def add(self, text: object) -> None:
        """Take more of the text.

        Raises:
            Unavailable: If it becomes longer than any result may be.
        """
        if isinstance(text, str) and text:
            self._parts.append(text)
            self._length += len(text)
            if self._length > LONGEST_TEXT:
                raise Unavailable(f"the answer is longer than {LONGEST_TEXT:,} characters")

    def start_over(self) -> None:
        """Forget the text: all of it is about to come once more."""
        self._parts, self._length = [], 0

    def cite(self, annotations: object) -> None:
        """Take the pages that a part of the text refers to."""
        for each in objects_of(annotations):
            # OpenAI's chat has them one level deeper than its responses.
            inner = each.get("url_citation")
            page = inner if isinstance(inner, dict) else each
            if each.get("type", "url_citation") == "url_citation":
                _note(self.cited, page.get("url"), page.get("title"), page.get("content"))

    def find(self, results: object, citations: object = None) -> None:
        """Take the pages that the service found.

        Args:
            results: Objects with `url`, `title` and `snippet`.
            citations: Addresses, or such objects.
        """
        for each in citations if isinstance(citations, list) else ():
            if isinstance(each, str):
                _note(self.found, each)
            elif isinstance(each, dict):
                _note(self.found, each.get("url"), each.get("title"), each.get("snippet"))
        for each in objects_of(results):
            _note(self.found, each.get("url"), each.get("title"), each.get("snippet"))

    def ask(self, *queries: object) -> None:
        """Take what was searched for."""
        for each in queries:
            for query in each if isinstance(each, list) else (each,):
                if (text := text_of(query)) is not None:
                    self.queries[mended(text)] = None

    def count(self, usage: object) -> None:
        """Take how many tokens were used."""
        if not isinstance(usage, Mapping):
            return
        parts = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
        total = _number(usage.get("total_tokens")) or sum(_number(usage.get(name)) for name in parts)
        self.tokens = max(self.tokens, total)


class ChatReader:
    """Reads `/chat/completions`."""

    path: Final = "/chat/completions"

    def __init__(self) -> None:
        self.answer = Answer()

    def read_event(self, event: Any) -> None:
        """Take one event of a stream."""
        self._read(event, "delta")

    def read_whole(self, document: Any) -> None:
        """Take an answer that comes as one."""
        self._read(document, "message")
        self.answer.ended = self.answer.ended or "stop"

    def _read(self, document: Any, part: str) -> None:
        answer = self.answer
        answer.raw.keep(document)
        if not isinstance(document, dict):
            return
        _raise_error_of(document)
        answer.model = mended(text_of(document.get("model")) or answer.model)
        answer.count(document.get("usage"))
        answer.find(document.get("search_results"), document.get("citations"))
        for choice in objects_of(document.get("choices")):
            if choice.get("index", 0) == 0:
                said = choice.get(part)
                self._hear(said if isinstance(said, dict) else {})
                answer.ended = text_of(choice.get("finish_reason")) or answer.ended

    def _hear(self, said: Mapping[str, Any]) -> None:
        answer = self.answer
        content = said.get("content")
        for text in _texts(content):
            answer.add(text)
        answer.refusal += text if isinstance(text := said.get("refusal"), str) else ""
        answer.cite(said.get("annotations"))
        for called in objects_of(said.get("tool_calls")):
            _note_function(answer, called.get("function"))


class ResponsesReader:
    """Reads `/responses`."""

    path: Final = "/responses"

    def __init__(self) -> None:
        self.answer = Answer()
        self._items: list[Any] = []

    def read_event(self, event: Any) -> None:
        """Take one event of a stream."""
        if not isinstance(event, dict):
            return
        match event.get("type"):
            case "response.output_text.delta":
                self.answer.add(event.get("delta"))
            case "response.output_item.done":
                self._items.append(event.get("item"))
            case "response.completed" | "response.incomplete" | "response.failed":
                self._read_last(str(event["type"]), event.get("response"))
            case "error":
                raise ErrorInside(event)
            case _:
                _raise_error_of(event)

    def _read_last(self, kind: str, response: Any) -> None:
        if isinstance(response, dict):
            self.read_whole({"status": kind.removeprefix("response."), **response})

    def read_whole(self, document: Any) -> None:
        """Take the whole response, which also ends a stream."""
        answer = self.answer
        if not isinstance(document, dict):
            return
        answer.raw.keep(document)
        answer.count(document.get("usage"))
        _raise_error_of(document)
        answer.model = mended(text_of(document.get("model")) or answer.model)
        answer.find(None, document.get("citations"))
        # Some services leave the output of the last event empty.
        items = objects_of(document.get("output")) or objects_of(self._items)
        if any(_messages(items)):
            answer.start_over()
        for item in items:
            self._read_item(item)
        self._read_messages(list(_messages(items)))
        answer.ended = _end_of(document)

    def _read_item(self, item: Mapping[str, Any]) -> None:
        answer, action = self.answer, item.get("action")
        match item.get("type"):
            case "web_search_call" if isinstance(action, dict):
                answer.ask(action.get("queries") or action.get("query"))
                answer.find(action.get("sources"))
            case "search_results":
                answer.ask(item.get("queries"))
                answer.find(item.get("results"))
            case "function_call":
                _note_function(answer, item)

    def _read_messages(self, messages: list[Mapping[str, Any]]) -> None:
        answer = self.answer
        # What a model says on its way to the answer is not the answer.
        final = [each for each in messages if each.get("phase") != "commentary"] or messages
        for number, message in enumerate(final):
            if number:
                answer.add("\n\n")
            for part in objects_of(message.get("content")):
                match part.get("type"):
                    case "output_text" | "text":
                        answer.add(part.get("text"))
                        answer.cite(part.get("annotations"))
                    case "refusal":
                        answer.refusal += text_of(part.get("refusal")) or ""


def _messages(items: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    return (item for item in items if item.get("type") == "message")


def _end_of(response: Mapping[str, Any]) -> str:
    """Return why a response ended, in the words of chat; "" if it has not."""
    details = response.get("incomplete_details")
    match response.get("status"):
        case "completed":
            return "stop"
        case "incomplete":
            reason = text_of(details.get("reason")) if isinstance(details, dict) else None
            return "content_filter" if reason == "content_filter" else "length"
        case "failed" | "cancelled":
            raise ErrorInside({"message": f"the response has {response['status']}"})
    return ""


def _raise_error_of(document: Mapping[str, Any]) -> None:
    if document.get("error"):
        raise ErrorInside(document)
    if document.get("object") == "error":  # vLLM
        raise ErrorInside(document)


def _texts(content: object) -> Iterable[object]:
    """Yield the texts of a message: it is one, or a list of parts."""
    if isinstance(content, str):
        yield content
    for part in objects_of(content):
        if part.get("type") in ("text", "output_text"):
            yield part.get("text")


def _note(
    pages: dict[str, tuple[str, str]], url: object, label: object = None, description: object = None
) -> None:
    """Note a page once, with the first label and description that are told of it."""
    address = web_address(url)
    if address is None:
        return
    address = mended(address)
    before = pages.get(address, ("", ""))
    name = mended(text_of(label) or "")
    # xAI gives its citations the number of their mark as a title.
    name = "" if name.isdecimal() else name
    pages[address] = (before[0] or name, before[1] or mended(text_of(description) or ""))


def _note_function(answer: Answer, called: object) -> None:
    name = text_of(called.get("name")) if isinstance(called, dict) else None
    if name is not None:
        answer.functions.append(name)


def _number(value: object) -> int:
    """Return a count of tokens; 0 for what is none."""
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else 0
