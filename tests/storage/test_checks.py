"""`storage.check()` finds each way in which rows can contradict each other."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from pydantic import JsonValue

from minference.ecs.entity import Entity
from minference.errors import ConfigurationError, ReadFailed, WriteFailed
from minference.storage.base import EntityStorage
from minference.storage.checks import Finding
from minference.storage.open import open_storage
from minference.threads.attachments import FileAttachment
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, Usage
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.storage.tables import damage


class Box(Entity, kind="checks_box"):
    data: dict[str, JsonValue] = {}  # noqa: RUF012 - pydantic copies it
    next: Entity | None = None
    named: dict[str, Entity] = {}  # noqa: RUF012 - pydantic copies it


@dataclass
class Broken:
    """A database, and how to damage it behind the storage's back."""

    storage: EntityStorage
    url: str
    thread: ChatThread
    box: Box

    async def damage(self, *statements: str) -> None:
        """Execute statements with all checks of the database switched off."""
        await damage(self.url, *statements)

    async def texts(self, rule: str) -> list[str]:
        """What the check says under a rule."""
        return [finding.text for finding in await self.storage.check() if finding.rule == rule]


@pytest.fixture
async def broken(sql_url: str) -> AsyncIterator[Broken]:
    """A sound database with a bit of everything, about to be broken."""
    url = sql_url
    async with open_storage(url) as storage:
        thread = ChatThread(
            name="t", llm_config=LLMConfig(client="scripted", model="m"), tools=[CallableTool(name="add", input_schema={"type": "object"})]
        )
        for number in range(4):
            usage = Usage(model="m", prompt_tokens=1, completion_tokens=1, total_tokens=2)
            thread.history.append(ChatMessage(role=MessageRole.assistant, content=str(number), usage=usage))
            await storage.register(thread)
        notes = FileAttachment.from_bytes(b"note", "notes.txt")
        thread.history.insert(1, ChatMessage(role=MessageRole.user, content="between", attachments=(notes,)))
        await storage.register(thread)
        box = Box(data={"a": 1})
        box.next, box.named = box, {"x": thread, "y": box}
        await storage.register(box)
        assert await storage.check() == []
        yield Broken(storage, url, thread, box)


LAST = "(SELECT id FROM (SELECT MAX(id) AS id FROM chat_thread) AS last)"
USAGE = "(SELECT id FROM (SELECT MIN(id) AS id FROM usage) AS first)"
FAULTS: list[tuple[str, str, str]] = [
    ("references", "usage_id .* is not in usage", f"DELETE FROM usage WHERE id = {USAGE}"),
    ("references", "child_id 999 is not in entity_version", "UPDATE entity_link SET child_id = 999"),
    ("rows of versions", "has no row in usage", f"DELETE FROM usage WHERE id = {USAGE}"),
    ("rows of versions", "is a callable_tool, and its row in tool one of structured", "UPDATE tool SET tool_type = 'structured'"),
    ("one tree for each lineage", "has 2 first versions", f"UPDATE entity_version SET parent_id = NULL WHERE id = {LAST}"),
    (
        "parents in the same lineage",
        "which is of another lineage",
        f"UPDATE entity_version SET lineage_id = (SELECT lineage_id FROM entity_version WHERE id = {USAGE}) WHERE id = {LAST}",
    ),
    (
        "merges in the same lineage",
        "merged .*, which is of another lineage",
        f"INSERT INTO entity_merge (version_id, merged_id) VALUES ({LAST}, {USAGE})",
    ),
    (
        "parents of the same kind",
        "is a usage, and .* a chat_thread",
        f"UPDATE entity_version SET kind_id = (SELECT kind_id FROM entity_version WHERE id = {USAGE}) WHERE id = {LAST}",
    ),
    (
        "parents first",
        "is not younger than",
        f"""UPDATE entity_version SET created_at =
            (SELECT p.created_at FROM entity_version p WHERE p.id = entity_version.parent_id) WHERE id = {LAST}""",
    ),
    ("fork numbers", "the 1 versions that were made from", f"UPDATE entity_version SET fork_no = 1 WHERE id = {LAST}"),
    (
        "commits made something",
        "commit 0 made no version",
        "INSERT INTO entity_commit SELECT 0, created_at, author, note FROM entity_commit LIMIT 1",
    ),
    (
        "commits in order",
        r"^cell 0 of run \d+, which version \S+ wrote, names version \S+, whose commit \d+ builds on that of the first, .* in a circle$",
        """UPDATE run_item SET child_id = (SELECT MAX(child_id) FROM run_item AS r WHERE r.run_id = run_item.run_id)
           WHERE position = 0""",
    ),
    (
        "commits in order",
        r"^version \S+ refers to version \S+ in chat_message.usage_id, whose commit \d+ builds on",
        "UPDATE chat_message SET usage_id = (SELECT MAX(id) FROM usage) WHERE content = '0'",
    ),
    ("runs without gaps", "cells of run", "DELETE FROM run_item WHERE position = 1"),
    ("ordered fields", "has no spans", "DELETE FROM sequence_span"),
    ("ordered fields", "a span begins at 1, where 0 comes next", "DELETE FROM sequence_span WHERE position = 0 AND length = 1"),
    ("ordered fields", "closed, and only the last one is open", "UPDATE sequence_span SET length = 3 WHERE length > 1000"),
    ("ordered fields", "open, and only the last one is open", "UPDATE sequence_span SET length = 2147483647"),
    ("ordered fields", r"the span at 0 begins with cell -1 of run \d+", "UPDATE sequence_span SET run_position = -1 WHERE position = 0"),
    ("ordered fields", r"^version \S+ put 2 cells into run \d+, and has no ordered field that holds them$", "DELETE FROM entity_sequence"),
    (
        "ordered fields",
        r"^version \S+ put 1 cells into run \d+, and has no ordered field that holds them$",
        "UPDATE chat_thread SET history_len = 0 WHERE id = (SELECT id FROM (SELECT MIN(id) AS id FROM chat_thread) AS first)",
    ),
    ("ordered fields", "needs 40 cells", f"UPDATE chat_thread SET tools_len = 40 WHERE id = {LAST}"),
    (
        "tags in their lineage",
        "tag main of lineage .* names version",
        f"""INSERT INTO tag SELECT v.lineage_id, 'main', {LAST}, v.created_at FROM entity_version v WHERE id = {USAGE}""",
    ),
    ("one description", "has 2 rows", "INSERT INTO storage_info SELECT 2, database_id, next_id, created_at FROM storage_info"),
    ("one description", "has id 2 instead of 1", "UPDATE storage_info SET id = 2"),
    ("fresh keys", "keys would be given out twice", "UPDATE storage_info SET next_id = 2"),
    ("shapes", r"row \d+ of entity_kind \(usage\) describes no shape", "UPDATE entity_kind SET fields = '1' WHERE name = 'usage'"),
    ("shapes", r"row \d+ of entity_kind \(usage\) describes no shape", "UPDATE entity_kind SET layout = '1' WHERE name = 'usage'"),
    ("known kinds", "are of kind nobody", "UPDATE entity_kind SET name = 'nobody' WHERE name = 'usage'"),
    ("loading", "cannot be loaded: .*role", f"UPDATE chat_message SET role = 'nobody' WHERE usage_id = {USAGE}"),
    ("loading", "cannot be loaded: .*unheard", """UPDATE entity_any SET data = '{"unheard": 1}'"""),
    ("loading", "has 2 members in 'named' instead of 2, and 1 keys", """UPDATE entity_sequence SET keys = '["x"]'"""),
    ("references", "sha256 .* is not in blob", "DELETE FROM blob"),
    ("blobs in use", r"blob \w{64} \(4 bytes\) belongs to no version", "DELETE FROM entity_blob"),
    ("blobs in use", "holds blob .*, and entity_blob does not say so", "DELETE FROM entity_blob"),
    (
        "blobs in use",
        "is said by entity_blob to hold blob .*, and does not",
        f"INSERT INTO entity_blob SELECT {LAST}, sha256 FROM entity_blob",
    ),
    ("blobs in use", "with 4 bytes, and it has 5", "UPDATE blob SET size = 5"),
    ("blobs whole", "has 4 bytes instead of 5", "UPDATE blob SET size = 5"),
    ("blobs whole", r"the bytes of blob \w{64} have another hash", "UPDATE blob SET data = CAST('else' AS {bytes})"),
    ("tables", "table tag is missing", "DROP TABLE tag"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "damage"), FAULTS, ids=[f"{rule}: {text}" for rule, text, _ in FAULTS])
async def test_each_damage_is_told(broken: Broken, rule: str, text: str, damage: str) -> None:
    await broken.damage(damage)
    assert [found for found in await broken.texts(rule) if re.search(text, found)], await broken.storage.check()


async def test_a_finding_names_the_version(broken: Broken) -> None:
    message = broken.thread.history[0].ecs_id
    await broken.damage("DELETE FROM chat_message WHERE content = '0'")
    assert Finding("rows of versions", f"version {message} has no row in chat_message") in await broken.storage.check()


async def test_a_clock_that_was_wrong_is_no_circle(broken: Broken) -> None:
    await broken.damage(
        "UPDATE entity_commit SET created_at = '2099-01-01T00:00:00.000000+00:00' WHERE id = (SELECT MIN(id) FROM entity_commit)"
    )
    assert await broken.storage.check() == []


async def test_many_findings_of_one_rule_are_summed_up(broken: Broken) -> None:
    for number in range(60):
        await broken.storage.register(Box(data={"n": number}))
    await broken.damage("""UPDATE entity_any SET data = '{"unheard": 1}'""")
    texts = await broken.texts("loading")
    assert (len(texts), texts[-1]) == (51, "and 11 more of the kind")


async def exported(storage: EntityStorage) -> list[str]:
    """Every line of an export."""
    return [line async for line in storage.export_lines()]


LOSSES = {
    "a span that begins too early": "UPDATE sequence_span SET run_position = -1 WHERE position = 0",
    "spans": "DELETE FROM sequence_span",
    "cells": "DELETE FROM run_item WHERE position = 1",
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_list_that_lost_members_is_never_read_as_a_shorter_one(broken: Broken, loss: str) -> None:
    await broken.damage(LOSSES[loss])
    async with open_storage(broken.url) as storage:
        for question in (storage.get(ChatThread, broken.thread.ecs_id), exported(storage)):
            with pytest.raises(ReadFailed) as caught:
                await question
            assert caught.value.damaged


@pytest.mark.parametrize("column", ["fields", "layout"])
async def test_versions_of_a_kind_without_a_shape_are_damaged_and_others_are_not(broken: Broken, column: str) -> None:
    await broken.damage(f"UPDATE entity_kind SET {column} = '1' WHERE name = 'chat_thread'")
    async with open_storage(broken.url) as storage:
        with pytest.raises(ReadFailed, match=r"row \d+ of entity_kind \(chat_thread\) describes no shape") as caught:
            await storage.get(ChatThread, broken.thread.ecs_id)
        assert caught.value.damaged
        message = broken.thread.history[0]
        assert (await storage.get(ChatMessage, message.ecs_id)).content == message.content


async def test_a_save_without_free_keys_says_why(broken: Broken) -> None:
    await broken.damage("UPDATE storage_info SET id = 2")
    async with open_storage(broken.url) as storage:
        with pytest.raises(WriteFailed, match="storage_info has no row with id 1") as caught:
            await storage.register(Box())
        assert caught.value.damaged


async def test_checking_changes_nothing_and_saving_goes_on(broken: Broken) -> None:
    assert await broken.storage.check() == []
    broken.thread.name = "after"
    await broken.storage.register(broken.thread)
    assert await broken.storage.check() == []


async def test_damage_of_the_file_itself_is_told(sqlite_url: str) -> None:
    async with open_storage(sqlite_url) as storage:
        box = Box()
        await storage.register(box)
        damaged = Broken(storage, sqlite_url, ChatThread(llm_config=LLMConfig(client="scripted", model="m")), box)
        await damaged.damage(
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET sql = replace(sql, 'note TEXT', 'note TEXT NOT NULL') WHERE name = 'entity_commit'",
            "PRAGMA schema_version = 1000",
        )
        assert await damaged.texts("the file") == ["NULL value in entity_commit.note"]


async def test_an_id_that_two_versions_have_is_told(postgresql_storage_url: str) -> None:
    async with open_storage(postgresql_storage_url) as storage:
        one, two = Box(), Box()
        await storage.register(one, two)
        damaged = Broken(storage, postgresql_storage_url, ChatThread(llm_config=LLMConfig(client="scripted", model="m")), one)
        await damaged.damage(
            "ALTER TABLE entity_version DROP CONSTRAINT uq_entity_version_ecs_id",
            f"UPDATE entity_version SET ecs_id = '{one.ecs_id}' WHERE ecs_id = '{two.ecs_id}'",
        )
        assert await damaged.texts("one version for each id") == [f"2 versions are called {one.ecs_id}"]


async def test_the_size_tells_rows_of_each_table(broken: Broken) -> None:
    size = await broken.storage.size()
    assert size.bytes > 10_000
    assert {name: size.tables[name].rows for name in ("chat_thread", "chat_message", "usage", "entity_any", "tag")} == {
        "chat_thread": 5,
        "chat_message": 5,
        "usage": 4,
        "entity_any": 1,
        "tag": 0,
    }


async def test_a_storage_in_memory_has_nothing_to_check() -> None:
    async with open_storage("memory:") as storage:
        with pytest.raises(ConfigurationError, match="in memory"):
            await storage.check()
        with pytest.raises(ConfigurationError, match="in memory"):
            await storage.size()
