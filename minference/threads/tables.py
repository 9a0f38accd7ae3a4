"""The tables of messages, tools, configs, outputs and threads."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Double, String, Text, Uuid, false
from sqlalchemy.orm import Mapped, mapped_column
from typing_extensions import TypeVar

from minference.storage.sql.schema import reference
from minference.storage.sql.tables import EntityTable
from minference.storage.sql.types import ExactText, Id, Json, UtcDateTime
from minference.storage.sql.views import View
from minference.threads.attachments import FileAttachment, ImageAttachment, ImageLink
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, SystemPrompt, Usage
from minference.threads.outputs import GeneratedJsonObject, ProcessedOutput, RawOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool

A = TypeVar("A", bound=FileAttachment | ImageAttachment | ImageLink, default=FileAttachment | ImageAttachment | ImageLink)
T = TypeVar("T", bound=CallableTool | StructuredTool, default=CallableTool | StructuredTool)


class SystemPromptSQL(EntityTable[SystemPrompt]):
    """System prompts."""

    __tablename__ = "system_prompt"

    name: Mapped[str] = mapped_column(ExactText)
    content: Mapped[str] = mapped_column(ExactText)
    extra: Mapped[Any | None] = mapped_column(Json)


class LLMConfigSQL(EntityTable[LLMConfig]):
    """Models and parameters of their calls."""

    __tablename__ = "llm_config"
    __rename__: ClassVar = {"extra": "extra_parameters"}

    client: Mapped[str] = mapped_column(ExactText)
    model: Mapped[str] = mapped_column(ExactText)
    max_tokens: Mapped[int] = mapped_column(BigInteger)
    temperature: Mapped[float | None] = mapped_column(Double)
    top_p: Mapped[float | None] = mapped_column(Double)
    seed: Mapped[int | None] = mapped_column(BigInteger)
    stop: Mapped[Any] = mapped_column(Json)
    response_format: Mapped[str] = mapped_column(String(20))
    use_cache: Mapped[bool] = mapped_column(Boolean)
    reasoner: Mapped[bool] = mapped_column(Boolean)
    reasoning_effort: Mapped[str | None] = mapped_column(String(20))
    timeout: Mapped[float] = mapped_column(Double)
    fallbacks_seq: Mapped[int | None] = mapped_column(Id)
    fallbacks_len: Mapped[int]
    extra_parameters: Mapped[Any] = mapped_column(Json)
    extra: Mapped[Any | None] = mapped_column(Json)


class UsageSQL(EntityTable[Usage]):
    """Tokens of each reply."""

    __tablename__ = "usage"

    model: Mapped[str] = mapped_column(ExactText)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    total_tokens: Mapped[int] = mapped_column(BigInteger)
    cache_creation_input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cache_read_input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    accepted_prediction_tokens: Mapped[int | None] = mapped_column(BigInteger)
    rejected_prediction_tokens: Mapped[int | None] = mapped_column(BigInteger)
    audio_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reasoning_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cached_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cost_usd: Mapped[float | None] = mapped_column(Double)
    from_cache: Mapped[bool] = mapped_column(Boolean, server_default=false())
    extra: Mapped[Any | None] = mapped_column(Json)


class ChatMessageSQL(EntityTable[ChatMessage]):
    """Messages."""

    __tablename__ = "chat_message"

    role: Mapped[str] = mapped_column(String(20))
    content: Mapped[str] = mapped_column(ExactText)
    attachments_seq: Mapped[int | None] = mapped_column(Id)
    attachments_len: Mapped[int] = mapped_column(server_default="0")
    timestamp: Mapped[datetime] = mapped_column(UtcDateTime)
    author_uuid: Mapped[UUID | None] = mapped_column(Uuid)
    parent_message_uuid: Mapped[UUID | None] = mapped_column(Uuid)
    tool_calls: Mapped[Any] = mapped_column(Json)
    tool_call_id: Mapped[str | None] = mapped_column(ExactText)
    tool_name: Mapped[str | None] = mapped_column(ExactText)
    tool_uuid: Mapped[UUID | None] = mapped_column(Uuid)
    tool_error: Mapped[bool] = mapped_column(Boolean)
    reasoning: Mapped[str | None] = mapped_column(ExactText)
    reasoning_json: Mapped[str | None] = mapped_column(ExactText)
    refusal: Mapped[str | None] = mapped_column(ExactText)
    finish_reason: Mapped[str | None] = mapped_column(String(20))
    usage_id: Mapped[int | None] = mapped_column(Id, reference("usage.id"), index=True)
    extra: Mapped[Any | None] = mapped_column(Json)


class AttachmentSQL(EntityTable[A]):
    """What messages carry. Which bytes each version refers to: table `entity_blob`; the bytes: table `blob`."""

    __tablename__ = "attachment"
    __mapper_args__ = {"polymorphic_on": "attachment_type"}  # noqa: RUF012 - declared so by SQLAlchemy

    attachment_type: Mapped[str] = mapped_column(String(20))
    """`file`, `image` or `image_link`; columns of the other types are NULL."""
    name: Mapped[str] = mapped_column(ExactText)
    extra: Mapped[Any | None] = mapped_column(Json)


class FileAttachmentSQL(AttachmentSQL[FileAttachment]):
    """Files to read."""

    __mapper_args__ = {"polymorphic_identity": "file"}  # noqa: RUF012 - declared so by SQLAlchemy

    media_type: Mapped[str | None] = mapped_column(ExactText, use_existing_column=True)
    content: Mapped[Any | None] = mapped_column(Json, use_existing_column=True)


class ImageAttachmentSQL(AttachmentSQL[ImageAttachment]):
    """Images to look at."""

    __mapper_args__ = {"polymorphic_identity": "image"}  # noqa: RUF012 - declared so by SQLAlchemy

    media_type: Mapped[str | None] = mapped_column(ExactText, use_existing_column=True)
    content: Mapped[Any | None] = mapped_column(Json, use_existing_column=True)
    detail: Mapped[str | None] = mapped_column(String(20), use_existing_column=True)


class ImageLinkSQL(AttachmentSQL[ImageLink]):
    """Images elsewhere."""

    __mapper_args__ = {"polymorphic_identity": "image_link"}  # noqa: RUF012 - declared so by SQLAlchemy

    url: Mapped[str | None] = mapped_column(ExactText)
    detail: Mapped[str | None] = mapped_column(String(20), use_existing_column=True)


class ToolSQL(EntityTable[T]):
    """Tools of every type."""

    __tablename__ = "tool"
    __mapper_args__ = {"polymorphic_on": "tool_type"}  # noqa: RUF012 - declared so by SQLAlchemy

    tool_type: Mapped[str] = mapped_column(String(20))
    """`callable` or `structured`; columns of the other type are NULL."""
    name: Mapped[str] = mapped_column(ExactText)
    strict_schema: Mapped[bool] = mapped_column(Boolean)
    extra: Mapped[Any | None] = mapped_column(Json)


class CallableToolSQL(ToolSQL[CallableTool]):
    """Functions that models can call."""

    __mapper_args__ = {"polymorphic_identity": "callable"}  # noqa: RUF012 - declared so by SQLAlchemy

    docstring: Mapped[str | None] = mapped_column(ExactText)
    input_schema: Mapped[Any | None] = mapped_column(Json)
    output_schema: Mapped[Any | None] = mapped_column(Json)
    callable_text: Mapped[str | None] = mapped_column(ExactText)
    timeout: Mapped[float | None] = mapped_column(Double)
    idempotent: Mapped[bool | None] = mapped_column(Boolean)
    resolve_references: Mapped[bool | None] = mapped_column(Boolean)
    source_text: Mapped[str | None] = mapped_column(ExactText)


class StructuredToolSQL(ToolSQL[StructuredTool]):
    """Schemas that answers must fit."""

    __mapper_args__ = {"polymorphic_identity": "structured"}  # noqa: RUF012 - declared so by SQLAlchemy

    description: Mapped[str | None] = mapped_column(ExactText)
    instruction_string: Mapped[str | None] = mapped_column(ExactText)
    json_schema: Mapped[Any | None] = mapped_column(Json)


class ChatThreadSQL(EntityTable[ChatThread]):
    """Threads. The messages of each version: view `thread_messages`."""

    __tablename__ = "chat_thread"

    name: Mapped[str | None] = mapped_column(ExactText)
    new_message: Mapped[str | None] = mapped_column(ExactText)
    prefill: Mapped[str] = mapped_column(ExactText)
    postfill: Mapped[str] = mapped_column(ExactText)
    use_schema_instruction: Mapped[bool] = mapped_column(Boolean)
    use_history: Mapped[bool] = mapped_column(Boolean)
    workflow_step: Mapped[int | None] = mapped_column(BigInteger)
    system_prompt_id: Mapped[int | None] = mapped_column(Id, reference("system_prompt.id"))
    llm_config_id: Mapped[int] = mapped_column(Id, reference("llm_config.id"))
    forced_output_id: Mapped[int | None] = mapped_column(Id, reference("tool.id"))
    history_seq: Mapped[int | None] = mapped_column(Id)
    history_len: Mapped[int]
    tools_seq: Mapped[int | None] = mapped_column(Id)
    tools_len: Mapped[int]
    extra: Mapped[Any | None] = mapped_column(Json)


class GeneratedJsonObjectSQL(EntityTable[GeneratedJsonObject]):
    """Objects that models wrote."""

    __tablename__ = "generated_json_object"

    name: Mapped[str] = mapped_column(ExactText)
    object: Mapped[Any] = mapped_column(Json)
    tool_call_id: Mapped[str | None] = mapped_column(ExactText)
    extra: Mapped[Any | None] = mapped_column(Json)


class RawOutputSQL(EntityTable[RawOutput]):
    """Replies as they came."""

    __tablename__ = "raw_output"

    client: Mapped[str] = mapped_column(ExactText)
    thread_version: Mapped[UUID] = mapped_column(Uuid, index=True)
    request_parameters: Mapped[Any] = mapped_column(Json)
    request_sha256: Mapped[str] = mapped_column(ExactText)
    raw_result: Mapped[Any] = mapped_column(Json)
    start_time: Mapped[datetime] = mapped_column(UtcDateTime)
    end_time: Mapped[datetime] = mapped_column(UtcDateTime)
    attempts: Mapped[Any] = mapped_column(Json)
    from_cache: Mapped[bool] = mapped_column(Boolean, server_default=false())
    extra: Mapped[Any | None] = mapped_column(Json)


class ProcessedOutputSQL(EntityTable[ProcessedOutput]):
    """What each reply means."""

    __tablename__ = "processed_output"

    content: Mapped[str | None] = mapped_column(ExactText)
    error: Mapped[str | None] = mapped_column(ExactText)
    time_taken: Mapped[float] = mapped_column(Double)
    llm_client: Mapped[str] = mapped_column(ExactText)
    chat_thread_id: Mapped[UUID] = mapped_column(Uuid, index=True)
    message_uuid: Mapped[UUID] = mapped_column(Uuid, index=True)
    json_object_id: Mapped[int | None] = mapped_column(Id, reference("generated_json_object.id"))
    usage_id: Mapped[int | None] = mapped_column(Id, reference("usage.id"), index=True)
    raw_output_id: Mapped[int] = mapped_column(Id, reference("raw_output.id"), index=True)
    extra: Mapped[Any | None] = mapped_column(Json)


class ThreadMessageView(View):
    """The messages of every version of every thread, each at its position."""

    __tablename__ = "thread_messages"

    thread_id: Mapped[int] = mapped_column(Id, primary_key=True)
    """Key of the thread's version."""
    thread_ecs_id: Mapped[UUID] = mapped_column(Uuid)
    """Name of the thread's version."""
    thread_lineage_id: Mapped[UUID] = mapped_column(Uuid)
    """The thread, whatever the version."""
    position: Mapped[int] = mapped_column(primary_key=True)
    """0 for the first message."""
    message_id: Mapped[int] = mapped_column(Id)
    """Key of the message's version, in `chat_message` and `entity_version`."""
    message_ecs_id: Mapped[UUID] = mapped_column(Uuid)
    """Name of the message's version."""
    message_lineage_id: Mapped[UUID] = mapped_column(Uuid)
    """The message, whatever the version."""
    role: Mapped[str] = mapped_column(String(20))
    """Who speaks."""
    content: Mapped[str] = mapped_column(ExactText)
    """The text."""
    usage_id: Mapped[int | None] = mapped_column(Id)
    """Key of what the reply cost in tokens, in `usage`; NULL on everything that no model wrote."""
    added_by: Mapped[int] = mapped_column(Id)
    """Key of the thread's version that put the message there."""


class ThreadHeadView(View):
    """The newest version of every thread."""

    __tablename__ = "thread_heads"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    """Key of the version."""
    lineage_id: Mapped[UUID] = mapped_column(Uuid)
    """The thread."""
    ecs_id: Mapped[UUID] = mapped_column(Uuid)
    """Name of the version."""
    name: Mapped[str | None] = mapped_column(ExactText)
    """For people."""
    messages: Mapped[int]
    """How many it holds."""
    versions: Mapped[int] = mapped_column(BigInteger)
    """How many the thread has."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When it came to be."""
    author: Mapped[str | None] = mapped_column(Text)
    """Who saved it."""
    note: Mapped[str | None] = mapped_column(Text)
    """Why."""


class ThreadUsageView(View):
    """Tokens of the replies in every version of every thread, by model."""

    __tablename__ = "thread_usage"

    thread_id: Mapped[int] = mapped_column(Id, primary_key=True)
    """Key of the thread's version."""
    thread_ecs_id: Mapped[UUID] = mapped_column(Uuid)
    """Name of the thread's version."""
    thread_lineage_id: Mapped[UUID] = mapped_column(Uuid)
    """The thread, whatever the version."""
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    """The model as its provider names it."""
    replies: Mapped[int] = mapped_column(BigInteger)
    """Messages that say what they used."""
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    """Tokens of the requests."""
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    """Tokens of the replies."""
    total_tokens: Mapped[int] = mapped_column(BigInteger)
    """Both."""
    cache_creation_input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    """Of the requests: written to the provider's cache."""
    cache_read_input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    """Of the requests: read from the provider's cache, as Anthropic counts."""
    cached_tokens: Mapped[int | None] = mapped_column(BigInteger)
    """Of the requests: read from the provider's cache, as OpenAI counts."""
    reasoning_tokens: Mapped[int | None] = mapped_column(BigInteger)
    """Of the replies: spent on reasoning."""
    audio_tokens: Mapped[int | None] = mapped_column(BigInteger)
    """Of the replies: sound."""
    cost_usd: Mapped[float | None] = mapped_column(Double)
    """US dollars for those replies whose price is known; NULL if there are none."""
    unpriced: Mapped[int]
    """Replies whose price is unknown."""
