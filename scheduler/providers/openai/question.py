"""A task as the body of a request to an OpenAI-compatible service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from scheduler.providers.openai.settings import OpenAiSettings
from scheduler.providers.tools.instructing import instructions_of, place_of


def question_of(settings: OpenAiSettings, payload: BaseModel) -> dict[str, Any]:
    """Return the body that asks what a task asks.

    A task that leaves it to the engine whether it searches the web (`disableWebSearch`) is asked without
    `tool_choice`, by which the parameters could force it to.

    Args:
        settings: Of the provider.
        payload: The contract's model of an answer engine's task.
    """
    place = place_of(payload)
    body: dict[str, Any] = {**_placed(settings.parameters, place), "model": settings.model}
    if settings.stream:
        body["stream"] = True
    if getattr(payload, "disable_web_search", False):
        body.pop("tool_choice", None)
    prompt: str = getattr(payload, "prompt", "")
    instructions = instructions_of(settings.instructions, place)
    if settings.api == "responses":
        body |= {"input": prompt, **({"instructions": instructions} if instructions else {})}
        if settings.user_location:
            _tell_location(body.get("tools"), place)
        return body
    system = [{"role": "system", "content": instructions}] if instructions else []
    body["messages"] = [*system, {"role": "user", "content": prompt}]
    if settings.stream and settings.include_usage:
        body.setdefault("stream_options", {"include_usage": True})
    return body


def _placed(value: Any, place: Mapping[str, str]) -> Any:
    """Return a copy of *value* with the place in its texts, without the fields that this left empty."""
    match value:
        case str():
            is_template = any("{" + name + "}" in value for name in place)
            return instructions_of(value, place) if is_template else value
        case dict():
            copied = {name: _placed(part, place) for name, part in value.items()}
            return {name: part for name, part in copied.items() if part != "" or value[name] == ""}
        case list():
            return [_placed(part, place) for part in value]
    return value


def _tell_location(tools: Any, place: Mapping[str, str]) -> None:
    """Tell the place to each tool for web search that is not told one."""
    told = {"country": place["country"], "region": place["state"], "city": place["location"]}
    location = {"type": "approximate", **{name: value for name, value in told.items() if value}}
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and str(tool.get("type", "")).startswith("web_search"):
            tool.setdefault("user_location", location)
