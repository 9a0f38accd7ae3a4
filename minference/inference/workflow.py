"""Workflows: one tool per step, each forced until it has given a result. How many steps are done stands in the thread."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

from minference.errors import NotThisStep, StepNotCalled, ToolInterrupted
from minference.inference.structured import Invalid, NotStructured, Valid, Verdict, declined, judge, judge_call
from minference.threads.config import ResponseFormat
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from minference.threads.tools import StructuredTool, Tool


@dataclass(frozen=True, slots=True)
class StepMissed(Invalid):
    """The reply does not call the tool of the step."""

    step: int = 0
    """Steps that are done."""
    steps: int = 0

    @property
    def error(self) -> StepNotCalled:
        """What the thread fails with in the end."""
        return StepNotCalled(self.name, self.step + 1, self.steps, self.reason, final=not self.worth_asking_again)


def due_tool(thread: ChatThread) -> Tool | None:
    """The tool of the step that the workflow is at; `None` outside of workflows and after the last step."""
    step = thread.workflow_step or 0
    if thread.llm_config.response_format is not ResponseFormat.workflow or step >= len(thread.tools):
        return None
    return thread.tools[step]


def judge_reply(thread: ChatThread, reply: ChatMessage) -> Verdict:
    """What the reply is that the thread has just got: in a workflow, whether it takes the step. Pure."""
    due = due_tool(thread)
    if due is None or reply.erased:
        return judge(thread, reply)
    called = next((call for call in reply.tool_calls if call.name == due.name), None)
    if called is None:
        why, worth = declined(reply), False
        if why is None:
            why, worth = f"the model {_what_it_did(reply)}", True
        return StepMissed(due.name, why, worth_asking_again=worth, step=thread.workflow_step or 0, steps=len(thread.tools))
    return judge_call(due, called, reply) if isinstance(due, StructuredTool) else NotStructured()


def add_reply(thread: ChatThread, reply: ChatMessage, verdict: Verdict) -> None:
    """Append the reply and, in a workflow, an error result for every call that was not asked for, so that none of them is run.

    The step of a structured tool is done with the reply.
    """
    due = due_tool(thread)
    thread.history.append(reply)
    if due is None:
        return
    wanted = {call.id for call in reply.tool_calls if call.name == due.name}
    for call in reply.tool_calls:
        if call.name != due.name and call.id not in wanted:
            tool = thread.tool_named(call.name)
            thread.history.append(
                ChatMessage(
                    role=MessageRole.tool,
                    content=str(NotThisStep(call.name, due.name)),
                    tool_call_id=call.id,
                    tool_name=call.name,
                    tool_uuid=tool.lineage_id if tool else None,
                    tool_error=True,
                    parent_message_uuid=reply.lineage_id,
                )
            )
    if isinstance(due, StructuredTool) and isinstance(verdict, Valid):
        _count(thread)


def add_result(thread: ChatThread, reply: ChatMessage, result: ChatMessage) -> None:
    """Append the result of a call of `reply`. With the last one, the step of a workflow is done if its tool has given a result.

    A call of a tool that must not run twice, which a crash interrupted, counts: it may have taken effect, and is not forced again.
    """
    due = due_tool(thread)
    waited = due is not None and bool(thread.unanswered_calls(reply))
    thread.history.append(result)
    if due is None or not waited or thread.unanswered_calls(reply):
        return
    results = takewhile(lambda message: message.role is MessageRole.tool, reversed(thread.history))
    if any(each.tool_name == due.name and (not each.tool_error or _was_interrupted(each, due)) for each in results):
        _count(thread)


def ask_for_step(missed: StepMissed, reply: ChatMessage) -> ChatMessage | None:
    """The message that asks for the step again; `None` if the error results of the reply's calls do so already."""
    if reply.tool_calls:
        return None
    text = f"Your reply cannot be used: it does not call the tool {missed.name!r}. Call it now."
    return ChatMessage(role=MessageRole.user, content=text, parent_message_uuid=reply.lineage_id)


def _what_it_did(reply: ChatMessage) -> str:
    if reply.tool_calls:
        return f"called {', '.join(repr(call.name) for call in reply.tool_calls)} instead"
    return f"said {reply.content!r:.200}" if reply.content else "said nothing"


def _was_interrupted(result: ChatMessage, tool: Tool) -> bool:
    return result.content == str(ToolInterrupted(tool.name))


def _count(thread: ChatThread) -> None:
    thread.workflow_step = (thread.workflow_step or 0) + 1
