"""The payloads of the AI engines: a prompt, a country, and what the answer shall include.

Contract: the sync monitor endpoints of chatgpt, gemini, perplexity, copilot and grok, whose
request bodies are the payloads of tasks.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from taskqueue.contract.fields import Code, LongText, Part, Payload, absent, flag
from taskqueue.contract.geography import check_country, check_state

COUNTRY = Field(
    description="Where the prompt is run from: an ISO 3166-1 alpha-2 code in capital letters of a country "
    "that the engine serves; see `GET /v1/countries`.",
    examples=["US"],
    json_schema_extra={"pattern": "^[A-Z]{2}$"},
)
STATE: dict[str, Any] = {
    "description": "State of the country to run the prompt from: a USPS code of `GET /v1/states`. "
    "Only with the country US; costs more.",
    "examples": ["NY"],
    "schema": {"pattern": "^[A-Za-z]{2}$"},
}


def prompt(example: str) -> Any:
    """Return the field `prompt`."""
    return Field(
        description="The prompt: 1 to 10,000 characters, without the spaces around it.", examples=[example]
    )


class Include(Part):
    """What the answer shall include beside its text."""

    html: bool = flag("Include a link to the answer as HTML.")
    markdown: bool = flag("Include the answer as Markdown.")
    raw_response: bool = flag("Include the engine's reply as it came.")


class ChatgptInclude(Include):
    """What the answer shall include; the last four cost more, once for all of them."""

    search_queries: bool = flag("Include the searches that the engine made.")
    ads: bool = flag("Include the advertisements shown with the answer.")
    shopping: bool = flag("Include shopping cards and products inside the answer.")


class EnginePayload(Payload):
    """The payload of an AI engine."""

    prompt: LongText = prompt("What do you know about Acme Corp?")
    country: Code = COUNTRY
    state: Code = absent(**STATE)
    include: Include = Field(
        default_factory=Include, description="What the answer shall include beside its text."
    )

    @field_validator("country")
    @classmethod
    def _is_served(cls, value: str) -> str:
        return check_country(value, cls.served_as)

    @field_validator("state")
    @classmethod
    def _is_a_state(cls, value: str, info: ValidationInfo) -> str:
        # A country that was refused is not there, and its state cannot be judged.
        country = info.data.get("country")
        return value if country is None else check_state(value, country)


class ChatgptPayload(EnginePayload):
    """A prompt for ChatGPT."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "What do you know about Acme Corp?",
                    "country": "US",
                    "state": "NY",
                    "include": {"markdown": True, "shopping": True},
                }
            ]
        }
    )
    served_as: ClassVar[str] = "chatgpt"

    include: ChatgptInclude = Field(
        default_factory=ChatgptInclude, description="What the answer shall include beside its text."
    )
    legacy: bool = flag("Ask ChatGPT's older desktop interface.")
    disable_web_search: bool = flag("Leave it to ChatGPT whether it searches the web.")


class GeminiPayload(EnginePayload):
    """A prompt for Gemini."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "Explain quantum computing", "country": "DE"}]}
    )
    served_as: ClassVar[str] = "gemini"


class PerplexityPayload(EnginePayload):
    """A prompt for Perplexity."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "Best laptops for programming?", "country": "GB"}]}
    )
    served_as: ClassVar[str] = "perplexity"


class CopilotPayload(EnginePayload):
    """A prompt for Copilot."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"prompt": "Compare three CRMs", "country": "US", "include": {"html": True}}]
        }
    )
    served_as: ClassVar[str] = "copilot"


class GrokPayload(EnginePayload):
    """A prompt for Grok."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "What is new in robotics?", "country": "US"}]}
    )
    served_as: ClassVar[str] = "grok"
