"""Entities with lineages, and threads with several versions: what the tests of lineages and merging work on."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from minference.ecs.entity import Entity
from minference.ecs.plan import BackRef
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread


class Item(Entity, kind="lineage_item"):
    text: str = ""
    box: Annotated[Box | None, BackRef("items")] = None


class Box(Entity, kind="lineage_box"):
    name: str = ""
    size: int = 0
    lid: Item | None = None
    items: list[Item] = Field(default_factory=list)
    named: dict[str, Item] = Field(default_factory=dict)


class Shelf(Entity, kind="lineage_shelf"):
    boxes: list[Box] = Field(default_factory=list)


class Scale(Entity, kind="lineage_scale"):
    low: int = 0
    high: int = 0

    def __init__(self, **data: Any) -> None:
        """Runs whenever one is made, also to try out whether two changes go together."""
        super().__init__(**data)


class Ring(Entity, kind="lineage_ring"):
    name: str
    next: Ring | None = None


def a_thread(*contents: str, **fields: object) -> ChatThread:
    history = [ChatMessage(role=MessageRole.user, content=content) for content in contents]
    return ChatThread.model_validate({"llm_config": LLMConfig(client="scripted", model="m"), "history": history, **fields})


def say(thread: ChatThread, content: str) -> None:
    thread.history.append(ChatMessage(role=MessageRole.user, content=content))


def said(thread: ChatThread) -> str:
    return " ".join(message.content for message in thread.history)


async def line(storage: EntityStorage, *contents: str) -> tuple[ChatThread, list[UUID]]:
    """A thread whose versions are one message apart, and their ids."""
    thread = a_thread()
    versions: list[UUID] = []
    for content in contents:
        say(thread, content)
        await storage.register(thread)
        versions.append(thread.ecs_id)
    return thread, versions


async def versions_of(storage: EntityStorage, *entities: Entity) -> list[int]:
    return [len(await storage.lineage(entity.lineage_id)) for entity in entities]
