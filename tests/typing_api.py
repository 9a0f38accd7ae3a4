"""The public API as a user's type checker sees it. Never executed: mypy reads it with everything else.

A line with `type: ignore` is a misuse that must be refused: were it accepted, mypy would call the ignore unused.
"""

from __future__ import annotations

from typing import Any, assert_never, assert_type
from uuid import UUID

from pydantic import BaseModel

from minference import (
    CallableTool,
    ChatMessage,
    ChatThread,
    Completed,
    Entity,
    EntityRegistry,
    Failed,
    InferenceOrchestrator,
    LLMConfig,
    MessageRole,
    MinferenceError,
    ProcessedOutput,
    RequestLimits,
    ResponseFormat,
    StructuredTool,
    SystemPrompt,
    TraceSeverity,
    Usage,
    entity_tracer,
    next_step,
    open_storage,
)
from minference import ChatTread as Misspelt  # type: ignore[attr-defined]


class Note(Entity):
    """An entity of the user's own."""

    text: str
    about: ChatThread | None = None


class Recipe(Entity, kind="recipe", version=3, renamed={"titel": "title"}, removed=("legacy",), aliases=("dish",)):
    """An entity that was another one before."""

    title: str
    minutes: int = 0


@Recipe.upgrade(from_version=1)
def in_minutes(data: dict[str, Any]) -> dict[str, Any]:
    """A hook is typed as it was written."""
    return data | {"minutes": data.pop("hours") * 60}


@Recipe.upgrade(from_version=2)  # type: ignore[type-var]
def of_text(data: str) -> str:
    """Not from and to the values by name."""
    return data


class Trip(BaseModel):
    """What a model is to fill in."""

    city: str


def temperature(city: str) -> float:
    """The temperature in a city."""
    return 18.0


def threads() -> list[ChatThread]:
    """Constructing is checked, field by field."""
    config = LLMConfig(client="openai", model="a-model", response_format=ResponseFormat.auto_tools)
    LLMConfig(client="openai")  # type: ignore[call-arg]
    LLMConfig(client="openai", model="a-model", temprature=1.0)  # type: ignore[call-arg]
    LLMConfig(client="openai", model=5)  # type: ignore[arg-type]
    thread = ChatThread(
        llm_config=config,
        system_prompt=SystemPrompt(content="Be brief."),
        tools=[CallableTool.from_callable(temperature), StructuredTool.from_pydantic(Trip)],
        history=[ChatMessage(role=MessageRole.user, content="Hello")],
    )
    assert_type(thread.history, list[ChatMessage])
    assert_type(thread.parent_id, UUID | None)
    assert_type(thread.history[0].usage, Usage | None)
    return [thread]


async def versions(url: str) -> None:
    """What is loaded has the type that was asked for."""
    async with open_storage(url) as storage:
        note = await storage.register(Note(text="a"), author="me")
        assert_type(note, Note)
        assert_type(await Note.get(note.ecs_id), Note)
        assert_type(await storage.get(ChatThread, note.ecs_id), ChatThread)
        assert_type(await storage.get_cold_snapshot(Note, note.ecs_id), Note)
        assert_type(await EntityRegistry.get(note.ecs_id, Note), Note)
        assert_type([version.commit.author for version in await storage.lineage(note.lineage_id)], list[str | None])
        assert_type((await storage.get_stored(note.ecs_id)).references, dict[str, UUID])
        assert_type(await storage.move_rows(Note, Recipe), int)
        assert_type(in_minutes({"hours": 1}), dict[str, Any])
        await storage.register("a note")  # type: ignore[type-var]
        await storage.register(note, on_conflict="overwrite")  # type: ignore[arg-type]
        note.text = 5  # type: ignore[assignment]


async def runs(url: str) -> list[str]:
    """An outcome is one of two things, and a program that forgets one of them is told."""
    said = []
    async with open_storage(url) as storage, InferenceOrchestrator(storage=storage, limits=RequestLimits()) as orchestrator:
        for outcome in await orchestrator.run_parallel_ai_completion(threads()):
            match outcome:
                case Completed():
                    assert_type(outcome.thread, ChatThread)
                    assert_type(outcome.output, ProcessedOutput | None)
                    said.append(outcome.content)
                case Failed():
                    assert_type(outcome.error, MinferenceError)
                    said.append(str(outcome.error))
                case _:
                    assert_never(outcome)
    return said


@entity_tracer
async def rename(thread: ChatThread, name: str) -> ChatThread:
    """A traced function is typed as it was written."""
    thread.name = name
    return thread


@entity_tracer(severity=TraceSeverity.CRITICAL)
def note(text: str) -> Note:
    """A plain one, too."""
    return Note(text=text)


async def traced(url: str) -> list[str | None]:
    """Recordings and blame are typed."""
    async with open_storage(url) as storage:
        async with storage.recording(author="ann", note="why") as block:
            thread = await rename(threads()[0], "new")
            assert_type(thread, ChatThread)
            await rename(thread, 3)  # type: ignore[arg-type]
            block.add(note("kept"), "text")  # type: ignore[arg-type]
        return [line.written.author for line in await storage.blame(thread)]


def steps() -> str:
    """What a thread waits for is one of few things."""
    step = next_step(threads()[0])
    return type(step).__name__


__all__ = ["Misspelt", "runs", "steps", "threads", "traced", "versions"]
