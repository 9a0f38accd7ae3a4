"""Bytes are stored once, in the transaction of the first version that holds them, and never travel unless they are asked for."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from minference.ecs.blob_fields import blobs_below
from minference.ecs.blobs import Blob
from minference.errors import BlobNotFound, BlobNotLoaded, ReadFailed, WriteFailed
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.sql.backend import SqlBackend
from minference.storage.sql.dialects import open_engine
from minference.storage.versioned import VersionedStorage
from minference.threads.attachments import FileAttachment, ImageAttachment, ImageLink
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from tests.benchmarks.workload import take_turn
from tests.ecs.test_blobs import Album, full_album
from tests.storage.failing import DOOMED, FailingDatabase, FailingMemory
from tests.storage.graphs import contents_of
from tests.storage.tables import broken_rules
from tests.storage.test_faults import child, heard, said_at_the_end
from tests.support.examples import examples
from tests.support.sqlite import with_tables

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def a_thread(*attachments: FileAttachment | ImageAttachment | ImageLink) -> ChatThread:
    thread = ChatThread(llm_config=LLMConfig(client="scripted", model="m"))
    thread.add_user_message("Look.", attachments=attachments)
    return thread


def an_image(content: bytes = PNG, name: str = "a.png") -> ImageAttachment:
    return ImageAttachment.from_bytes(content, name)


async def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Rows, read by SQLAlchemy alone."""
    engine = open_engine(url)
    try:
        async with engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(text(sql))]
    finally:
        await engine.dispose()


async def change(url: str, *statements: str) -> None:
    """Do something to the database behind the storage's back."""
    engine = open_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.execution_options(writes=True)
            async with connection.begin():
                for sql in statements:
                    await connection.execute(text(sql))
    finally:
        await engine.dispose()


async def test_a_thread_with_attachments_comes_back_without_bytes_which_are_read_when_they_are_asked_for(storage: EntityStorage) -> None:
    link = ImageLink(url="https://example.org/cat.png", detail="low")
    thread = a_thread(an_image(), FileAttachment.from_bytes(b"some words", "words.txt"), link)
    await storage.register(thread)
    copy = await storage.get(ChatThread, thread.ecs_id)
    assert contents_of(copy) == contents_of(thread)
    image, file, linked = copy.history[0].attachments
    assert isinstance(image, ImageAttachment)
    assert isinstance(file, FileAttachment)
    assert isinstance(linked, ImageLink)
    assert (image.name, image.media_type, image.size, image.sha256) == ("a.png", "image/png", len(PNG), hashlib.sha256(PNG).hexdigest())
    with pytest.raises(BlobNotLoaded, match="load_blobs"):
        _ = image.data
    assert await image.read() == PNG
    assert not image.content.is_loaded
    await storage.load_blobs(copy)
    assert (image.data, file.data) == (PNG, b"some words")


async def test_cold_snapshots_and_single_blobs_can_be_loaded_too(storage: EntityStorage) -> None:
    thread = a_thread(an_image())
    await storage.register(thread)
    cold = await storage.get_cold_snapshot(ChatThread, thread.ecs_id)
    await storage.load_blobs(cold)
    assert [blob.data for blob in blobs_below(cold)] == [PNG]
    [blob] = blobs_below(await storage.get(ChatThread, thread.ecs_id))
    await storage.load_blobs(blob)
    assert blob.data == PNG
    await storage.load_blobs()


async def test_blobs_in_every_place_of_an_entity_come_back(storage: EntityStorage) -> None:
    album = full_album()
    album.next = Album(cover=Blob.of(b"1"), many=[Blob.of(b""), Blob.of(b"\0" * 100_000)])
    await storage.register(album)
    copy = await storage.get(Album, album.ecs_id)
    assert not any(blob.is_loaded for blob in blobs_below(copy))
    await storage.load_blobs(copy)
    assert [blob.data for blob in blobs_below(copy)] == [blob.data for blob in blobs_below(album)]
    assert await storage.read_blobs(blobs_below(copy)) == {blob.sha256: blob.data for blob in blobs_below(album)}


async def test_loading_and_saving_makes_no_version_and_only_another_hash_is_a_change(storage: EntityStorage) -> None:
    album = full_album()
    await storage.register(album)
    copy = await storage.get(Album, album.ecs_id)
    assert (await storage.submit(copy)).versions == ()
    await storage.load_blobs(copy)
    copy.cover, copy.many = Blob.of(b"1"), [Blob.of(b"4")]
    assert (await storage.submit(copy)).versions == ()
    copy.many[0] = Blob.of(b"another")
    assert (await storage.submit(copy)).versions == (copy.ecs_id,)
    copy.cover = Blob.of(b"one more")
    assert (await storage.submit(copy)).versions == (copy.ecs_id,)
    assert not (await storage.diff(copy, await storage.get(Album, copy.ecs_id)))


async def test_each_message_that_is_given_something_to_carry_is_one_version_of_it_and_of_the_thread(storage: EntityStorage) -> None:
    thread = a_thread()
    await storage.register(thread)
    message = thread.history[0]
    message.attachments = (an_image(),)
    assert len((await storage.submit(thread)).versions) == 3
    message.attachments = (*message.attachments, FileAttachment.from_bytes(b"words", "w.txt"))
    assert len((await storage.submit(thread)).versions) == 3
    message.attachments[0].name = "b.png"
    assert len((await storage.submit(thread)).versions) == 3
    message.attachments = message.attachments[::-1]
    assert len((await storage.submit(thread)).versions) == 2
    thread.history.append(ChatMessage(role=MessageRole.assistant, content="Thanks."))
    assert len((await storage.submit(thread)).versions) == 2
    assert [[attached.name for attached in message.attachments] for message in (await storage.get(ChatThread, thread.ecs_id)).history] == [
        ["w.txt", "b.png"],
        [],
    ]
    versions = [await storage.get(ChatThread, info.ecs_id) for info in await storage.lineage(thread.lineage_id)]
    names = [[attached.name for attached in version.history[0].attachments] for version in versions]
    assert names == [[], ["a.png"], ["a.png", "w.txt"], ["b.png", "w.txt"], ["w.txt", "b.png"], ["w.txt", "b.png"]]


async def test_a_hundred_messages_with_one_content_store_it_once(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        for number in range(10):
            thread = a_thread()
            for each in range(10):
                thread.add_user_message("Again.", attachments=[an_image(name=f"{number}-{each}.png")])
            await storage.register(thread)
        assert await storage.check() == []
    assert await ask(sql_url, "SELECT sha256, size FROM blob") == [(hashlib.sha256(PNG).hexdigest(), len(PNG))]
    assert await ask(sql_url, "SELECT COUNT(*), COUNT(DISTINCT owner_id) FROM entity_blob") == [(100, 100)]


async def test_a_turn_without_attachments_writes_not_one_row_for_them(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = a_thread(an_image())
        await storage.register(thread)
        added: list[int] = []
        for _ in range(3):
            before = sum(table.rows for table in (await storage.size()).tables.values())
            outputs = take_turn(thread)
            await storage.register(thread, *outputs)
            added.append(sum(table.rows for table in (await storage.size()).tables.values()) - before)
    # Six versions with a row of their own each, their commit, and two members of the history.
    assert added[1:] == [15, 15]


async def test_listing_and_loading_do_not_look_at_the_bytes(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = a_thread(an_image())
        await storage.register(thread)
        await change(sql_url, "ALTER TABLE blob RENAME TO elsewhere")
        [version] = await storage.list_by_type(ChatThread)
        copy = await storage.get(ChatThread, version.ecs_id)
        assert contents_of(copy) == contents_of(thread)
        with pytest.raises(ReadFailed, match="blob"):
            await storage.load_blobs(copy)


async def test_who_holds_some_bytes_is_a_plain_question(sql_url: str) -> None:
    thread, other = a_thread(an_image()), a_thread(FileAttachment.from_bytes(b"words", "w.txt"))
    async with open_storage(sql_url) as storage:
        await storage.register(thread, other)
    sha256 = hashlib.sha256(PNG).hexdigest()
    found = await ask(sql_url, f"SELECT v.ecs_id FROM entity_blob h JOIN entity_version v ON v.id = h.owner_id WHERE h.sha256 = '{sha256}'")
    assert [str(row[0]).replace("-", "") for row in found] == [thread.history[0].attachments[0].ecs_id.hex]


async def test_bytes_that_are_stored_do_not_travel_again(sql_url: str) -> None:
    content = os.urandom(200_000)
    async with open_storage(sql_url) as storage:
        thread = a_thread(an_image(PNG + content))
        await storage.register(thread)
        await change(sql_url, "UPDATE blob SET created_at = '2001-01-01T00:00:00.000000+00:00'")
        before = (await storage.size()).bytes
        for number in range(5):
            thread.history[0].attachments[0].name = f"{number}.png"
            await storage.register(thread)
        light = await storage.get(ChatThread, thread.ecs_id)
        light.add_user_message("The same.", attachments=[an_image(PNG + content)])
        await storage.register(light)
        assert (await storage.size()).bytes - before < len(content)
    assert [str(row[0])[:4] for row in await ask(sql_url, "SELECT created_at FROM blob")] == ["2001"]


@pytest.mark.parametrize("failing", ["memory", "sqlite", "postgresql"])
async def test_a_failed_save_leaves_no_bytes_and_can_be_done_again(failing: str, request: pytest.FixtureRequest) -> None:
    backend: Any = FailingMemory() if failing == "memory" else FailingDatabase(request.getfixturevalue(f"{failing}_url"))
    async with VersionedStorage(backend) as storage:
        thread = a_thread(an_image())
        with pytest.raises(WriteFailed):
            await storage.register(thread, note=DOOMED)
        assert await storage.missing_blobs([Blob(thread.history[0].attachments[0].sha256, len(PNG))])  # type: ignore[union-attr]
        await storage.register(thread)
        [blob] = blobs_below(await storage.get(ChatThread, thread.ecs_id))
        assert await blob.read() == PNG


async def test_a_transaction_that_breaks_at_its_last_row_takes_the_bytes_back(sql_url: str) -> None:
    refuse = {
        "sqlite": ["CREATE TRIGGER no BEFORE INSERT ON entity_blob BEGIN SELECT RAISE(ABORT, 'not today'); END"],
        "postgresql": [
            "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$ LANGUAGE plpgsql",
            "CREATE TRIGGER no BEFORE INSERT ON entity_blob FOR EACH ROW EXECUTE FUNCTION no()",
        ],
    }[sql_url.partition(":")[0]]
    async with open_storage(sql_url) as storage:
        await change(sql_url, *refuse)
        thread = a_thread(an_image())
        with pytest.raises(WriteFailed, match="not today"):
            await storage.register(thread)
        assert await ask(sql_url, "SELECT COUNT(*) FROM blob") == [(0,)]
        await change(sql_url, "DROP TRIGGER no" + (" ON entity_blob" if sql_url.startswith("postgresql") else ""))
        await storage.register(thread)
        assert await storage.check() == []


async def test_a_reference_to_bytes_that_are_nowhere_is_refused_and_nothing_is_written(storage: EntityStorage) -> None:
    lost = Blob("0" * 64, 12)
    album, other = Album(name="a", many=[Blob.of(b"here"), lost]), Album(name="b", cover=Blob.of(b"there"))
    saves = [storage.submit(album), storage.submit(other)]
    with pytest.raises(BlobNotFound, match=r"blob 0{64} \(12 bytes\) is not stored here") as raised:
        await saves[0]
    assert (raised.value.sha256, raised.value.size) == (lost.sha256, 12)
    await saves[1]
    assert not await storage.has_entity(album.ecs_id)
    assert await storage.missing_blobs([lost, Blob.of(b"here"), Blob(Blob.of(b"there").sha256, 5)]) == [lost]
    for attempt in (storage.read_blobs([other.cover or lost, lost]), lost.read(), storage.load_blobs(other, lost)):
        with pytest.raises(BlobNotFound):
            await attempt
    album.many.pop()
    await storage.register(album)
    assert (await storage.get(Album, album.ecs_id)).many == [Blob.of(b"here")]


async def test_a_version_may_refer_to_bytes_that_come_with_another_of_the_same_transaction(storage: EntityStorage) -> None:
    known = Blob(Blob.of(b"shared").sha256, 6)
    first, second = Album(cover=Blob.of(b"shared")), Album(cover=known)
    saves = [storage.submit(first), storage.submit(second)]
    for save in saves:
        await save
    assert await known.read() == b"shared"


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[EntityStorage]:
    """A second, empty storage."""
    async with open_storage(with_tables(tmp_path / "other.db")) as opened:
        yield opened


async def test_what_goes_to_another_storage_takes_its_bytes_along_once_they_are_loaded(
    storage: EntityStorage, other: EntityStorage
) -> None:
    await storage.register(album := full_album())
    copy = await storage.get(Album, album.ecs_id)
    with pytest.raises(BlobNotFound, match=r"fetch them from where it came from with load_blobs\(\)"):
        await other.register(copy)
    await storage.load_blobs(copy)
    await other.register(copy)
    assert await other.read_blobs(blobs_below(copy)) == {blob.sha256: blob.data for blob in blobs_below(album)}
    assert await other.check() == []


class RacedDatabase(SqlBackend):
    """A database where, right before the next transaction, somebody else removes what nobody refers to."""

    def __init__(self, url: str) -> None:
        super().__init__(url, durability="fast", migrate="auto")
        self.races = 0
        self._real_url = url

    async def open(self) -> Any:
        """See `Backend.open`."""
        ledger = await super().open()
        assert self._driver is not None
        write = self._driver.write

        async def race(statements: Any) -> None:
            if self.races:
                self.races -= 1
                await change(self._real_url, "DELETE FROM blob WHERE sha256 NOT IN (SELECT sha256 FROM entity_blob)")
            await write(statements)

        self._driver.write = race  # type: ignore[method-assign]
        return ledger


@pytest.mark.parametrize("has_bytes", [True, False])
async def test_bytes_that_are_removed_while_a_version_with_them_is_saved_are_written_again_or_missed(sql_url: str, has_bytes: bool) -> None:
    backend = RacedDatabase(sql_url)
    async with VersionedStorage(backend) as storage:
        blob = Blob.of(b"raced")
        await change(sql_url, _insert_blob(sql_url, blob))
        album = Album(cover=blob if has_bytes else Blob(blob.sha256, blob.size))
        backend.races = 1
        if has_bytes:
            await storage.register(album)
            assert await Blob(blob.sha256, blob.size).read() == b"raced"
        else:
            with pytest.raises(BlobNotFound):
                await storage.register(album)
        assert backend.races == 0
        assert await storage.check() == []


def _insert_blob(url: str, blob: Blob) -> str:
    literal = f"X'{blob.data.hex()}'" if url.startswith("sqlite") else f"'\\x{blob.data.hex()}'"
    return (
        f"INSERT INTO blob (sha256, size, data, created_at) VALUES ('{blob.sha256}', {blob.size}, {literal}, '2020-01-01T00:00:00+00:00')"
    )


async def test_thirty_megabytes_are_saved_and_read_and_listing_does_not_touch_them(storage: EntityStorage) -> None:
    content = b"%PDF-1.7\n" + os.urandom(30 * 2**20)
    thread = a_thread(FileAttachment.from_bytes(content, "large.pdf"))
    await storage.register(thread)
    [version] = await storage.list_by_type(ChatThread)
    copy = await storage.get(ChatThread, version.ecs_id)
    assert not any(blob.is_loaded for blob in blobs_below(copy))
    assert await copy.history[0].attachments[0].read() == content  # type: ignore[union-attr]


async def test_many_saves_with_large_contents_are_not_one_transaction(storage: EntityStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.storage.committer.MAX_BULK", 1_000)
    albums = [Album(cover=Blob.of(bytes([number]) * 600)) for number in range(7)]
    saves = [storage.submit(album) for album in albums]
    for save in saves:
        await save
    assert await storage.read_blobs([Blob(album.cover.sha256, 600) for album in albums if album.cover]) == {
        blob.sha256: blob.data for album in albums if (blob := album.cover)
    }


@settings(max_examples=examples(12, 100), deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["cover", "many", "named", "drop", "go back", "share"]), st.integers(0, 3), st.binary(max_size=2)),
        max_size=12,
    )
)
def test_whatever_is_done_with_blobs_every_version_keeps_its_own_and_each_content_is_stored_once(
    edits: list[tuple[str, int, bytes]],
) -> None:
    asyncio.run(_edit(edits))


async def _edit(edits: list[tuple[str, int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = with_tables(f"{folder}/x.db")
        async with open_storage("memory:") as memory, open_storage(url) as database:
            for storage in (memory, database):
                albums = [Album(name=str(number)) for number in range(4)]
                versions: dict[Any, dict[str, bytes]] = {}
                held: set[bytes] = set()
                for kind, which, content in edits:
                    album, blob = albums[which], Blob.of(content)
                    match kind:
                        case "cover":
                            album.cover = blob
                        case "many":
                            album.many.append(blob)
                        case "named":
                            album.named[str(which)] = blob
                        case "drop":
                            album.cover, album.many, album.named = None, [], {}
                        case "share":
                            album.next = albums[(which + 1) % 4]
                        case _ if versions:
                            albums[which] = await storage.get(Album, list(versions)[which % len(versions)])
                    await storage.register(*albums)
                    for each in albums:
                        own = await storage.read_blobs(blobs_below(each))
                        versions[each.ecs_id] = own
                        held.update(own.values())
                for ecs_id, contents in versions.items():
                    assert await storage.read_blobs(blobs_below(await storage.get(Album, ecs_id))) == contents
            assert await database.check() == []
            assert {bytes(row[0]) for row in await ask(url, "SELECT data FROM blob")} == held


async def test_two_processes_that_write_the_same_bytes_at_once_both_succeed(sql_url: str) -> None:
    async with open_storage(sql_url):
        pass
    for seed in range(3):
        ends = await said_at_the_end(*[("attach", sql_url, str(seed), "8")] * 3)
        async with open_storage(sql_url) as storage:
            for ecs_ids in ends:
                assert len(ecs_ids) == 8
            assert await storage.check() == []
    assert await ask(sql_url, "SELECT COUNT(*), SUM(size) FROM blob") == [(24, 24 * 100_000)]
    assert await broken_rules(sql_url) == []


async def test_after_a_kill_every_acknowledged_version_has_its_bytes_and_no_bytes_are_left_over(sql_url: str) -> None:
    acknowledged: dict[str, str] = {}
    for saves in (1, 4, 9):
        async with child("attach_loop", sql_url) as process:
            for _ in range(saves):
                ecs_id, sha256 = await heard(process)
                acknowledged[ecs_id] = sha256
            process.kill()
            assert process.stdout is not None
            lines = (await process.stdout.read()).decode().splitlines(keepends=True)
        acknowledged.update(json.loads(line) for line in lines if line.endswith("\n"))
    async with open_storage(sql_url) as storage:
        for ecs_id, sha256 in acknowledged.items():
            [blob] = blobs_below(await storage.get(ChatThread, UUID(ecs_id)))
            assert blob.sha256 == sha256 == hashlib.sha256(await blob.read()).hexdigest()
        assert await storage.check() == []
