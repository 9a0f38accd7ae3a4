"""A row of a typed table becomes the entity of its version, and an entity a row, as the columns say."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from minference.ecs.entity import Entity, plan_of
from minference.errors import IncompleteRow, NoSuchField, TableMismatch, VersionExists, WrongMember
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.sql import EntityTable
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt, Usage
from minference.threads.outputs import GeneratedJsonObject
from minference.threads.tables import (
    CallableToolSQL,
    ChatMessageSQL,
    ChatThreadSQL,
    GeneratedJsonObjectSQL,
    LLMConfigSQL,
    StructuredToolSQL,
    SystemPromptSQL,
    ToolSQL,
    UsageSQL,
)
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool
from tests.storage.rows import same
from tests.storage.specimens import Everything, EverythingSQL, MoreThanEverything, entities_of
from tests.support.examples import examples

TABLES: dict[type[Entity], type[EntityTable[Any]]] = {
    SystemPrompt: SystemPromptSQL,
    LLMConfig: LLMConfigSQL,
    Usage: UsageSQL,
    ChatMessage: ChatMessageSQL,
    CallableTool: CallableToolSQL,
    StructuredTool: StructuredToolSQL,
    GeneratedJsonObject: GeneratedJsonObjectSQL,
    Everything: EverythingSQL,
    MoreThanEverything: EverythingSQL,
}
USAGE = Usage(model="m", prompt_tokens=1, completion_tokens=2, total_tokens=3)


def loose(cls: type[Entity]) -> dict[str, Any]:
    """What a row never tells of a subclass: what it holds in fields that its table has no columns for."""
    return {"friend": None, "crowd": ()} if cls is MoreThanEverything else {}


def plain_values(entity: Entity) -> dict[str, Any]:
    """Everything but identity and what the entity holds."""
    plan = plan_of(type(entity))
    return {name: entity.__dict__[name] for name in (*plan.values, *plan.mutable)}


def differing(one: Entity, other: Entity) -> list[str]:
    """Plain values that are not the same in both."""
    assert type(one) is type(other)
    values, others = plain_values(one), plain_values(other)
    return [name for name in values if not same(values[name], others[name])]


@pytest.mark.parametrize("cls", TABLES, ids=lambda cls: cls.__name__)
def test_a_row_gives_the_values_that_loading_gives(sql_url: str, cls: type[Entity]) -> None:
    async def compare(storage: EntityStorage, entities: list[Entity]) -> None:
        copies = [entity.model_copy() for entity in entities]
        await storage.register(*copies)
        async with storage.sql() as session:
            rows = (await session.scalars(select(TABLES[cls]))).all()
        found = {row.entity_version.ecs_id: row.to_entity(**loose(cls)) for row in rows}
        for copy in copies:
            wanted = await storage.get(cls, copy.ecs_id)
            assert differing(found[copy.ecs_id], wanted) == []

    with asyncio.Runner() as runner:
        storage = open_storage(sql_url, durability="fast")
        runner.run(storage.__aenter__())

        @settings(max_examples=examples(8, 50), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
        @given(st.lists(entities_of(cls), min_size=1, max_size=4))
        def check(entities: list[Entity]) -> None:
            runner.run(compare(storage, entities))

        try:
            check()
        finally:
            runner.run(storage.__aexit__())


@pytest.mark.parametrize("cls", TABLES, ids=lambda cls: cls.__name__)
def test_a_row_of_an_entity_gives_back_its_values(cls: type[Entity]) -> None:
    plan = plan_of(cls)

    @settings(max_examples=examples(15, 100), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(entities_of(cls))
    def check(entity: Entity) -> None:
        holds = {name: entity.__dict__[name] for name in (*plan.references, *(field.name for field in plan.collections))}
        row: Any = TABLES[cls].from_entity(entity)
        if cls is MoreThanEverything:  # only a stored row says of which subclass it is
            assert sorted(row.extra) == ["amount", "data", "day", "hour", "pause", "tags"]
        else:
            assert differing(row.to_entity(**holds), entity) == []

    check()


async def test_the_entity_of_a_row_has_the_identity_of_its_version(sql_url: str) -> None:
    prompt = SystemPrompt(content="a")
    async with open_storage(sql_url) as storage:
        await storage.register(prompt, author="ann", note="first")
        prompt.content = "b"
        await storage.register(prompt, author="bob")
        async with storage.sql() as session:
            first, second = (await session.scalars(select(SystemPromptSQL).order_by(SystemPromptSQL.id))).all()
        for row in (first, second):
            loaded = await storage.get(SystemPrompt, row.entity_version.ecs_id)
            entity = row.to_entity()
            assert entity.model_dump(exclude={"live_id"}) == loaded.model_dump(exclude={"live_id"})
            assert type(entity.ecs_id) is UUID
    assert [(row.entity_version.author, row.entity_version.note, row.content) for row in (first, second)] == [
        ("ann", "first", "a"),
        ("bob", None, "b"),
    ]
    assert (second.to_entity().ecs_id, second.to_entity().parent_id) == (prompt.ecs_id, first.entity_version.ecs_id)


async def test_what_a_row_has_only_the_key_of_must_be_passed(sql_url: str) -> None:
    reply = ChatMessage(role=MessageRole.assistant, content="b", usage=USAGE.model_copy())
    thread = ChatThread(llm_config=LLMConfig(client="c", model="m"), history=[reply])
    async with open_storage(sql_url) as storage:
        await storage.register(thread)
        async with storage.sql() as session:
            row = (await session.scalars(select(ChatThreadSQL))).one()
            joined = select(ChatMessageSQL, UsageSQL).join(UsageSQL, UsageSQL.id == ChatMessageSQL.usage_id)
            [(message, usage)] = (await session.execute(joined)).all()
    with pytest.raises(IncompleteRow) as caught:
        row.to_entity()
    assert (caught.value.missing, caught.value.version) == (("llm_config", "history"), thread.ecs_id)
    assert "pass to_entity(llm_config=..., history=...), or load version" in str(caught.value)
    whole = message.to_entity(usage=usage.to_entity())
    assert whole.usage is not None
    assert (whole.usage.ecs_id, whole.content) == (reply.usage.ecs_id if reply.usage else None, "b")
    assert message.to_entity(usage=None, content="shortened").model_dump(include={"usage", "content"}) == {
        "usage": None,
        "content": "shortened",
    }
    restored = row.to_entity(llm_config=thread.llm_config, history=[whole])
    assert (restored.history, restored.tools, restored.system_prompt) == ([whole], [], None)


def test_what_is_passed_must_fit_the_class() -> None:
    row = ChatMessageSQL.from_entity(ChatMessage(role=MessageRole.user))
    with pytest.raises(NoSuchField, match="chat_message has no field 'usages': it has 'role', 'content'"):
        row.to_entity(usages=None)
    with pytest.raises(WrongMember, match=r"usage of chat_message holds .* of type SystemPrompt: it takes Usage"):
        row.to_entity(usage=SystemPrompt(content="a"))


async def test_a_row_of_a_subclass_becomes_an_object_of_it(sql_url: str) -> None:
    shouted = LoudMessage(role=MessageRole.user, content="hey", volume=11)
    async with open_storage(sql_url) as storage:
        await storage.register(shouted)
        async with storage.sql() as session:
            row = (await session.scalars(select(ChatMessageSQL))).one()
    entity = row.to_entity()
    assert isinstance(entity, LoudMessage)
    assert (entity.volume, entity.ecs_id, row.extra) == (11, shouted.ecs_id, {"volume": 11})


class LoudMessage(ChatMessage, kind="test_rows_loud_message"):
    """A message with a field that the table of messages has no column for."""

    volume: int


async def test_a_table_of_several_classes_is_queried_as_one(sql_url: str) -> None:
    tools: list[StructuredTool | CallableTool] = [
        StructuredTool(name="trip", json_schema={"type": "object"}),
        CallableTool(name="now", input_schema={"type": "object"}),
    ]
    async with open_storage(sql_url) as storage:
        await storage.register(*tools)
        async with storage.sql() as session:
            rows = (await session.scalars(select(ToolSQL).order_by(ToolSQL.name))).all()
    assert [type(row) for row in rows] == [CallableToolSQL, StructuredToolSQL]
    assert [type(row.to_entity()) for row in rows] == [CallableTool, StructuredTool]
    assert [type(ToolSQL.from_entity(tool)) for tool in tools] == [StructuredToolSQL, CallableToolSQL]


def test_an_entity_of_another_table_makes_no_row() -> None:
    prompt: Any = SystemPrompt(content="a")
    with pytest.raises(TableMismatch, match="ChatMessageSQL does not hold SystemPrompt: its versions are in table 'system_prompt'"):
        ChatMessageSQL.from_entity(prompt)


async def test_the_entity_of_a_row_is_a_copy_that_no_storage_knows(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        await storage.register(SystemPrompt(content="a"))
        async with storage.sql() as session:
            row = (await session.scalars(select(SystemPromptSQL))).one()
        copy = row.to_entity()
        copy.content = "b"
        with pytest.raises(VersionExists, match="load it with get"):
            await storage.register(copy)
        async with storage.recording():
            row.to_entity()
        assert (await storage.status()).versions == 1
