"""The views answer the usual questions with a plain SELECT, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import inspect, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from minference.storage.open import open_storage
from minference.storage.sql import LineageVersionView
from minference.storage.sql.dialects import open_engine
from minference.storage.sql.views import View
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, Usage
from minference.threads.tables import ChatMessageSQL, ThreadHeadView, ThreadMessageView, ThreadUsageView
from minference.threads.thread import ChatThread


def said(role: MessageRole, content: str, tokens: int | None = None, model: str = "m") -> ChatMessage:
    """A message, with its usage if a model wrote it."""
    usage = None if tokens is None else Usage(model=model, prompt_tokens=tokens, completion_tokens=1, total_tokens=tokens + 1)
    return ChatMessage(role=role, content=content, usage=usage)


async def _query(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in (await connection.execute(text(sql))).all()]


async def test_the_views_show_every_version_of_a_thread(sql_url: str) -> None:
    thread = ChatThread(llm_config=LLMConfig(client="scripted", model="m"))
    async with open_storage(sql_url) as storage:
        thread.history = [said(MessageRole.user, "a"), said(MessageRole.assistant, "b", 10), said(MessageRole.user, "c")]
        await storage.register(thread, author="ann", note="first")
        thread.history.append(said(MessageRole.assistant, "d", 20))
        await storage.register(thread, author="bob")
        thread.history[1:2] = [said(MessageRole.assistant, "B", 5, "other")]
        await storage.register(thread)
        del thread.history[2:]
        await storage.register(thread)
    engine = open_engine(sql_url)
    messages = await _query(
        engine,
        "SELECT thread_id, position, content FROM thread_messages ORDER BY 1, 2",
    )
    versions = sorted({row[0] for row in messages})
    shown = ["".join(content for thread_id, _, content in messages if thread_id == version) for version in versions]
    assert shown == ["abc", "abcd", "aBcd", "aB"]
    heads = await _query(engine, "SELECT id, name, messages, versions, author FROM thread_heads")
    assert heads == [(versions[-1], None, 2, 4, None)]
    usage = await _query(engine, "SELECT thread_id, model, replies, prompt_tokens, total_tokens FROM thread_usage ORDER BY 1, 2")
    assert [(versions.index(row[0]), *row[1:]) for row in usage] == [
        (0, "m", 1, 10, 11),
        (1, "m", 2, 30, 32),
        (2, "m", 1, 20, 21),
        (2, "other", 1, 5, 6),
        (3, "other", 1, 5, 6),
    ]
    lineage = await _query(
        engine, "SELECT kind, author, note, parent_ecs_id IS NULL FROM lineage_versions WHERE kind = 'chat_thread' ORDER BY created_at, id"
    )
    assert [(kind, author, note, bool(first)) for kind, author, note, first in lineage] == [
        ("chat_thread", "ann", "first", True),
        ("chat_thread", "bob", None, False),
        ("chat_thread", None, None, False),
        ("chat_thread", None, None, False),
    ]
    await engine.dispose()


async def test_the_declared_models_can_be_queried(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        await storage.register(said(MessageRole.user, "half a character: \ud83d"))
    engine = open_engine(sql_url)
    async with engine.connect() as connection:
        found = (await connection.execute(select(ChatMessageSQL.role, ChatMessageSQL.content, ChatMessageSQL.tool_calls))).all()
    await engine.dispose()
    assert [tuple(row) for row in found] == [("user", "half a character: \ud83d", [])]


@pytest.mark.parametrize("view", [LineageVersionView, ThreadHeadView, ThreadMessageView, ThreadUsageView])
async def test_a_view_has_the_columns_that_its_class_declares(sql_url: str, view: type[View]) -> None:
    async with open_storage(sql_url) as storage, storage.sql() as session:
        connection = await session.connection()
        found = await connection.run_sync(lambda sync: inspect(sync).get_columns(view.__tablename__))
    assert [column["name"] for column in found] == [column.name for column in view.__table__.columns]


async def test_views_and_tables_are_joined_like_any_others(sql_url: str) -> None:
    thread = ChatThread(llm_config=LLMConfig(client="scripted", model="m"))
    thread.history = [said(MessageRole.user, "a"), said(MessageRole.assistant, "b", 10)]
    async with open_storage(sql_url) as storage:
        await storage.register(thread, author="ann")
        async with storage.sql() as session:
            told = (
                select(ThreadMessageView.position, ChatMessageSQL.content, LineageVersionView.author)
                .join(ChatMessageSQL, ChatMessageSQL.id == ThreadMessageView.message_id)
                .join(LineageVersionView, LineageVersionView.id == ThreadMessageView.added_by)
                .where(ThreadMessageView.thread_ecs_id == thread.ecs_id)
                .order_by(ThreadMessageView.position)
            )
            assert [tuple(row) for row in (await session.execute(told)).all()] == [(0, "a", "ann"), (1, "b", "ann")]
            [usage] = (await session.scalars(select(ThreadUsageView))).all()
    assert (usage.thread_ecs_id, usage.model, usage.replies, usage.total_tokens, usage.audio_tokens) == (thread.ecs_id, "m", 1, 11, None)
