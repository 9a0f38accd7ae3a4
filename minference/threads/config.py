"""Which model answers, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from minference.ecs.entity import Entity
from minference.profiles import KEY_NAMES
from minference.threads.formats import ResponseFormat, refuse_impossible_built_in

__all__ = ["LLMConfig", "ResponseFormat"]


class LLMConfig(Entity):
    """A model behind a client, and the parameters of its calls. Never holds a key.

    Raises:
        ImpossibleConfig: A client that minference knows cannot do what is asked for; names what can be asked for instead.
    """

    client: str = Field(min_length=1)
    """Name of a client or of a profile in `providers.toml`: openai, anthropic, local, ..."""
    model: str = Field(min_length=1)
    """As the provider names it."""
    max_tokens: int = Field(default=1024, ge=1, lt=2**63)
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

    def with_fallbacks(self) -> list[LLMConfig]:
        """This config, then its fallbacks in order, each followed by its own."""
        return [self, *(each for fallback in self.fallbacks for each in fallback.with_fallbacks())]

    @field_validator("extra")
    @classmethod
    def _refuse_keys(cls, extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
        headers = extra.get("extra_headers")
        names = [*extra, *(headers if isinstance(headers, dict) else ())]
        if found := [name for name in names if name.lower().replace("_", "-") in KEY_NAMES]:
            raise ValueError(f"{found[0]!r} is an API key, and configs are stored: put it into the environment, see `minference doctor`")
        return extra

    @model_validator(mode="after")
    def _refuse_impossible(self) -> Self:
        """What a client cannot do is refused where it is written, not when it is sent. Stored configs load whatever they say."""
        refuse_impossible_built_in(self)
        return self

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Which model answers, and how, stays; stop sequences and further parameters, which are free text, go."""
        kept = {name: value for name, value in values.items() if name in LLMConfig.model_fields and name not in ("stop", "extra")}
        return super().erased_values(values) | kept
