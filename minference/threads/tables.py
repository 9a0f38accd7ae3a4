"""The tables of messages, tools, configs, outputs and threads."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Double, String, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from minference.storage.sql.schema import reference
from minference.storage.sql.tables import EntityTable
from minference.storage.sql.types import ExactText, Id, Json, UtcDateTime
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, SystemPrompt, Usage
from minference.threads.outputs import GeneratedJsonObject, ProcessedOutput, RawOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool


class SystemPromptSQL(EntityTable, entity=SystemPrompt):
    """System prompts."""

    __tablename__ = "system_prompt"

    name: Mapped[str] = mapped_column(ExactText)
    content: Mapped[str] = mapped_column(ExactText)
    extra: Mapped[Any | None] = mapped_column(Json)


class LLMConfigSQL(EntityTable, entity=LLMConfig):
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


class UsageSQL(EntityTable, entity=Usage):
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
    extra: Mapped[Any | None] = mapped_column(Json)


class ChatMessageSQL(EntityTable, entity=ChatMessage):
    """Messages."""

    __tablename__ = "chat_message"

    role: Mapped[str] = mapped_column(String(20))
    content: Mapped[str] = mapped_column(ExactText)
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


class ToolSQL(EntityTable):
    """Tools of every type."""

    __tablename__ = "tool"
    __mapper_args__ = {"polymorphic_on": "tool_type"}  # noqa: RUF012 - declared so by SQLAlchemy

    tool_type: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(ExactText)
    strict_schema: Mapped[bool] = mapped_column(Boolean)
    extra: Mapped[Any | None] = mapped_column(Json)


class CallableToolSQL(ToolSQL, entity=CallableTool):
    """Functions that models can call."""

    __mapper_args__ = {"polymorphic_identity": "callable"}  # noqa: RUF012 - declared so by SQLAlchemy

    docstring: Mapped[str | None] = mapped_column(ExactText)
    input_schema: Mapped[Any | None] = mapped_column(Json)
    output_schema: Mapped[Any | None] = mapped_column(Json)
    callable_text: Mapped[str | None] = mapped_column(ExactText)
    timeout: Mapped[float | None] = mapped_column(Double)
    idempotent: Mapped[bool | None] = mapped_column(Boolean)


class StructuredToolSQL(ToolSQL, entity=StructuredTool):
    """Schemas that answers must fit."""

    __mapper_args__ = {"polymorphic_identity": "structured"}  # noqa: RUF012 - declared so by SQLAlchemy

    description: Mapped[str | None] = mapped_column(ExactText)
    instruction_string: Mapped[str | None] = mapped_column(ExactText)
    json_schema: Mapped[Any | None] = mapped_column(Json)


class ChatThreadSQL(EntityTable, entity=ChatThread):
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


class GeneratedJsonObjectSQL(EntityTable, entity=GeneratedJsonObject):
    """Objects that models wrote."""

    __tablename__ = "generated_json_object"

    name: Mapped[str] = mapped_column(ExactText)
    object: Mapped[Any] = mapped_column(Json)
    tool_call_id: Mapped[str | None] = mapped_column(ExactText)
    extra: Mapped[Any | None] = mapped_column(Json)


class RawOutputSQL(EntityTable, entity=RawOutput):
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
    extra: Mapped[Any | None] = mapped_column(Json)


class ProcessedOutputSQL(EntityTable, entity=ProcessedOutput):
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
