"""What every storage promises about looking without loading."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid4

import pytest
from pydantic import Field

from minference.ecs.entity import Entity
from minference.ecs.identity import utc_now
from minference.errors import NoPlainField, NoSuchCollection, NotLoaded, UnfitValue, VersionNotFound, WrongEntityType
from minference.storage.base import EntityStorage
from minference.storage.glances import Newest
from minference.storage.open import open_storage
from minference.storage.versioned import VersionedStorage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, Usage
from minference.threads.thread import ChatThread
from tests.storage.counting import counting
from tests.storage.lineage_samples import Box, Item, a_thread, line, say


class Colour(StrEnum):
    red = "red"
    blue = "blue"


class Glanced(Entity, kind="glanced"):
    """A class without a table, with a plain value of every kind."""

    text: str = ""
    number: int = 0
    real: float = 0.0
    flag: bool = False
    moment: datetime = Field(default_factory=utc_now)
    other: UUID | None = None
    colour: Colour = Colour.red
    data: dict[str, int] = Field(default_factory=dict)


class GlancedThread(ChatThread, kind="glanced_thread"):
    """A class in the table of its base."""

    topic: str | None = None


def ids(found: list[Newest]) -> list[tuple[UUID, int]]:
    return [(each.version.ecs_id, each.versions) for each in found]


async def test_the_newest_lineages_come_with_how_many_versions_they_have(storage: EntityStorage) -> None:
    one, _ = await line(storage, "a", "b")
    two, _ = await line(storage, "x")
    assert ids(await storage.newest(ChatThread, 10)) == [(two.ecs_id, 1), (one.ecs_id, 2)]
    say(one, "c")
    await storage.register(one)
    assert ids(await storage.newest(ChatThread, 1)) == [(one.ecs_id, 3)]
    assert [each.version for each in await storage.newest(ChatThread, 10)] == await storage.list_by_type(ChatThread)
    assert await storage.count(ChatThread) == 2
    assert (await storage.count(Box), await storage.newest(Box, 5)) == (0, [])


async def test_subclasses_count_as_their_base(storage: EntityStorage) -> None:
    plain = await storage.register(a_thread("a", name="plain"))
    special = await storage.register(GlancedThread(name="special", llm_config=LLMConfig(client="c", model="m"), topic="t"))
    assert ids(await storage.newest(ChatThread, 5)) == [(special.ecs_id, 1), (plain.ecs_id, 1)]
    assert ids(await storage.newest(GlancedThread, 5)) == [(special.ecs_id, 1)]
    assert (await storage.count(ChatThread), await storage.count(GlancedThread)) == (2, 1)
    assert [each.ecs_id for each in await storage.find_by(ChatThread, name="special")] == [special.ecs_id]
    assert [each.ecs_id for each in await storage.find_by(GlancedThread, topic="t")] == [special.ecs_id]
    assert await storage.find_by(GlancedThread, name="plain") == []
    assert [each.ecs_id for each in (await storage.called(GlancedThread, special.lineage_id.hex)).lineages] == [special.ecs_id]
    assert (await storage.called(GlancedThread, plain.ecs_id.hex)).versions == ()


async def test_a_lineage_is_found_by_what_its_newest_version_holds(storage: EntityStorage) -> None:
    one, _ = await line(storage, "a")
    one.name = "sky"
    await storage.register(one)
    two = await storage.register(a_thread("b", name="sky", new_message="and?"))
    three = await storage.register(a_thread("c"))
    assert await storage.find_by(ChatThread, name="sky") == [await storage.info(two.ecs_id), await storage.info(one.ecs_id)]
    assert [each.ecs_id for each in await storage.find_by(ChatThread, name="sky", new_message="and?")] == [two.ecs_id]
    assert [each.ecs_id for each in await storage.find_by(ChatThread, name=None)] == [three.ecs_id]
    assert await storage.find_by(ChatThread, name="SKY") == []
    one.name = "sea"
    await storage.register(one)
    assert [each.ecs_id for each in await storage.find_by(ChatThread, name="sky")] == [two.ecs_id]
    assert await storage.find_by(ChatThread) == await storage.list_by_type(ChatThread)


@pytest.mark.parametrize("name", ["", "NUL \0", "lone \ud83d", "'quoted\" %_", "\ufdd0marked", "Größe 🙂"])
async def test_any_text_is_found(storage: EntityStorage, name: str) -> None:
    thread = await storage.register(a_thread("a", name=name))
    await storage.register(a_thread("a", name="another"))
    assert [each.ecs_id for each in await storage.find_by(ChatThread, name=name)] == [thread.ecs_id]


async def test_values_of_every_kind_are_found_in_columns(storage: EntityStorage) -> None:
    config = LLMConfig(client="c", model="m", temperature=0.5, seed=7, use_cache=False, stop=("a",), reasoning_effort="low")
    thread = await storage.register(ChatThread(llm_config=config, workflow_step=3, use_history=False))
    author = uuid4()
    message = await storage.register(ChatMessage(role=MessageRole.assistant, content="x", author_uuid=author))
    await storage.register(ChatThread(llm_config=LLMConfig(client="other", model="m", temperature=0.25)))
    await storage.register(ChatMessage(role=MessageRole.user, content="x"))
    values = {"temperature": 0.5, "seed": 7, "use_cache": False, "stop": ("a",), "reasoning_effort": "low", "client": "c"}
    for field, value in values.items():
        assert [each.ecs_id for each in await storage.find_by(LLMConfig, **{field: value})] == [config.ecs_id], field
    assert [each.ecs_id for each in await storage.find_by(ChatThread, workflow_step=3, use_history=False)] == [thread.ecs_id]
    for wanted in ({"role": MessageRole.assistant}, {"role": "assistant"}, {"author_uuid": author}, {"timestamp": message.timestamp}):
        assert [each.ecs_id for each in await storage.find_by(ChatMessage, **wanted)] == [message.ecs_id], wanted
    with pytest.raises(UnfitValue, match="less than 9223372036854775808"):
        await storage.find_by(ChatThread, workflow_step=2**70)


async def test_values_of_every_kind_are_found_without_a_table(storage: EntityStorage) -> None:
    there = Glanced(text="t", number=5, real=1.5, flag=True, other=uuid4(), colour=Colour.blue, data={"a": 1})
    there.moment -= timedelta(days=1)
    await storage.register(there, Glanced())
    for field in ("text", "number", "real", "flag", "moment", "other", "colour", "data"):
        assert [each.ecs_id for each in await storage.find_by(Glanced, **{field: getattr(there, field)})] == [there.ecs_id], field
    assert await storage.find_by(Glanced, number=6) == []


async def test_what_can_never_be_found_is_refused(storage: EntityStorage) -> None:
    with pytest.raises(NoPlainField, match="ChatThread has no field 'nam' with a plain value: it has 'name',"):
        await storage.find_by(ChatThread, nam="x")
    with pytest.raises(NoPlainField):
        await storage.find_by(ChatThread, history=[])
    with pytest.raises(UnfitValue, match=r"ChatThread\.workflow_step cannot be 'three'"):
        await storage.find_by(ChatThread, workflow_step="three")


async def test_ids_are_known_by_their_beginning_and_their_end(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b")
    other, _ = await line(storage, "x")
    newest = await storage.info(thread.ecs_id)
    for digits in (thread.lineage_id.hex, str(thread.lineage_id), thread.lineage_id.hex[-12:].upper()):
        assert (await storage.called(ChatThread, digits)).lineages == (newest,), digits
    for digits in (versions[0].hex, str(versions[0]), versions[0].hex[-12:]):
        assert (await storage.called(ChatThread, digits)).versions == (await storage.info(versions[0]),), digits
    common = thread.lineage_id.hex[:6]
    assert other.lineage_id.hex.startswith(common)
    assert [each.ecs_id for each in (await storage.called(ChatThread, common)).lineages] == [other.ecs_id, thread.ecs_id]
    for nothing in ("", "xyz", thread.lineage_id.hex + "0", thread.history[0].ecs_id.hex):
        found = await storage.called(ChatThread, nothing)
        assert (found.lineages, found.versions) == ((), ())


async def test_the_recent_versions_of_a_lineage_come_page_by_page(storage: EntityStorage) -> None:
    thread, _ = await line(storage, *"abcde")
    newest_first = (await storage.lineage(thread.lineage_id))[::-1]
    assert await storage.recent(thread.lineage_id, 2) == newest_first[:2]
    assert await storage.recent(thread.lineage_id, 2, skip=3) == newest_first[3:5]
    assert await storage.recent(thread.lineage_id, 99) == newest_first
    assert await storage.recent(uuid4(), 5) == []
    assert (await storage.length(thread.lineage_id), await storage.length(uuid4())) == (5, 0)


async def test_heads_are_what_nothing_was_made_from(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b", "c")
    branch = await storage.get(ChatThread, versions[0])
    say(branch, "x")
    await storage.register(branch)
    assert [each.ecs_id for each in await storage.heads(thread.lineage_id)] == [thread.ecs_id, branch.ecs_id]
    assert await storage.heads(uuid4()) == []


async def test_a_peek_holds_the_part_that_was_asked_for(storage: EntityStorage) -> None:
    thread = a_thread(*map(str, range(20)), name="long")
    usage = thread.history[19].usage = Usage(model="m", prompt_tokens=1, completion_tokens=1, total_tokens=2)
    await storage.register(thread)
    old = thread.ecs_id
    thread.history[4].content = "edited"
    say(thread, "20")
    await storage.register(thread)
    [last, again, before] = await storage.peek(ChatThread, [thread.ecs_id, thread.ecs_id, old], history=slice(-3, None))
    assert (last.name, last.llm_config.model, len(last.history), len(before.history)) == ("long", "m", 21, 20)
    assert [message.content for message in last.history[-3:]] == ["18", "19", "20"]
    assert [message.content for message in before.history[17:]] == ["17", "18", "19"]
    assert (usage.ecs_id, again.history[-1].content) == (getattr(last.history[19].usage, "ecs_id", None), "20")
    with pytest.raises(NotLoaded):
        last.history[0]
    [middle] = await storage.peek(ChatThread, [thread.ecs_id], history=slice(3, 9, 2), tools=slice(0, 0))
    assert [middle.history[place].content for place in (3, 5, 7)] == ["3", "5", "7"]
    assert repr(middle.history).startswith("<3 of 21 members, [")
    with pytest.raises(NotLoaded):
        middle.history[4]
    with pytest.raises(IndexError):
        middle.history[21]


async def test_a_peek_at_everything_is_a_cold_snapshot(storage: EntityStorage) -> None:
    box = Box(name="b", lid=Item(text="lid"), items=[Item(text="i")], named={"x": Item(text="x"), "y": Item(text="y")})
    await storage.register(box)
    [whole] = await storage.peek(Box, [box.ecs_id])
    assert not await storage.diff(await storage.get_cold_snapshot(Box, box.ecs_id), whole)
    assert isinstance(whole.items, list)
    [keyed] = await storage.peek(Box, [box.ecs_id], named=slice(1))
    assert (list(keyed.named), keyed.named["x"].text, "y" in keyed.named, keyed.named.get("z")) == (["x", "y"], "x", True, None)
    with pytest.raises(NotLoaded, match=r"member \['y'\]"):
        keyed.named["y"]
    with pytest.raises(KeyError):
        keyed.named["z"]
    assert await storage.peek(Box, []) == []


async def test_a_peek_at_what_is_not_there_is_refused(storage: EntityStorage) -> None:
    thread, _ = await line(storage, "a")
    with pytest.raises(VersionNotFound):
        await storage.peek(ChatThread, [thread.ecs_id, uuid4()])
    with pytest.raises(WrongEntityType, match="is a ChatThread, not a Box"):
        await storage.peek(Box, [thread.ecs_id])
    with pytest.raises(NoSuchCollection, match="ChatThread has no collection of entities called 'messages': it has 'history', 'tools'"):
        await storage.peek(ChatThread, [thread.ecs_id], messages=slice(1))


async def test_a_peek_costs_the_same_at_any_length(storage_url: str) -> None:
    backend, read = counting(storage_url), []
    async with VersionedStorage(backend) as storage:
        for length in (10, 300):
            thread = await storage.register(a_thread(*map(str, range(length))))
            backend.read_so_far.clear()
            await storage.peek(ChatThread, [thread.ecs_id], history=slice(-2, None))
            read.append(dict(backend.read_so_far))
    assert read == [{"versions": 4, "cells": 2}] * 2


async def test_what_was_just_submitted_is_seen(storage: EntityStorage) -> None:
    thread = a_thread("a", name="now")
    storage.submit(thread)
    assert [each.ecs_id for each in await storage.find_by(ChatThread, name="now")] == [thread.ecs_id]


async def test_names_are_found_after_the_database_was_opened_again(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = await storage.register(a_thread(*map(str, range(70)), name="kept"))
    async with open_storage(sql_url) as storage:
        [found] = await storage.find_by(ChatThread, name="kept")
        [peeked] = await storage.peek(ChatThread, [found.ecs_id], history=slice(-1, None))
        assert peeked.history[-1].content == "69"
        warm = await storage.get(ChatThread, thread.ecs_id)
        say(warm, "70")
        commit = await storage.submit(warm, on_conflict="raise")
        assert len(commit.versions) == 2
