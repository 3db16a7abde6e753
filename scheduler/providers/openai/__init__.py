"""Answer engines behind an OpenAI-compatible service: chat completions and responses."""

from scheduler.providers.openai.provider import OpenAi

__all__ = ["OpenAi"]
