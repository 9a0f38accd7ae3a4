"""What of a thread is told to a model, before any provider's dialect: the same for all of them, and pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_core import to_json

from minference.clients.base import Request
from minference.clients.halves import sendable, sendable_json
from minference.clients.rejoining import JSON_ANSWER
from minference.errors import ConfigurationError, RepeatedToolName, ReservedToolName, UnsupportedAttachment
from minference.threads.attachments import Attached, ImageLink
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.formats import Means
from minference.threads.messages import ChatMessage, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import StructuredTool, Tool

ASKS_FOR_JSON = (ResponseFormat.json_beg, ResponseFormat.json_object)
RECEIVED = "Received."
ERASED = "(erased)"
_SENT_OF_ERASED = ("role", "tool_call_id", "tool_name", "tool_error")
NOT_RUN = "This call was not run: the conversation went on without it."
USE_SCHEMA = "Please follow this JSON schema for your response:"


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools that a request holds, and the one that must be called."""

    tools: tuple[Tool, ...] = ()
    forced: Tool | None = None
    must_call: bool = False
    """Whether one of them must be called, whichever."""


def offer_of(thread: ChatThread, means: Means = Means.native) -> Offer:
    """The tools for the next reply, each once. If it must be forced, the last one is `json_answer`, which holds the answer.

    Raises:
        ConfigurationError: The response format needs a tool that the thread does not have, or two tools have one name.
    """
    tools = _distinct(thread)
    if means is Means.forced:
        answer = _json_answer(thread)
        # With tools beside it, the model works with them first, and answers by calling this one.
        return Offer((*tools, answer), None if tools else answer, must_call=True)
    match thread.llm_config.response_format:
        case ResponseFormat.tool:
            forced = forced_output(thread)
            others = tuple(tool for tool in tools if tool.name != forced.name)
            return Offer((*others, forced), forced)
        case ResponseFormat.workflow:
            step = thread.workflow_step or 0
            if step >= len(thread.tools):
                raise ConfigurationError(
                    f"the workflow has {len(thread.tools)} steps and {step} are done: add tools, or set workflow_step back to 0"
                )
            return Offer(tools, thread.tools[step])
        case ResponseFormat.auto_tools if not thread.tools:
            raise ConfigurationError("response_format 'auto_tools' needs tools: add some to thread.tools, or use 'text'")
        case ResponseFormat.json_beg:
            return Offer()
        case _:
            return Offer(tools)


def _json_answer(thread: ChatThread) -> StructuredTool:
    if thread.llm_config.response_format is ResponseFormat.json_object:
        return StructuredTool(name=JSON_ANSWER, description="Gives the answer.", json_schema={"type": "object"}, strict_schema=False)
    output = forced_output(thread)
    words = f"Gives the answer: {output.name}. {output.description}".strip()
    return StructuredTool(name=JSON_ANSWER, description=words, json_schema=output.input_schema, strict_schema=output.strict_schema)


def _distinct(thread: ChatThread) -> tuple[Tool, ...]:
    """The thread's tools, one that stands there twice only once.

    Raises:
        RepeatedToolName: Two that differ have one name: nobody could tell which of them a call means.
        ReservedToolName: One has the name of the tool that clients add.
    """
    found: dict[str, Tool] = {}
    for tool in thread.tools:
        first = found.setdefault(tool.name, tool)
        if first.lineage_id != tool.lineage_id:
            raise RepeatedToolName(tool.name)
    forced = thread.forced_output
    if JSON_ANSWER in found or (forced is not None and forced.name == JSON_ANSWER):
        raise ReservedToolName(JSON_ANSWER)
    if forced is not None and _differ(found.get(forced.name, forced), forced):
        raise RepeatedToolName(forced.name)
    return tuple(found.values())


def _differ(one: Tool, other: Tool) -> bool:
    return type(one) is not type(other) or one.input_schema != other.input_schema


def forced_output(thread: ChatThread) -> Tool:
    """The tool whose schema the reply must fit.

    Raises:
        ConfigurationError: The thread has none.
    """
    if thread.forced_output is None:
        name = thread.llm_config.response_format.value
        raise ConfigurationError(f"response_format {name!r} needs thread.forced_output: set it, e.g. StructuredTool.from_pydantic(Model)")
    return thread.forced_output


def system_text(thread: ChatThread, means: Means = Means.native) -> str:
    """The system prompt, and the schema of the forced output if it is wanted there; empty if there is neither.

    The schema is wanted if the thread says so, and if there is no other way to ask for a structured output.
    """
    parts = [thread.system_prompt.content] if thread.system_prompt else []
    needed = means is Means.words and thread.llm_config.response_format is ResponseFormat.structured_output
    tool = forced_output(thread) if needed else thread.forced_output
    if (needed or thread.use_schema_instruction) and tool is not None:
        instruction = tool.instruction_string if isinstance(tool, StructuredTool) else USE_SCHEMA
        parts.append(f"{instruction}\n{to_json(tool.input_schema).decode()}")
    return "\n\n".join(parts)


def messages_to_send(thread: ChatThread) -> list[ChatMessage]:
    """The messages for the next reply: the history or its end, `new_message`, and a result for every call.

    What came of a reply that broke off is left out at the end, where the whole reply is asked for.

    Providers refuse a call without a result, so one is made up where a conversation went on without it. They also refuse
    messages that say nothing, so an erased one says that it was erased.

    Raises:
        ConfigurationError: There is no message at all.
    """
    sent = [_shown(message) for message in _said(thread)]
    if thread.new_message is not None:
        sent.append(ChatMessage(role=MessageRole.user, content=thread.new_message))
    if not thread.use_history:
        asked = [position for position, message in enumerate(sent) if message.role is MessageRole.user]
        sent = sent[asked[-1] :] if asked else sent
    if not sent:
        raise ConfigurationError("the thread has nothing to answer: set new_message, or call add_user_message()")
    sent = _with_all_results(thread, sent)
    return _with_postfill(thread, sent) if thread.llm_config.response_format in ASKS_FOR_JSON else sent


def _said(thread: ChatThread) -> list[ChatMessage]:
    asked_again = thread.new_message is None and bool(thread.history) and thread.history[-1].is_partial
    return thread.history[:-1] if asked_again else thread.history


def _shown(message: ChatMessage) -> ChatMessage:
    """The message, or what there is to send of it: of an erased one that it was, and nothing of erased attachments."""
    left = tuple(attached for attached in message.attachments if not attached.erased)
    if message.erased and not message.tool_calls:
        kept = {name: getattr(message, name) for name in _SENT_OF_ERASED}
        return ChatMessage(content=ERASED, **kept)
    if len(left) == len(message.attachments):
        return _without_halves(message) if message.role is MessageRole.assistant else message
    kept = {name: getattr(message, name) for name in (*_SENT_OF_ERASED, "tool_calls", "reasoning", "reasoning_json", "refusal")}
    return ChatMessage(content=message.content or ("" if left or message.tool_calls else ERASED), attachments=left, **kept)


def _without_halves(message: ChatMessage) -> ChatMessage:
    """What a model said, as it can be sent back. What a user says is refused instead: there is somebody to correct it."""
    calls = tuple(_sendable_call(call) for call in message.tool_calls)
    content = sendable(message.content)
    refusal = message.refusal and sendable(message.refusal)
    if calls == message.tool_calls and (content, refusal) == (message.content, message.refusal):
        return message
    return message.model_copy(update={"content": content, "refusal": refusal, "tool_calls": calls})


def _sendable_call(call: ToolCall) -> ToolCall:
    written = sendable_json(call.arguments_json)
    return call if written == call.arguments_json else call.model_copy(update={"arguments_json": written})


def _with_all_results(thread: ChatThread, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The messages with exactly one result for every call, before anything else is said. A result without a call is told in words."""
    complete: list[ChatMessage] = []
    waiting: list[ToolCall] = []
    told: list[ChatMessage] = []

    def finish() -> None:
        complete.extend([_made_up_result(thread, call) for call in waiting] + told)
        waiting.clear()
        told.clear()

    for message in messages:
        if message.role is not MessageRole.tool:
            finish()
            waiting += message.tool_calls
            complete.append(message)
        elif (answered := next((call for call in waiting if call.id == message.tool_call_id), None)) is not None:
            waiting.remove(answered)
            complete.append(message)
        else:
            told.append(_told(message))
    finish()
    return complete


def _told(result: ChatMessage) -> ChatMessage:
    """A result that answers no call, as something that the user says."""
    words = f"{'Error' if result.tool_error else 'Result'} of {result.tool_name or 'a tool'}: {result.content}"
    return ChatMessage(role=MessageRole.user, content=words, attachments=result.attachments)


def _made_up_result(thread: ChatThread, call: ToolCall) -> ChatMessage:
    text = RECEIVED if isinstance(thread.tool_named(call.name), StructuredTool) else NOT_RUN
    return ChatMessage(role=MessageRole.tool, content=text, tool_call_id=call.id, tool_name=call.name)


def _with_postfill(thread: ChatThread, messages: list[ChatMessage]) -> list[ChatMessage]:
    """The messages with the postfill on the user's last one, as a copy: the thread never sees it."""
    for position in range(len(messages) - 1, -1, -1):
        if messages[position].role is MessageRole.user:
            last = messages[position]
            asked = ChatMessage(role=MessageRole.user, content=last.content + thread.postfill, attachments=last.attachments)
            return [*messages[:position], asked, *messages[position + 1 :]]
    return messages


def attachments_to_send(thread: ChatThread) -> list[Attached]:
    """What the messages for the next reply carry."""
    if not any(message.attachments for message in thread.history):
        return []
    return [attached for message in messages_to_send(thread) for attached in message.attachments]


def refuse_attachments(client: str, message: ChatMessage, reason: str) -> None:
    """Return if the message carries nothing.

    Raises:
        UnsupportedAttachment: It does.
    """
    for attached in message.attachments:
        what = "a link to an image" if isinstance(attached, ImageLink) else attached.media_type
        raise UnsupportedAttachment(client, attached.name, what, reason)


def merge_extra(request: Request, config: LLMConfig, client: str, rendered: Sequence[str]) -> Request:
    """The request with the config's further parameters in it; what is `rendered` from the thread cannot be replaced.

    Raises:
        ConfigurationError: A further parameter would replace what the thread says.
    """
    if clash := sorted(set(rendered) & config.extra.keys()):
        raise ConfigurationError(
            f"llm_config.extra[{clash[0]!r}] cannot be sent by {client!r}: that part of a request comes from the thread and its config"
        )
    return {**request, **config.extra}
