"""How a thread ended: `Completed` or `Failed`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, JsonValue

from minference.errors import MinferenceError
from minference.inference.budgets import NOTHING, Spent
from minference.threads.messages import ChatMessage, FinishReason
from minference.threads.outputs import GeneratedJsonObject, ProcessedOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import StructuredTool

_SHOWN = 60
"""Characters of a reply in a repr."""


@dataclass(frozen=True, slots=True, repr=False)
class Completed:
    """The model has answered, and everything is saved."""

    thread: ChatThread
    reply: ChatMessage
    """The last message of the model."""
    output: ProcessedOutput | None = None
    """What that reply means; `None` if it was there before this run, so that nobody was called."""
    json_object: GeneratedJsonObject | None = None
    """The structured output, if one was asked for; also of a reply that was there before."""
    attempts: tuple[str, ...] = ()
    """One line per failed attempt on the way."""
    structured_attempts: int = 0
    """Replies of this run that were to be an object, those that were not valid included."""
    spent: Spent = NOTHING
    """What the replies of this run used, those included that a structured output was asked for again, and attempts in vain as far as
    the provider counted them."""

    @property
    def ok(self) -> Literal[True]:
        """That it is no `Failed`."""
        return True

    @property
    def thread_id(self) -> UUID:
        """The lineage of the thread: what names it, whatever became of it."""
        return self.thread.lineage_id

    @property
    def from_cache(self) -> bool:
        """Whether the reply is one that was given before, to the same request, so that nobody was asked."""
        return self.output is not None and self.output.raw_output.from_cache

    @property
    def content(self) -> str:
        """The text of the reply."""
        return self.reply.content

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the reply ended: that it is whole (`stop`), was cut off (`length`), withheld (`content_filter`), or declined (`refusal`)."""
        return self.reply.finish_reason

    @property
    def object(self) -> dict[str, JsonValue] | None:
        """The structured output as a plain object."""
        return self.json_object.object if self.json_object else None

    @property
    def parsed(self) -> BaseModel | None:
        """The structured output as an instance of the pydantic class that it was asked for with; `None` if this process knows none."""
        tool = self.thread.tool_named(self.json_object.name) if self.json_object else None
        if self.json_object is None or not isinstance(tool, StructuredTool):
            return None
        typed = tool.parse(self.json_object.object)
        return typed if isinstance(typed, BaseModel) else None

    def __repr__(self) -> str:
        calls = ", ".join(call.name for call in self.reply.tool_calls)
        said = self.reply.content if len(self.reply.content) <= _SHOWN else f"{self.reply.content[: _SHOWN - 3]}..."
        parts = [_label(self.thread), repr(said)] + ([f"calls {calls}"] if calls else []) + _count(self.attempts)
        return f"Completed({', '.join(parts)})"


@dataclass(frozen=True, slots=True, repr=False)
class Failed:
    """The thread could not go on. What was received before the error is saved; running the thread again goes on from there."""

    thread: ChatThread
    error: MinferenceError
    attempts: tuple[str, ...] = ()
    """One line per failed attempt, those that were made good included."""
    spent: Spent = NOTHING
    """What the replies of this run used, and attempts in vain as far as the provider counted them."""

    @property
    def ok(self) -> Literal[False]:
        """That it is no `Completed`."""
        return False

    @property
    def thread_id(self) -> UUID:
        """The lineage of the thread: what names it, whatever became of it."""
        return self.thread.lineage_id

    def __repr__(self) -> str:
        parts = [_label(self.thread), f"{type(self.error).__name__}: {self.error}", *_count(self.attempts)]
        return f"Failed({', '.join(parts)})"


Outcome = Completed | Failed


def _label(thread: ChatThread) -> str:
    return repr(thread.name) if thread.name else f"thread {thread.ecs_id}"


def _count(attempts: tuple[str, ...]) -> list[str]:
    return [f"{len(attempts)} failed attempt{'s' if len(attempts) > 1 else ''}"] if attempts else []
