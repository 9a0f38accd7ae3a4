"""SQLite puts anything into any column: `storage.check()` finds what reading and searching would stumble over, and names it."""

from __future__ import annotations

import re

import pytest

from minference.ecs.entity import Entity
from minference.errors import DatabaseUnreadable, ReadFailed
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.attachments import FileAttachment
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from tests.storage import specimens  # noqa: F401 - opening a database compares tables of the application with what it finds
from tests.storage.tables import damage


class Leaf(Entity, kind="checking_cells_leaf"):
    number: int = 0


class Holder(Entity, kind="checking_cells_holder"):
    leaves: tuple[Leaf, ...] = ()


@pytest.fixture
async def url(sqlite_url: str) -> str:
    """A sound database with something in most tables."""
    async with open_storage(sqlite_url) as storage:
        notes = FileAttachment.from_bytes(b"note", "notes.txt")
        message = ChatMessage(role=MessageRole.user, content="words", attachments=(notes,))
        thread = ChatThread(name="t", llm_config=LLMConfig(client="scripted", model="m"), history=[message])
        await storage.register(thread, author="me")
        await storage.tag("main", thread)
        gone = ChatMessage(role=MessageRole.user, content="gone")
        await storage.register(gone, Holder(leaves=(Leaf(),)))
        await storage.erase(gone, reason="asked to")
        await storage.runs().take("nightly", "here", 60, settings={})
        await storage.runs().add("nightly", [thread.lineage_id])
        assert await storage.check() == []
    return sqlite_url


async def found(url: str, rule: str) -> list[str]:
    async with open_storage(url) as storage:
        return [finding.text for finding in await storage.check() if finding.rule == rule]


CELLS = {
    "storage_info.next_id": ("'garbage'", r"storage_info \(id 1\): next_id holds 'garbage', which is no whole number"),
    "entity_kind.revision": ("X'00'", r"entity_kind \(id \d+\): revision holds b'\\x00', which is no whole number"),
    "entity_commit.created_at": ("'garbage'", r"entity_commit \(id \d+\): created_at holds 'garbage', which is no time"),
    "entity_commit.author": ("X'00'", r"entity_commit \(id \d+\): author holds b'\\x00', which is no text"),
    "entity_version.fork_no": ("'garbage'", r"entity_version \(id \d+\): fork_no holds 'garbage', which is no whole number"),
    "entity_version.created_at": ("1", r"entity_version \(id \d+\): created_at holds '1', which is no time"),
    "entity_version.lineage_id": ("'0-0'", r"entity_version \(id \d+\): lineage_id holds '0-0', which is no id"),
    "run_item.position": ("'garbage'", r"run_item \(run_id \d+, position 'garbage'\): position holds 'garbage', which is no whole number"),
    "sequence_span.run_id": ("'garbage'", r"sequence_span \(sequence_id \d+, position 0\): run_id holds 'garbage'"),
    "entity_sequence.sequence_id": ("'garbage'", r"entity_sequence \(owner_id \d+, field 'leaves'\): sequence_id holds 'garbage'"),
    "chat_thread.history_seq": ("'garbage'", r"chat_thread \(id \d+\): history_seq holds 'garbage', which is no whole number"),
    "chat_thread.history_len": ("'garbage'", r"chat_thread \(id \d+\): history_len holds 'garbage', which is no whole number"),
    "tag.name": ("X'00'", r"tag \(lineage_id '\w{32}', name b'\\x00'\): name holds b'\\x00', which is no text"),
    "tag.updated_at": ("'2026-02-30T00:00:00.000000+00:00'", r"tag \(.*, name 'main'\): updated_at holds '2026-02-30.*', which is no time"),
    "erasure.erased_at": ("'garbage'", r"erasure \(lineage_id '\w{32}'\): erased_at holds 'garbage', which is no time"),
    "erasure.because_of": ("'garbage'", r"erasure \(lineage_id '\w{32}'\): because_of holds 'garbage', which is no id"),
    "blob.data": ("'garbage'", r"blob \(sha256 '\w{64}'\): data holds 'garbage', which is no bytes"),
    "blob.sha256": ("X'00'", r"blob \(sha256 b'\\x00'\): sha256 holds b'\\x00', which is no text"),
    "blob.created_at": ("'garbage'", r"blob \(sha256 '\w{64}'\): created_at holds 'garbage', which is no time"),
    "run_entry.starts": ("'garbage'", r"run_entry \(run_name 'nightly', position 0\): starts holds 'garbage', which is no whole number"),
}


@pytest.mark.parametrize("place", CELLS)
async def test_a_cell_that_holds_what_its_column_is_not_for_is_told_with_its_row(url: str, place: str) -> None:
    table, column = place.split(".")
    value, text = CELLS[place]
    await damage(url, f"UPDATE {table} SET {column} = {value}")
    assert [each for each in await found(url, "cells") if re.fullmatch(f"{text}.*", each)], await found(url, "cells")


async def test_a_reference_to_what_is_no_number_is_one_to_nothing(url: str) -> None:
    await damage(url, "UPDATE chat_thread SET llm_config_id = 'garbage'")
    [text] = await found(url, "references")
    assert re.fullmatch(r"chat_thread \d+ \(version \S+\): llm_config_id garbage is not in llm_config", text)


@pytest.mark.parametrize("moment", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05+02:00", "2026-01-02 03:04:05.678+00:00"])
async def test_times_that_other_programs_wrote_in_another_form_are_times(url: str, moment: str) -> None:
    await damage(url, f"UPDATE tag SET updated_at = '{moment}'")
    assert await found(url, "cells") == []


async def test_a_version_that_leads_to_no_number_cannot_be_loaded_and_the_others_can(url: str) -> None:
    await damage(url, "UPDATE chat_thread SET history_seq = 'garbage'")
    [text] = await found(url, "loading")
    assert re.fullmatch(r"version \S+ cannot be loaded: a row holds something else than a number where .*", text)
    async with open_storage(url) as storage:
        [thread] = await storage.list_by_type(ChatThread)
        with pytest.raises(ReadFailed, match="something else than a number") as caught:
            await storage.get(ChatThread, thread.ecs_id)
        assert caught.value.damaged


async def test_an_attachment_that_is_no_bytes_is_called_damaged(url: str) -> None:
    await damage(url, "UPDATE blob SET data = 'note'")
    async with open_storage(url) as storage:
        with pytest.raises(ReadFailed) as caught:
            await _lines(storage)
    assert caught.value.damaged


async def test_a_database_whose_id_is_none_is_not_opened(url: str) -> None:
    await damage(url, "UPDATE storage_info SET database_id = 'garbage'")
    with pytest.raises(DatabaseUnreadable, match="table 'storage_info' holds 'garbage' where the id of the database belongs"):
        await open_storage(url).__aenter__()


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("DELETE FROM chat_message_content_words_data", "cannot be read, so that searching fails: "),
        ("DELETE FROM chat_message_content_words_config", "cannot be read, so that searching fails: "),
        ("UPDATE chat_message_content_words_data SET block = X'00' WHERE id > 10", "cannot be read, so that searching fails: "),
        ("DELETE FROM chat_message_content_words_idx", "does not find all the words that it holds"),
    ],
)
async def test_an_index_that_does_not_find_its_words_is_told(url: str, statement: str, text: str) -> None:
    async with open_storage(url) as storage:
        await storage.register(ChatMessage(role=MessageRole.user, content=" ".join(f"word{number}" for number in range(3_000))))
        assert await storage.search(ChatMessage, "words")
        assert await storage.check() == []
    await damage(url, statement)
    [said] = await found(url, "words are found")
    assert said.startswith(f"index chat_message_content_words {text}")


async def _lines(storage: EntityStorage) -> list[str]:
    return [line async for line in storage.export_lines()]
