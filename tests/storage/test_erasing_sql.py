"""What is erased from a database is gone from its tables, indexes and files, and cannot come back through them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from minference.errors import ErasedLineage, UnknownKind
from minference.storage.open import open_storage
from minference.storage.sql.backend import SqlBackend
from minference.storage.sql.dialects import open_engine
from minference.storage.sql.driver import Driver, Statement, Transaction
from minference.storage.versioned import VersionedStorage
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread
from tests.storage.erasures import a_full_thread, a_thread, files_with, reply, said, tables_with
from tests.storage.first_release import load_first_release
from tests.storage.tables import broken_rules, damage, rows_of
from tests.storage.test_erasing import DAY, Diary

SECRET = "Wintermute"


@asynccontextmanager
async def reading_apart(url: str) -> AsyncIterator[Any]:
    """A transaction of somebody else who has begun to read, as an open connection."""
    engine = open_engine(url)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        connection = await stack.enter_async_context(engine.connect())
        if url.startswith("postgresql"):
            await connection.execution_options(isolation_level="REPEATABLE READ")
        await connection.execute(text("SELECT COUNT(*) FROM chat_message"))
        yield connection
        await connection.rollback()


async def test_the_words_of_an_erased_thread_are_in_no_table_and_no_index(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread, other = a_full_thread(SECRET), a_thread("Neuromancer")
        await storage.register(thread, other, author="ann", note="begin")
        await reply(storage, thread, SECRET)
        thread.history[0].content = f"edited {SECRET} in Freeside"
        await storage.register(thread)
        for word in (SECRET, "freeside", "neuromancer"):
            assert len(await storage.search(ChatMessage, word)) in (1, 2)
        assert "raw_output" in await tables_with(sql_url, SECRET)
        assert (await storage.erase(thread, reason="asked to")).remains == ()
        assert await tables_with(sql_url, SECRET) == []
        assert await tables_with(sql_url, "freeside") == []
        assert await tables_with(sql_url, "neuromancer") != []
        assert [hit.version.ecs_id for hit in await storage.search(ChatMessage, "neuromancer")] == [other.history[0].ecs_id]
        assert await tables_with(sql_url, SECRET) == []
        assert await storage.check() == []
    assert await broken_rules(sql_url) == []


async def test_keys_and_documents_of_a_class_without_a_table_are_emptied(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        inner = Diary(title=SECRET, pages=1, day=DAY)
        diary = Diary(title=f"{SECRET} \ud83d", pages=1, day=DAY, marks={SECRET: SECRET}, named={f"{SECRET} \0": inner, "b": inner})
        await storage.register(diary)
        await storage.erase(diary, reason="asked to")
        assert await tables_with(sql_url, SECRET) == []
        assert list((await storage.get(Diary, diary.ecs_id)).named) == ["0", "1"]
        assert await storage.check() == []


async def test_rows_of_everything_else_are_as_they_were(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread, other = a_full_thread(SECRET), a_thread("a", "b")
        other.history.append(thread.history[0])
        await storage.register(thread, other)
        await reply(storage, other, "Neuromancer")
        before = await rows_of(sql_url)
        done = await storage.erase(thread, reason="asked to")
        after = await rows_of(sql_url)
        engine = open_engine(sql_url)
        async with engine.connect() as connection:
            found = await connection.execute(text("SELECT id FROM entity_version WHERE erased_at IS NOT NULL"))
            keys = {row[0] for row in found.all()}
        await engine.dispose()
        assert len(keys) == done.scope.versions
        changed = {key for key, row in before.items() if after[key] != row}
        assert {key[1] for key in changed} == keys
        assert {key[0] for key in after.keys() - before.keys()} == {"erasure"}
        assert before.keys() <= after.keys()


async def test_no_file_holds_what_was_erased_from_sqlite(sqlite_url: str) -> None:
    async with open_storage(sqlite_url) as storage:
        thread, other = a_full_thread(SECRET), a_thread("Neuromancer")
        await storage.register(thread, other)
        await reply(storage, thread, f"{SECRET} {'x' * 20_000}")
        await storage.search(ChatMessage, SECRET)
        assert files_with(sqlite_url, SECRET) != []
        assert (await storage.erase(thread, reason="asked to")).remains == ()
        assert files_with(sqlite_url, SECRET) == []
        assert files_with(sqlite_url, "Neuromancer") != []
    assert files_with(sqlite_url, SECRET) == []


async def test_copies_that_sqlite_left_when_it_split_pages_are_gone_too(sqlite_url: str) -> None:
    async with open_storage(sqlite_url) as one, open_storage(sqlite_url) as two:
        threads = [a_thread(), a_thread()]
        await one.register(threads[0])
        await two.register(threads[1])
        for number in range(30):  # two blocks of keys that grow side by side
            for storage, thread in zip((one, two), threads, strict=True):
                thread.history += [said(f"{SECRET} {'y' * ((10 * number + each) * 74 % 300)}") for each in range(10)]
                await storage.register(thread)
        for thread in threads:
            await two.erase(thread, reason="asked to", scrub=False)
        assert await two.scrub() == ()
        assert files_with(sqlite_url, SECRET) == []


async def test_without_scrubbing_the_result_says_that_something_may_remain(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = a_thread(SECRET)
        await storage.register(thread)
        [sentence] = (await storage.erase(thread, reason="asked to", scrub=False)).remains
        assert "call scrub()" in sentence
        assert await tables_with(sql_url, SECRET) == []
        assert (await storage.erase(thread, reason="again")).remains == ()


async def test_a_reader_that_still_sees_the_content_is_told_of_and_scrubbing_again_helps(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = a_thread(SECRET)
        await storage.register(thread)
        async with reading_apart(sql_url) as reader:
            done = await storage.erase(thread, reason="asked to")
            assert len(done.remains) == 1
            assert "then call scrub() again" in done.remains[0]
            assert (await reader.execute(text("SELECT content FROM chat_message"))).scalars().all() == [SECRET]
            thread_2 = a_thread("others go on saving")
            await storage.register(thread_2)
        assert await storage.scrub() == ()
        if sql_url.startswith("sqlite"):
            assert files_with(sql_url, SECRET) == []


async def test_a_class_that_the_program_does_not_define_stops_the_erasure(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        diary = Diary(title=SECRET, pages=1, day=DAY)
        await storage.register(diary)
    await damage(sql_url, "UPDATE entity_kind SET name = 'nobody' WHERE name = 'erasing_diary'")
    async with open_storage(sql_url) as storage:
        with pytest.raises(UnknownKind, match="nobody"):
            await storage.erase(diary, reason="asked to")
    await damage(sql_url, "UPDATE entity_kind SET name = 'erasing_diary' WHERE name = 'nobody'")
    async with open_storage(sql_url) as storage:
        assert (await storage.get(Diary, diary.ecs_id)).title == SECRET


@pytest.mark.parametrize(
    "sql",
    [
        """INSERT INTO entity_version (id, ecs_id, lineage_id, fork_no, kind_id, commit_id, created_at)
           SELECT 999999, because_of, e.lineage_id, 7, kind_id, commit_id, created_at
           FROM entity_version v JOIN erasure e ON e.lineage_id = v.lineage_id LIMIT 1""",
        "UPDATE chat_message SET content = 'another' WHERE content = 'kept'",
        "UPDATE entity_any SET data = '{}'",
        "UPDATE entity_sequence SET keys = '[]'",
        "UPDATE entity_version SET created_at = (SELECT MIN(created_at) FROM entity_commit)",
        "UPDATE entity_version SET erased_at = NULL WHERE erased_at IS NOT NULL",
        "UPDATE run_item SET child_id = owner_id",
        "UPDATE sequence_span SET length = 1",
        "UPDATE entity_commit SET note = 'another'",
        "UPDATE entity_link SET child_id = owner_id",
        "UPDATE erasure SET reason = 'another'",
        "DELETE FROM erasure",
        "DELETE FROM chat_message",
        "DELETE FROM entity_version",
        "DELETE FROM run_item",
    ],
)
async def test_the_database_itself_refuses_what_would_change_a_stored_version(sql_url: str, sql: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = a_thread(SECRET, "kept")
        inner = Diary(title="u", pages=1, day=DAY)
        await storage.register(thread, Diary(title="t", pages=1, day=DAY, named={"a": inner}, cover=inner))
        await storage.erase(thread.history[0], reason="asked to")
        before = await rows_of(sql_url)
        engine = open_engine(sql_url)
        try:
            with pytest.raises(IntegrityError, match=r"stored versions never change|erased"):
                async with engine.begin() as connection:
                    await connection.exec_driver_sql(sql)
        finally:
            await engine.dispose()
        assert await rows_of(sql_url) == before


async def test_a_guard_that_is_missing_is_told(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        engine = open_engine(sql_url)
        async with engine.begin() as connection:
            on = "" if sql_url.startswith("sqlite") else " ON chat_message"
            await connection.exec_driver_sql(f"DROP TRIGGER guard_update_chat_message{on}")
        await engine.dispose()
        [finding] = await storage.check()
        assert (finding.rule, "guard_update_chat_message" in finding.text) == ("guards", True)


DAMAGES = [
    ("erased versions have a tombstone", "has no tombstone", "DELETE FROM erasure"),
    ("erased lineages are erased whole", "is not erased, and its lineage", "UPDATE entity_version SET erased_at = NULL"),
    ("erased versions are empty", "is erased and holds content", "UPDATE chat_message SET content = 'back'"),
    ("erased versions are empty", "is erased and holds content", """UPDATE entity_sequence SET keys = '["back"]'"""),
]


@pytest.mark.parametrize(("rule", "sentence", "sql"), DAMAGES)
async def test_a_check_finds_what_an_erasure_would_not_leave(sql_url: str, rule: str, sentence: str, sql: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = a_thread(SECRET)
        diary = Diary(title="t", pages=1, day=DAY, named={"a": Diary(title="u", pages=1, day=DAY)})
        await storage.register(thread, diary)
        await storage.erase(thread, reason="asked to")
        await storage.erase(diary, reason="asked to")
        assert await storage.check() == []
        await damage(sql_url, sql)
        found = await storage.check()
        assert {each.rule for each in found} == {rule}
        assert all(sentence in each.text for each in found)


async def test_a_check_finds_words_of_erased_versions(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = a_thread(SECRET)
        await storage.register(thread)
        await storage.search(ChatMessage, "x")
        await storage.erase(thread, reason="asked to")
        if sql_url.startswith("sqlite"):
            await damage(sql_url, "INSERT INTO chat_message_content_words (rowid, words) SELECT id, 'back' FROM chat_message")
        else:
            await damage(sql_url, "INSERT INTO chat_message_content_words SELECT id, 'back'::tsvector FROM chat_message")
        assert {each.rule for each in await storage.check()} == {"erased versions are not indexed"}


async def test_a_database_of_the_first_revision_is_upgraded_and_guarded(sql_url: str) -> None:
    await load_first_release(sql_url)
    async with open_storage(sql_url) as storage:
        [newest, *_] = await storage.list_by_type(ChatThread)
        thread = await storage.get(ChatThread, newest.ecs_id)
        await storage.erase(thread.history[0], reason="asked to")
        thread.history[0].content = "back"
        with pytest.raises(ErasedLineage):
            await storage.register(thread)
        assert await storage.check() == []


async def test_a_file_that_cannot_be_rebuilt_now_is_told_of(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.storage.sql.dialects.BUSY_TIMEOUT", 0.01)
    async with open_storage(sqlite_url) as storage:
        thread = a_thread(SECRET)
        await storage.register(thread)
        await storage.erase(thread, reason="asked to", scrub=False)
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            first, *_ = await storage.scrub()
            assert "could not be rebuilt" in first
            other.execute("ROLLBACK")
        assert await storage.scrub() == ()


async def test_an_erasure_gives_the_room_back(sqlite_url: str) -> None:
    async with open_storage(sqlite_url) as storage:
        thread = a_thread(*(f"{SECRET} {'x' * 2_000}" for _ in range(200)))
        await storage.register(thread)
        before = (await storage.size()).bytes
        await storage.erase(thread, reason="asked to")
        assert (await storage.size()).bytes < before / 2


class Interrupted:
    """A database in which something happens between the reading of texts and the writing of their words."""

    def __init__(self, driver: Driver, happening: Callable[[], Awaitable[object]]) -> None:
        self._driver = driver
        self._happening = happening
        self.dialect, self.reading = driver.dialect, driver.reading

    async def write(self, statements: Sequence[Statement]) -> None:
        """Write, after what happens before words are added."""
        if any("INSERT INTO chat_message_content_words (" in sql for sql, _ in statements):
            await self._happening()
        await self._driver.write(statements)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """The same on SQLite, where words are added in a transaction that looks again."""
        await self._happening()
        async with self._driver.transaction() as transaction:
            yield transaction


async def test_words_that_were_read_before_an_erasure_are_not_indexed_after_it(sql_url: str) -> None:
    backend = SqlBackend(sql_url, durability="full", migrate="auto")
    async with VersionedStorage(backend) as storage, open_storage(sql_url) as eraser:
        thread = a_thread(SECRET, "Neuromancer")
        await storage.register(thread)
        parts = backend._reader.parts  # type: ignore[union-attr]
        erasing = Interrupted(parts.driver, lambda: eraser.erase(thread.history[0], reason="asked to", scrub=False))
        backend._reader.parts = parts._replace(driver=erasing)  # type: ignore[union-attr, arg-type]
        assert len(await storage.search(ChatMessage, "neuromancer")) == 1
        assert await storage.search(ChatMessage, SECRET) == []
        assert await tables_with(sql_url, SECRET) == []
        assert await storage.check() == []
