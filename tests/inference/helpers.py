"""Threads, tools and counts for the tests of inference."""

from __future__ import annotations

from collections import Counter
from typing import Any

from minference.clients.scripted import ScriptedClient
from minference.ecs.registry import CurrentStorage
from minference.errors import MissingKey
from minference.inference.outcomes import Completed, Failed, Outcome
from minference.inference.retries import RetryPolicy
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt, Usage
from minference.threads.outputs import GeneratedJsonObject, ProcessedOutput, RawOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool

AT_ONCE = RetryPolicy(first_pause=0.0)
"""Retries without pauses."""
KINDS = (
    ChatThread,
    ChatMessage,
    LLMConfig,
    SystemPrompt,
    Usage,
    RawOutput,
    ProcessedOutput,
    GeneratedJsonObject,
    CallableTool,
    StructuredTool,
)


def thread(said: str | None = "Hello.", *, client: str = "scripted", **fields: Any) -> ChatThread:
    """A thread whose user has said something."""
    config = fields.pop("llm_config", None) or LLMConfig(client=client, model="model")
    return ChatThread(llm_config=config, new_message=said, **fields)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def add_tool(*, idempotent: bool = True) -> CallableTool:
    """`add` as a tool."""
    return CallableTool.from_callable(add, idempotent=idempotent, replace=True)


class Keyless(ScriptedClient):
    """A client whose key is missing."""

    def check(self) -> None:
        raise MissingKey(self.name, "SOME_KEY")


async def versions(storage: CurrentStorage) -> dict[str, int]:
    """How many versions of each kind are stored, without kinds that have none."""
    counts: Counter[str] = Counter()
    for cls in KINDS:
        for head in await storage.list_by_type(cls):
            counts[cls.__name__] += len(await storage.lineage(head.lineage_id))
    return dict(counts)


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What was added between two counts."""
    return {kind: count - before.get(kind, 0) for kind, count in after.items() if count != before.get(kind, 0)}


def said(thread: ChatThread) -> list[tuple[str, str]]:
    """Role and text of every message."""
    return [(message.role.value, message.content) for message in thread.history]


def roles(thread: ChatThread) -> list[MessageRole]:
    """The role of every message."""
    return [message.role for message in thread.history]


def completed(outcome: Outcome) -> Completed:
    """The outcome, which must be a success."""
    assert isinstance(outcome, Completed), outcome
    return outcome


def failed(outcome: Outcome) -> Failed:
    """The outcome, which must be a failure."""
    assert isinstance(outcome, Failed), outcome
    return outcome
