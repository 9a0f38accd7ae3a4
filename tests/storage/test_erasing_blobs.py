"""Erasing reaches bytes: those that nobody holds any more are gone, others stay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import Field

from minference.ecs.blobs import Blob
from minference.ecs.entity import Entity
from minference.errors import BlobNotFound
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.attachments import ERASED_URL, FileAttachment, ImageAttachment, ImageLink
from minference.threads.thread import ChatThread
from tests.storage.erasures import a_thread, files_with, tables_with
from tests.storage.test_erasing_older import whole
from tests.support.exports import export_of
from tests.support.sqlite import with_tables

SECRET = "Wintermute"
PDF = FileAttachment.from_bytes(b"%PDF-" + SECRET.encode() * 2000, f"{SECRET}.pdf").data
PNG = b"\x89PNG\r\n\x1a\n" + b"kept" * 20


class Album(Entity, kind="erasing_album"):
    cover: Blob
    pages: list[Blob] = Field(default_factory=list)
    back: Blob | None = None


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[EntityStorage]:
    """A second, empty storage."""
    async with open_storage(with_tables(tmp_path / "other.db")) as opened:
        yield opened


def carrying(*attachments: FileAttachment | ImageAttachment | ImageLink) -> ChatThread:
    thread = a_thread()
    thread.add_user_message("Look.", attachments=attachments)
    return thread


async def test_attachments_are_erased_with_their_message_and_bytes_that_others_hold_stay(storage: EntityStorage, storage_url: str) -> None:
    link = ImageLink(name=SECRET, url=f"https://{SECRET}.example/a.png", detail="low")
    image = ImageAttachment.from_bytes(PNG, f"{SECRET}.png", detail="high")
    thread, keeps = (
        carrying(FileAttachment.from_bytes(PDF, f"{SECRET}.pdf"), image, link),
        carrying(ImageAttachment.from_bytes(PNG, "b.png")),
    )
    await storage.register(thread, keeps)
    done = await storage.erase(thread.history[0], reason="asked to")
    assert {name: count.versions for name, count in done.scope.kinds.items()}.keys() >= {"chat_message", "image_link"}
    file, shown, linked = (await storage.get(ChatThread, thread.ecs_id)).history[0].attachments
    assert isinstance(file, FileAttachment)
    assert isinstance(shown, ImageAttachment)
    assert isinstance(linked, ImageLink)
    assert (file.erased, file.name, file.media_type, file.size, await storage.read_blobs([file.content])) == (
        True, "erased", "application/pdf", 0, {file.sha256: b""},
    )  # fmt: skip
    assert (shown.name, shown.media_type, shown.detail, shown.size) == ("erased", "image/png", "high", 0)
    assert (linked.name, linked.url, linked.detail) == ("", ERASED_URL, "low")
    with pytest.raises(BlobNotFound):
        await storage.read_blobs([Blob(Blob.of(PDF).sha256, len(PDF))])
    [kept] = (await storage.get(ChatThread, keeps.ecs_id)).history[0].attachments
    assert isinstance(kept, ImageAttachment)
    assert await storage.read_blobs([kept.content]) == {kept.sha256: PNG}
    assert await whole(storage) == []
    if storage_url != "memory:":
        assert await tables_with(storage_url, SECRET) == []
    if storage_url.startswith("sqlite"):
        assert files_with(storage_url, SECRET) == []


async def test_a_blob_that_must_be_there_is_empty_after_an_erasure(storage: EntityStorage) -> None:
    content, both = Blob.of(b"x" * 5000), Blob.of(b"y" * 5000)
    album, keeps = Album(cover=content, pages=[content, both], back=content), Album(cover=both)
    await storage.register(album, keeps)
    album.cover = Blob.of(b"z")
    await storage.register(album)
    await storage.erase(album, reason="asked to")
    for version in await storage.lineage(album.lineage_id):
        left = await storage.get(Album, version.ecs_id)
        assert (left.cover, left.pages, left.back) == (Blob.of(b""), [], None)
        assert await left.cover.read() == b"" if left.cover.is_loaded else await storage.read_blobs([left.cover])
    assert await storage.read_blobs([Blob(both.sha256, both.size)]) == {both.sha256: both.data}
    for lost in (content, Blob.of(b"z")):
        with pytest.raises(BlobNotFound):
            await storage.read_blobs([Blob(lost.sha256, lost.size)])
    again = Album(cover=content)
    await storage.register(again)
    assert await storage.read_blobs([Blob(content.sha256, content.size)]) == {content.sha256: content.data}
    assert await whole(storage) == []


async def test_tombstones_shapes_tags_and_blobs_travel_together(storage: EntityStorage, other: EntityStorage) -> None:
    thread = carrying(FileAttachment.from_bytes(PDF, f"{SECRET}.pdf"))
    thread.add_user_message("And this.", attachments=[ImageAttachment.from_bytes(PNG, "b.png")])
    await storage.register(thread)
    before = [line async for line in storage.export_lines()]
    await storage.tag("main", thread)
    await storage.erase(thread.history[0], reason="asked to")
    lines = [line async for line in storage.export_lines()]
    kinds = [next(iter(line[2:].split('"'))) for line in lines[1:]]
    assert sorted(set(kinds), key=kinds.index) == ["erased", "blob", "at", "tag", "end"]
    assert SECRET not in "\n".join(lines)
    done = await other.import_lines(lines)
    assert (done.present, done.blobs, done.tags, done.erased) == (0, 2, 1, 0)
    assert [line async for line in other.export_lines()] == lines
    assert await other.check() == []
    # What comes from before the erasure brings nothing back, the bytes included.
    async with open_storage("memory:") as third:
        await third.import_lines(export_of(lines[1 : kinds.index("blob") + 1]))
        late = await third.import_lines(before)
        assert (late.blobs, late.emptied > 0) == (1, True)
        with pytest.raises(BlobNotFound):
            await third.read_blobs([Blob(Blob.of(PDF).sha256, len(PDF))])
        assert SECRET not in "\n".join([line async for line in third.export_lines()])
    # What was erased elsewhere is erased here, the bytes included.
    async with open_storage("memory:") as fourth:
        await fourth.import_lines(before)
        done = await fourth.import_lines(lines)
        assert done.erased > 0
        with pytest.raises(BlobNotFound):
            await fourth.read_blobs([Blob(Blob.of(PDF).sha256, len(PDF))])
