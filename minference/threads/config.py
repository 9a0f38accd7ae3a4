"""Which model answers, and how."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, JsonValue

from minference.ecs.entity import Entity


class ResponseFormat(StrEnum):
    """The form in which a thread wants its replies."""

    text = "text"
    """Text as the model writes it; tools, if any, are offered."""
    json_beg = "json_beg"
    """Text that is asked and prefilled to be JSON."""
    json_object = "json_object"
    """Some JSON object, by the provider's JSON mode."""
    structured_output = "structured_output"
    """A JSON object that fits the schema of `forced_output`."""
    tool = "tool"
    """A call of exactly the tool `forced_output`."""
    auto_tools = "auto_tools"
    """The model chooses among the tools."""
    workflow = "workflow"
    """One tool after the other, in order, each forced once."""


class LLMConfig(Entity):
    """A model behind a client, and the parameters of its calls. Never holds a key."""

    client: str = Field(min_length=1)
    """Name of a client or of a profile in `providers.toml`: openai, anthropic, local, ..."""
    model: str = Field(min_length=1)
    """As the provider names it."""
    max_tokens: int = Field(default=1024, ge=1)
    """The longest reply, in tokens."""
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    """`None`: the provider's default."""
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    """`None`: the provider's default."""
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    """For the same reply to the same request, where the provider can."""
    stop: tuple[str, ...] = ()
    """Texts at which a reply ends."""
    response_format: ResponseFormat = ResponseFormat.text
    """The form in which replies are wanted."""
    use_cache: bool = True
    """Whether to use the provider's prompt caching."""
    reasoner: bool = False
    """Whether the model is one that reasons first."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "max"] | None = None
    """How long to reason, where the model lets one choose."""
    timeout: float = Field(default=120.0, gt=0, le=86_400, allow_inf_nan=False)
    """Seconds for one attempt of one call."""
    fallbacks: tuple[LLMConfig, ...] = ()
    """Other configs to try, in order, when this one cannot answer."""
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """Further parameters, passed through as they are. Not for keys: this is stored."""

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Which model answers, and how, stays; stop sequences and further parameters, which are free text, go."""
        kept = {name: value for name, value in values.items() if name in LLMConfig.model_fields and name not in ("stop", "extra")}
        return super().erased_values(values) | kept
