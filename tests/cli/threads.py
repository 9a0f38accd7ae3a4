"""Saved threads with several versions, for tests of commands that look at them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from tests.support.sqlite import with_tables

T = TypeVar("T")


def in_database(folder: Path, work: Callable[[EntityStorage], Awaitable[T]]) -> T:
    """What some work with minference.db in this folder comes to."""

    async def run() -> T:
        async with open_storage(with_tables(folder / "minference.db")) as storage:
            return await work(storage)

    return asyncio.run(run())


def a_thread(*contents: str, name: str | None = None) -> ChatThread:
    """A thread in which user and assistant take turns."""
    thread = ChatThread(name=name, llm_config=LLMConfig(client="scripted", model="m"))
    for content in contents:
        say(thread, content)
    return thread


def say(thread: ChatThread, content: str) -> None:
    """Append what comes next."""
    role = MessageRole.assistant if len(thread.history) % 2 else MessageRole.user
    thread.history.append(ChatMessage(role=role, content=content))


async def grown(storage: EntityStorage, *contents: str, name: str | None = None) -> tuple[ChatThread, list[UUID]]:
    """A thread that was saved after each message, and its versions."""
    thread, versions = a_thread(name=name), []
    for content in contents:
        say(thread, content)
        await storage.register(thread, author="ann")
        versions.append(thread.ecs_id)
    return thread, versions


def contents(folder: Path, version: UUID) -> list[str]:
    """What is said in a version."""

    async def read(storage: EntityStorage) -> list[str]:
        return [message.content for message in (await storage.get(ChatThread, version)).history]

    return in_database(folder, read)
