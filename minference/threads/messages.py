"""What is said in a thread: messages, the tool calls in them, the system prompt and what a reply used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, NoReturn, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_jsonable_python

from minference.ecs.entity import Entity
from minference.ecs.identity import Moment, utc_now
from minference.ecs.plan import OnErase
from minference.errors import InvalidToolArguments
from minference.threads.attachments import Attached


class MessageRole(StrEnum):
    """Who speaks."""

    user = "user"
    assistant = "assistant"
    tool = "tool"
    system = "system"


class FinishReason(StrEnum):
    """Why a reply ended."""

    stop = "stop"
    """The model was done."""
    length = "length"
    """`max_tokens` or the context was used up."""
    tool_calls = "tool_calls"
    """The model waits for tool results."""
    content_filter = "content_filter"
    """The provider withheld content."""
    refusal = "refusal"
    """The model declined to answer."""
    broken_off = "broken_off"
    """The stream ended, or was closed, before the reply did. This is no answer: running the thread again asks for a whole one."""
    other = "other"
    """The provider named a reason that is none of these; the raw output has its name."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


class ToolCall(BaseModel):
    """One call of a tool, as the model wrote it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """The provider's id of the call; the result carries it as `tool_call_id`."""
    name: str
    """The tool's name."""
    arguments_json: str = "{}"
    """The arguments as the model wrote them: usually, but not always, a JSON object."""

    @classmethod
    def from_arguments(cls, id: str, name: str, arguments: dict[str, Any]) -> Self:
        """A call with these arguments."""
        return cls(id=id, name=name, arguments_json=json.dumps(to_jsonable_python(arguments), ensure_ascii=False))

    @property
    def arguments(self) -> dict[str, JsonValue]:
        """The arguments as an object.

        Raises:
            InvalidToolArguments: The model wrote something else than one JSON object.
        """
        try:
            parsed = json.loads(self.arguments_json or "{}", parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise InvalidToolArguments(self.name, f"{self.arguments_json[:200]!r} is not JSON ({error})") from error
        if not isinstance(parsed, dict):
            raise InvalidToolArguments(self.name, f"{self.arguments_json[:200]!r} is not a JSON object")
        return parsed


class Usage(Entity):
    """Tokens that one reply used, and their price. Cached and cache-write tokens are contained in `prompt_tokens`, for every provider."""

    model: str
    """The model that answered, as its provider names it."""
    prompt_tokens: int = Field(ge=0, lt=2**63)
    """Of the request."""
    completion_tokens: int = Field(ge=0, lt=2**63)
    """Of the reply."""
    total_tokens: int = Field(ge=0, lt=2**63)
    """Both."""
    cache_creation_input_tokens: int | None = Field(default=None, ge=0, lt=2**63)
    """Of the request: written to the provider's cache."""
    cache_read_input_tokens: int | None = Field(default=None, ge=0, lt=2**63)
    """Of the request: read from the provider's cache, as Anthropic counts."""
    accepted_prediction_tokens: int | None = Field(default=None, ge=0, lt=2**63)
    """Of the reply: predicted and kept."""
    rejected_prediction_tokens: int | None = Field(default=None, ge=0, lt=2**63)
    """Of the reply: predicted and thrown away, but charged."""
    audio_tokens: int | None = Field(default=None, ge=0, lt=2**63)
    """Sound in request and reply."""
    reasoning_tokens: int | None = Field(default=None, ge=0, lt=2**63)
    """Of the reply: spent on reasoning."""
    cached_tokens: int | None = Field(default=None, ge=0, lt=2**63)
    """Of the request: read from the provider's cache, as OpenAI counts."""
    cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """US dollars, at the prices of the day of the reply; `None` if the price was unknown."""
    from_cache: bool = False
    """Whether the reply was given before, to the same request, so that nobody was asked: it used these tokens then, and costs nothing."""

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Numbers and the model's name are no content."""
        return super().erased_values(values) | {name: values[name] for name in Usage.model_fields if name in values}


class SystemPrompt(Entity):
    """A reusable system prompt."""

    name: str = "system"
    """For people."""
    content: str
    """What the model is told."""


class ChatMessage(Entity):
    """One message of a thread."""

    role: MessageRole
    """Who speaks."""
    content: str = ""
    """The text."""
    attachments: Annotated[tuple[Attached, ...], OnErase.too] = ()
    """Images and files beside the text, in the order in which the model sees them."""
    timestamp: Moment = Field(default_factory=utc_now)
    """When it was said."""
    author_uuid: UUID | None = None
    """Lineage of whoever wrote it, if the application tells."""
    parent_message_uuid: UUID | None = None
    """Lineage of the message that this one answers."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The tools that an assistant message asks for, in the order in which the model wrote them."""
    tool_call_id: str | None = None
    """On a tool result: the call that it answers."""
    tool_name: str | None = None
    """On a tool result: the name of the tool."""
    tool_uuid: UUID | None = None
    """On a tool result: the lineage of the tool."""
    tool_error: bool = False
    """On a tool result: whether `content` tells an error instead of a result."""
    reasoning: str | None = None
    """The model's reasoning, where the provider shows it."""
    reasoning_json: str | None = None
    """The provider's own reasoning blocks as JSON text, signatures included; sent back unchanged."""
    refusal: str | None = None
    """The model's words for not answering."""
    finish_reason: FinishReason | None = None
    """Why the reply ended; `None` on everything that no model wrote, which counts as a whole reply all the same."""
    usage: Annotated[Usage | None, OnErase.stays] = None
    """What the reply cost in tokens; `None` on everything that no model wrote."""

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Who spoke, when, why it ended, and which tool was called stay, so that the thread remains a valid conversation."""
        calls = tuple(call.model_copy(update={"arguments_json": "{}"}) for call in values["tool_calls"])
        return super().erased_values(values) | {name: values[name] for name in _NO_CONTENT} | {"tool_calls": calls}

    @property
    def is_partial(self) -> bool:
        """Whether it is what came of a reply that broke off, and so no answer."""
        return self.finish_reason is FinishReason.broken_off

    @property
    def tool_call(self) -> dict[str, JsonValue] | None:
        """The arguments of the first tool call."""
        return self.tool_calls[0].arguments if self.tool_calls else None

    @property
    def oai_tool_call_id(self) -> str | None:
        """The id of the call that this message makes first, or answers."""
        return self.tool_calls[0].id if self.tool_calls else self.tool_call_id

    @property
    def tool_type(self) -> Literal["Callable", "Structured"] | None:
        """Kept for code from the seeds: what a message that calls or answers a tool is about."""
        return "Callable" if self.tool_calls or self.tool_call_id else None


_NO_CONTENT = (
    "role",
    "timestamp",
    "author_uuid",
    "parent_message_uuid",
    "tool_call_id",
    "tool_name",
    "tool_uuid",
    "tool_error",
    "finish_reason",
)
"""What stays of a message that is erased, beside the ids and names of its tool calls."""
