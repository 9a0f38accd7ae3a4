"""The public API as a user's type checker sees it. Never executed: mypy reads it with everything else.

A line with `type: ignore` is a misuse that must be refused: were it accepted, mypy would call the ignore unused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self, assert_never, assert_type
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import LargeBinary, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from minference import (
    CallableTool,
    ChatMessage,
    ChatThread,
    Completed,
    Entity,
    EntityRegistry,
    Failed,
    FileAttachment,
    ImageAttachment,
    InferenceOrchestrator,
    LLMConfig,
    McpServer,
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
from minference.ecs.blobs import Blob
from minference.storage.sql import EntityTable, Id, Json, LineageVersionView, UtcDateTime, reference
from minference.threads.tables import CallableToolSQL, ChatMessageSQL, ChatThreadSQL, ThreadMessageView


class Note(Entity):
    """An entity of the user's own."""

    text: str
    about: ChatThread | None = None


class Scan(Entity):
    """An entity that holds bytes."""

    content: Blob | None = None


class NoteSQL(EntityTable[Note]):
    """A table of the user's own, which packs the text."""

    __tablename__ = "typing_api_note"
    __encoded__ = ("text",)

    text: Mapped[bytes] = mapped_column(LargeBinary)
    about_id: Mapped[int | None] = mapped_column(Id, reference("chat_thread.id"))
    extra: Mapped[Any | None] = mapped_column(Json)

    @classmethod
    def encode(cls, field: str, value: Any) -> Any:
        return value.encode()

    @classmethod
    def decode(cls, field: str, value: Any) -> Any:
        return value.decode()


class Visit(Entity):
    """Another."""

    at: datetime


class VisitSQL(EntityTable[Visit]):
    """A table that converts whole rows."""

    __tablename__ = "typing_api_visit"

    day: Mapped[datetime] = mapped_column(UtcDateTime)

    @classmethod
    def from_entity(cls, entity: Visit) -> Self:
        return cls(day=entity.at)

    def to_entity(self, **fields: Any) -> Visit:
        return Visit(at=self.day)


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
    tools = [CallableTool.from_callable(function) for function in (temperature,)]
    ChatThread(llm_config=config, tools=tools).tools = (tools[0], StructuredTool.from_pydantic(Trip))
    ChatThread(llm_config=config, tools=[temperature])  # type: ignore[list-item]
    thread.tools.extend(tools)
    assert_type(thread.tools, list[CallableTool | StructuredTool])
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


async def attachments(url: str) -> bytes:
    """What a message carries is one of few classes, and its bytes are read on purpose."""
    async with open_storage(url) as storage:
        [thread] = threads()
        image = ImageAttachment.from_path("cat.png", detail="low")
        assert_type(image, ImageAttachment)
        message = thread.add_user_message("Look.", attachments=[image, FileAttachment.from_bytes(b"words", "words.txt")])
        ImageAttachment.from_path("cat.png", detail="lower")  # type: ignore[arg-type]
        thread.add_user_message("Look.", attachments=["cat.png"])  # type: ignore[list-item]
        for attached in message.attachments:
            if isinstance(attached, ImageAttachment | FileAttachment):
                assert_type(attached.content, Blob)
        await storage.load_blobs(thread, Scan(content=Blob.of(b"bytes")))
        await storage.load_blobs("a thread")  # type: ignore[arg-type]
        assert_type(image.data, bytes)
        return await image.read()


async def rows(url: str) -> list[Note]:
    """Rows know the class of their entities, and queries the types of their columns."""
    async with open_storage(url) as storage, storage.sql() as session:
        assert_type(session, AsyncSession)
        notes = (await session.scalars(select(NoteSQL).where(NoteSQL.about_id.is_(None)))).all()
        assert_type(notes[0].entity_version, LineageVersionView)
        assert_type(notes[0].entity_version.author, str | None)
        assert_type(notes[0].to_entity(about=None), Note)
        assert_type(NoteSQL.from_entity(Note(text="a")), NoteSQL)
        NoteSQL.from_entity(Visit(at=datetime.now()))  # type: ignore[arg-type]  # noqa: DTZ005 - never executed
        [thread] = (await session.scalars(select(ChatThreadSQL))).all()
        assert_type(thread.to_entity(history=[], tools=[], llm_config=None), ChatThread)
        assert_type(CallableToolSQL().to_entity(), CallableTool)
        joined = select(ThreadMessageView.position, ChatMessageSQL).join(ChatMessageSQL, ChatMessageSQL.id == ThreadMessageView.message_id)
        for position, message in await session.execute(joined):
            assert_type(position, int)
            assert_type(message.content, str)
            assert_type(message.to_entity(usage=None), ChatMessage)
        return [note.to_entity() for note in notes]


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


async def tools(url: str) -> list[CallableTool]:
    """Tools of every origin are one class."""
    source = CallableTool.from_source("def f(a: int): ...", resolve_references=True)
    assert_type(source.trust(), CallableTool)
    CallableTool.from_source("def f(a: int): ...", trust="sandbox")  # type: ignore[arg-type]
    InferenceOrchestrator(source_tools="sandbox")
    InferenceOrchestrator(source_tools="process")  # type: ignore[arg-type]
    async with McpServer.http(url, headers={"authorization": "any"}) as web, McpServer.stdio("python", "server.py") as local:
        return [source, *await web.tools(prefix="web_"), *await local.tools(only=["find"])]


def steps() -> str:
    """What a thread waits for is one of few things."""
    step = next_step(threads()[0])
    return type(step).__name__


__all__ = ["Misspelt", "attachments", "rows", "runs", "steps", "threads", "tools", "traced", "versions"]
