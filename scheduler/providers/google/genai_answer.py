"""What Gemini writes, gathered from the parts in which it comes."""

from __future__ import annotations

from typing import Final

from google.genai import types

from scheduler.errors import Misconfigured, Rejected, Retry, Unavailable
from scheduler.providers.tools.decoding import text_of, web_address
from scheduler.providers.tools.raw import RawAnswer

_REFUSED: Final = frozenset(
    {
        "BLOCKLIST",
        "ESCALATION",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_SAFETY",
        "LANGUAGE",
        "MODEL_ARMOR",
        "PROHIBITED_CONTENT",
        "RECITATION",
        "SAFETY",
        "SPII",
    }
)
_FINISHED: Final = frozenset({"STOP", "MAX_TOKENS"})
_SUSPENDED: Final = "PUP_LIMITED_DISABLED"  # the account, not the answer


class Gathered:
    """An answer so far.

    Args:
        keeps_raw: Whether the parts are kept as they came.

    Attributes:
        text: The answer without the model's thoughts.
        sources: Pages that it leans on, in their order, each once: URL -> title.
        model: Which model answers.
        tokens: How many were used, those of the prompt, of thoughts and of tools included.
        raw: The parts as they came, the first and the last ones.
    """

    def __init__(self, *, keeps_raw: bool) -> None:
        self.text = ""
        self.sources: dict[str, str] = {}
        self.model: str | None = None
        self.tokens = 0
        self.raw = RawAnswer()
        self.raw.is_wanted = keeps_raw
        self._blocked: str | None = None
        self._finish: str | None = None

    def add(self, part: types.GenerateContentResponse) -> None:
        """Take the next part."""
        if self.raw.is_wanted:
            self.raw.keep(
                part.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"sdk_http_response"})
            )
        self.model = text_of(part.model_version) or self.model
        usage = part.usage_metadata
        if usage is not None and usage.total_token_count:
            # Each part tells the sum so far.
            self.tokens = max(self.tokens, usage.total_token_count)
        if part.prompt_feedback is not None and part.prompt_feedback.block_reason is not None:
            self._blocked = _word(part.prompt_feedback.block_reason)
        for candidate in (part.candidates or [])[:1]:
            content = candidate.content
            for piece in (content.parts or []) if content is not None else []:
                if piece.text and not piece.thought:
                    self.text += piece.text
            if candidate.finish_reason is not None:
                self._finish = _word(candidate.finish_reason)
            if candidate.grounding_metadata is not None:
                self._add_sources(candidate.grounding_metadata)

    def check(self) -> None:
        """Refuse what is no whole answer.

        Raises:
            Rejected: If Google does not let it be answered.
            Misconfigured: If Google has suspended the account.
            Retry: If the model wrote nothing, or stopped for a reason that says nothing of others.
            Unavailable: If the end is missing.
        """
        if self._blocked is not None:
            raise Rejected(f"Gemini does not answer this prompt: {self._blocked}")
        if self._finish in _REFUSED:
            raise Rejected(f"Gemini stopped its answer: {self._finish}")
        if self._finish == _SUSPENDED:
            raise Misconfigured(f"Google has limited or disabled the account: {self._finish}")
        if self._finish is None:
            raise Unavailable("the answer ended before the model was done")
        if self._finish not in _FINISHED:
            raise Retry(reason=f"the model stopped: {self._finish}")
        if not self.text.strip():
            raise Retry(reason=f"the model wrote nothing: {self._finish}")

    def _add_sources(self, grounding: types.GroundingMetadata) -> None:
        for chunk in grounding.grounding_chunks or []:
            url = web_address(chunk.web.uri) if chunk.web is not None else None
            if url is not None and chunk.web is not None:
                self.sources.setdefault(url, text_of(chunk.web.title) or "")


def _word(reason: object) -> str:
    """Return how a reason is written: a new one is not among those that the library knows."""
    return str(getattr(reason, "value", reason))
