"""`ChatThread`: a conversation with one model at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from minference.ecs.entity import Entity
from minference.ecs.plan import OnErase
from minference.threads.attachments import Attached
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt, ToolCall
from minference.threads.tools import CallableTool, StructuredTool

if TYPE_CHECKING:

    class _Tools:
        """The field `tools` as a type checker sees it: a list, which is made of any sequence, a `list[CallableTool]` for example."""

        def __get__(self, thread: ChatThread, owner: type[ChatThread]) -> list[CallableTool | StructuredTool]: ...

        def __set__(self, thread: ChatThread, tools: Sequence[CallableTool | StructuredTool]) -> None: ...


class ChatThread(Entity):
    """A conversation: what was said, who answers, and with which tools."""

    name: str | None = None
    """For people."""
    system_prompt: SystemPrompt | None = None
    """What the model is told before everything else."""
    llm_config: LLMConfig
    """Who answers."""
    history: Annotated[list[ChatMessage], OnErase.too] = Field(default_factory=list)
    new_message: str | None = None
    """The user's next message. The next inference moves it into the history."""
    if TYPE_CHECKING:
        tools: _Tools = Field(default_factory=_Tools)
    else:
        tools: list[CallableTool | StructuredTool] = Field(default_factory=list)
    forced_output: CallableTool | StructuredTool | None = None
    """The tool that a structured or forced reply must use: `llm_config.response_format` says that it is one."""
    prefill: str = "Here's the valid JSON object response:```json"
    """How an answer in `json_beg` format is made to begin."""
    postfill: str = "\n\nPlease provide your response in JSON format."
    """What is added to the last message in `json_beg` and `json_object` format."""
    use_schema_instruction: bool = False
    """Whether the schema of `forced_output` is also written into the system prompt."""
    use_history: bool = True
    """Whether earlier messages are sent; if not, only what follows the last user message, itself included."""
    workflow_step: int | None = Field(default=None, ge=0, lt=2**63)
    """Number of workflow steps that are done; `None` outside of workflows."""

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Texts go, settings stay."""
        kept = ("use_schema_instruction", "use_history", "workflow_step")
        return super().erased_values(values) | {name: values[name] for name in kept}

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from minference.threads.notebook import thread_to_html

        return thread_to_html(self)

    @property
    def last_message(self) -> ChatMessage | None:
        """The newest message, if there is one."""
        return self.history[-1] if self.history else None

    def add_user_message(self, content: str | None = None, *, attachments: Sequence[Attached] = ()) -> ChatMessage:
        """Append the user's message to the history: `content`, or what `new_message` holds, which is then emptied.

        A message with attachments needs no text.

        Raises:
            ValueError: There is nothing to say.
        """
        text = content if content is not None else self.new_message
        if text is None and not attachments:
            raise ValueError("there is nothing to say: pass content or attachments, or set new_message")
        answered = self.last_message
        message = ChatMessage(
            role=MessageRole.user,
            content=text or "",
            attachments=tuple(attachments),
            parent_message_uuid=answered.lineage_id if answered else None,
        )
        self.history.append(message)
        if content is None:
            self.new_message = None
        return message

    def unanswered_calls(self, reply: ChatMessage) -> tuple[ToolCall, ...]:
        """The tool calls of `reply` that have no result in the history yet, in order."""
        after = self.history[next(i for i, message in enumerate(self.history) if message is reply) + 1 :]
        answered = {message.tool_call_id for message in after if message.role is MessageRole.tool}
        return tuple(call for call in reply.tool_calls if call.id not in answered)

    def tool_named(self, name: str) -> CallableTool | StructuredTool | None:
        """The tool with this name among `tools` and `forced_output`."""
        offered = [*self.tools, *([self.forced_output] if self.forced_output else [])]
        return next((tool for tool in offered if tool.name == name), None)
