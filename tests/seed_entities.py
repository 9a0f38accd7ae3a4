"""Entities as the concept papers have them, for the tests that walk through those."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, JsonValue

from minference import ChatMessage, ChatThread, Entity, LLMConfig, MessageRole, Usage
from minference.ecs.plan import BackRef
from minference.storage.base import EntityStorage


class Leaf(Entity, kind="seed_leaf"):
    value: str = ""
    owner_id: UUID | None = None
    """A plain id, named like those that an earlier system ignored."""
    config_json: dict[str, JsonValue] = Field(default_factory=dict)


class Tree(Entity, kind="seed_tree"):
    name: str = ""
    nested: Leaf | None = None
    leaves: list[Leaf] = Field(default_factory=list)
    named: dict[str, Leaf] = Field(default_factory=dict)
    trees: tuple[Tree, ...] = ()


class User(Entity, kind="seed_user"):
    username: str
    profile: Profile | None = None
    threads: list[Room] = Field(default_factory=list)


class Profile(Entity, kind="seed_profile"):
    city: str = ""


class Room(Entity, kind="seed_room"):
    name: str = ""


class UserThreadAssoc(Entity, kind="seed_user_thread_assoc"):
    user: User
    thread: Room
    role: str = "viewer"


class MessageUsage(Entity, kind="seed_message_usage"):
    message: ChatMessage
    usage: Usage
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    context_size: int = 0


class Category(Entity, kind="seed_category"):
    name: str
    parent_category: Annotated[Category | None, BackRef("subcategories")] = None
    subcategories: list[Category] = Field(default_factory=list)


class Content(Entity, kind="seed_content"):
    title: str


class TextContent(Content, kind="seed_text_content"):
    text: str


class ImageContent(Content, kind="seed_image_content"):
    image_url: str


class Page(Entity, kind="seed_page"):
    contents: list[Content] = Field(default_factory=list)


class Talk(Entity, kind="seed_talk"):
    title: str
    messages: list[Line] = Field(default_factory=list)


class Line(Entity, kind="seed_line"):
    thread: Talk
    content: str = ""


def discussion(*contents: str, name: str = "Discussion") -> ChatThread:
    history = [ChatMessage(role=MessageRole.user, content=content) for content in contents]
    return ChatThread(name=name, llm_config=LLMConfig(client="scripted", model="m"), history=history)


async def versions_of(storage: EntityStorage, *entities: Entity) -> list[int]:
    return [len(await storage.lineage(entity.lineage_id)) for entity in entities]
