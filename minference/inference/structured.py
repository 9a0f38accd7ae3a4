"""Structured replies: what was asked for is checked against its schema; everything else stays text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from minference.errors import ConfigurationError, InvalidToolArguments, NoStructuredOutput, RunError
from minference.threads.config import ResponseFormat
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, ToolCall
from minference.threads.outputs import GeneratedJsonObject
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool

_TEXTS = (ResponseFormat.text, ResponseFormat.json_beg, ResponseFormat.json_object)
"""The formats in which a reply is text, whatever is written in it."""
_FENCED = re.compile(r"\s*```(?:json)?[ \t]*\n(?P<inside>.*)\n[ \t]*```\s*", re.DOTALL)
"""How models like to show JSON that they were asked for in words."""


@dataclass(frozen=True, slots=True)
class NotStructured:
    """The reply was not asked to be an object."""


@dataclass(frozen=True, slots=True)
class Valid:
    """The reply is the object that was asked for."""

    object: GeneratedJsonObject


@dataclass(frozen=True, slots=True)
class Invalid:
    """The reply is not the object that was asked for."""

    name: str
    """Of the tool whose schema it should fit."""
    reason: str
    call: ToolCall | None = None
    """The call that holds the wrong object, if it came as one."""
    worth_asking_again: bool = True

    @property
    def error(self) -> RunError:
        """What the thread fails with in the end."""
        return NoStructuredOutput(self.name, self.reason)


Verdict = NotStructured | Valid | Invalid


def check_forced_output(thread: ChatThread) -> None:
    """Return unless the thread has a schema for its first reply that nothing would be told of.

    Later it may be kept from a turn before, for a turn to come, or for what its calls in the history mean.

    Raises:
        ConfigurationError: It has; says what to set.
    """
    output, asked_for = thread.forced_output, thread.llm_config.response_format
    if output is None or asked_for not in _TEXTS or thread.use_schema_instruction:
        return
    if any(message.role is MessageRole.assistant for message in thread.history):
        return
    if asked_for is not ResponseFormat.json_beg and any(tool.name == output.name for tool in thread.tools):
        return  # in that format no tools are offered
    raise ConfigurationError(
        f"thread.forced_output is {output.name!r}, and response_format {asked_for.value!r} takes no notice of it: set response_format="
        "'structured_output' in the LLMConfig ('tool' for a call of it), use_schema_instruction=True to ask for it in words, "
        "or forced_output only when it is wanted"
    )


def judge(thread: ChatThread, reply: ChatMessage) -> Verdict:
    """What the reply is, by the thread's response format. Pure.

    A call of a structured tool is an object in every format. Text is an object only in the format `structured_output`:
    text that happens to be JSON stays text. What a reply was before it was erased nobody can tell.
    """
    if reply.erased:
        return NotStructured()
    for call in reply.tool_calls:
        if isinstance(tool := thread.tool_named(call.name), StructuredTool):
            return judge_call(tool, call, reply)
    wanted = thread.forced_output
    match thread.llm_config.response_format:
        case ResponseFormat.structured_output if wanted is not None and not reply.tool_calls:
            return _unanswered(wanted.name, reply) or _check(_as_schema(wanted), _unfenced(reply.content), reply)
        case ResponseFormat.tool if wanted is not None and all(call.name != wanted.name for call in reply.tool_calls):
            return _unanswered(wanted.name, reply) or Invalid(wanted.name, f"it does not call the tool {wanted.name!r}")
        case _:
            return NotStructured()


def judge_call(tool: StructuredTool, call: ToolCall, reply: ChatMessage) -> Valid | Invalid:
    """Whether a call holds an object that fits the schema of its tool. Pure."""
    return _check(tool, call.arguments_json, reply, call)


def declined(reply: ChatMessage) -> str | None:
    """Why the model will not do what it was asked to, however often it is asked; `None` if it may."""
    if reply.refusal is not None or reply.finish_reason is FinishReason.refusal:
        return f"the model refused: {reply.refusal or reply.content or 'it gave no reason'}"
    if reply.finish_reason is FinishReason.content_filter:
        return "the provider withheld the reply (content filter)"
    return None


def feedback(invalid: Invalid, reply: ChatMessage) -> ChatMessage:
    """The message that tells the model what was wrong and asks it to try again."""
    if invalid.call is not None:
        return ChatMessage(
            role=MessageRole.tool,
            content=f"{invalid.reason}. Call {invalid.name} again with arguments that fit its schema.",
            tool_call_id=invalid.call.id,
            tool_name=invalid.call.name,
            tool_error=True,
            parent_message_uuid=reply.lineage_id,
        )
    text = f"Your reply cannot be used: {invalid.reason}. Reply again with nothing but an object that fits the schema of {invalid.name}."
    return ChatMessage(role=MessageRole.user, content=text, parent_message_uuid=reply.lineage_id)


def _unanswered(name: str, reply: ChatMessage) -> Invalid | None:
    """The model will not write the object."""
    why = declined(reply)
    return None if why is None else Invalid(name, why, worth_asking_again=False)


def _check(tool: StructuredTool, written: str, reply: ChatMessage, call: ToolCall | None = None) -> Valid | Invalid:
    try:
        if not written.strip():
            raise InvalidToolArguments(tool.name, "there is nothing in the reply")
        found = tool.validate_object(ToolCall(id="", name=tool.name, arguments_json=written).arguments)
    except InvalidToolArguments as error:
        cut_off = "; the reply was cut off at max_tokens" if reply.finish_reason is FinishReason.length else ""
        return Invalid(tool.name, error.reason + cut_off, call)
    return Valid(GeneratedJsonObject(name=tool.name, object=found, tool_call_id=call.id if call else None))


def _unfenced(text: str) -> str:
    fenced = _FENCED.fullmatch(text)
    return fenced["inside"] if fenced else text


def _as_schema(tool: CallableTool | StructuredTool) -> StructuredTool:
    return tool if isinstance(tool, StructuredTool) else StructuredTool(name=tool.name, json_schema=tool.input_schema)
