"""Export and import of what belongs to versions: the bytes that they hold, and their names."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from minference.ecs.blob_fields import blobs_below
from minference.ecs.blobs import Blob
from minference.ecs.entity import Entity
from minference.errors import InvalidExport
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.portable import Imported, KeptTag
from minference.threads.attachments import FileAttachment, ImageAttachment, ImageLink
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread
from tests.storage.test_blobs import change
from tests.storage.test_portable import a_history, assert_same_versions, exported
from tests.support.examples import examples
from tests.support.sqlite import with_tables


class Scan(Entity, kind="portable_scan"):
    name: str = ""
    content: Blob | None = None
    more: dict[str, Blob] = Field(default_factory=dict)
    next: Scan | None = None


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[EntityStorage]:
    """A second, empty storage."""
    async with open_storage(with_tables(tmp_path / "other.db")) as opened:
        yield opened


def lines_of(lines: list[str], part: str) -> list[dict[str, Any]]:
    """The lines that are a blob, a tag or a commit (`versions`)."""
    return [data for line in lines if part in (data := json.loads(line))]


async def contents_at(storage: EntityStorage, cls: type[Entity], ecs_id: UUID) -> dict[str, bytes]:
    return await storage.read_blobs(blobs_below(await storage.get(cls, ecs_id)))


SCAN_EDITS = ("content", "more", "drop", "next", "tag")


async def a_scanned_history(storage: EntityStorage) -> ChatThread:
    """A thread whose messages carry things, some of them twice, with edits and a branch."""
    thread = ChatThread(name="scans", llm_config=LLMConfig(client="scripted", model="m"))
    image = ImageAttachment.from_bytes(b"\x89PNG\r\n\x1a\n\x00\xff", "a.png")
    thread.add_user_message("Look.", attachments=[image, ImageLink(url="https://example.org/a.png")])
    await storage.register(thread, author="ada")
    thread.add_user_message("And this.", attachments=[FileAttachment.from_bytes(b"%PDF-1\x00", "a.pdf"), image])
    thread.add_user_message(
        "Again.", attachments=[ImageAttachment.from_bytes(image.data, "b.png"), FileAttachment.from_bytes(b"w", "w.txt")]
    )
    await storage.register(thread)
    first = thread.ecs_id
    thread.history[0].attachments = thread.history[0].attachments[::-1]
    await storage.register(thread)
    side = await storage.get(ChatThread, first)
    side.history[1].attachments = (FileAttachment.from_bytes(b"%PDF-2", "c.pdf"),)
    await storage.register(side)
    return thread


async def test_bytes_go_along_once_each_right_before_the_first_commit_that_holds_them(storage: EntityStorage, other: EntityStorage) -> None:
    thread = await a_scanned_history(storage)
    lines = await exported(storage)
    assert [next(iter(json.loads(line))) for line in lines] == ["format", "blob", "at", "blob", "blob", "at", "at", "blob", "at", "end"]
    assert {base64.b64decode(each["data"]) for each in lines_of(lines, "blob")} == {
        b"\x89PNG\r\n\x1a\n\x00\xff", b"%PDF-1\x00", b"w", b"%PDF-2"
    }  # fmt: skip
    done = await other.import_lines(lines)
    assert (done.commits, done.blobs) == (4, 4)
    assert await exported(other) == lines
    assert await other.check() == []
    for info in await storage.lineage(thread.lineage_id):
        assert await contents_at(other, ChatThread, info.ecs_id) == await contents_at(storage, ChatThread, info.ecs_id)


async def test_an_import_of_blobs_into_each_backend_is_exact_and_only_once(storage: EntityStorage, other: EntityStorage) -> None:
    thread = await a_scanned_history(other)
    lines = await exported(other)
    assert (await storage.import_lines(lines)).blobs == 4
    assert await exported(storage) == lines
    again = await storage.import_lines(lines)
    assert (again.commits, again.versions, again.blobs, again.tags) == (0, 0, 0, 0)
    await assert_same_versions(other, storage, thread.lineage_id, ChatThread)
    assert await contents_at(storage, ChatThread, thread.ecs_id) == await contents_at(other, ChatThread, thread.ecs_id)
    copy = await storage.get(ChatThread, thread.ecs_id)
    copy.add_user_message("Go on.")
    assert len((await storage.submit(copy)).versions) == 2


async def test_an_import_knows_the_bytes_that_are_there_already(storage: EntityStorage, other: EntityStorage) -> None:
    one, two = Scan(name="one", content=Blob.of(b"same")), Scan(name="two", content=Blob.of(b"same"), more={"x": Blob.of(b"new")})
    await storage.register(one)
    await other.register(two)
    lines = await exported(other)
    assert len(lines_of(lines, "blob")) == 2
    assert (await storage.import_lines(lines)).blobs == 1
    assert await contents_at(storage, Scan, two.ecs_id) == await contents_at(other, Scan, two.ecs_id)


async def test_an_export_of_one_lineage_holds_the_bytes_that_it_needs(storage: EntityStorage, other: EntityStorage) -> None:
    one, two = Scan(content=Blob.of(b"one")), Scan(content=Blob.of(b"two"))
    await storage.register(one, two)
    lines = await exported(storage, two.lineage_id)
    assert [base64.b64decode(each["data"]) for each in lines_of(lines, "blob")] == [b"two"]
    await other.import_lines(lines)
    assert await contents_at(other, Scan, two.ecs_id) == {Blob.of(b"two").sha256: b"two"}


async def test_bytes_that_are_gone_here_come_back_with_the_next_version_that_holds_them(sqlite_url: str, other: EntityStorage) -> None:
    first, second = Scan(content=Blob.of(b"shared")), Scan(content=Blob.of(b"shared"))
    await other.register(first)
    async with open_storage(sqlite_url) as storage:
        await storage.import_lines(await exported(other))
        await change(sqlite_url, "DELETE FROM entity_blob", "DELETE FROM blob")
        await other.register(second)
        done = await storage.import_lines(await exported(other))
        assert (done.versions, done.present) == (1, 1)
        assert await contents_at(storage, Scan, second.ecs_id) == {Blob.of(b"shared").sha256: b"shared"}


def _with_blob(change: Any) -> Any:
    """Lines with their first blob line changed; `None` leaves it out, a list puts several in its place."""

    def changed(lines: list[str]) -> list[str]:
        found = change(json.loads(lines[1]))
        return [lines[0], *(json.dumps(each) for each in found), *lines[2:]]

    return changed


BLOB_BREAKS: dict[str, tuple[Any, int, str]] = {
    "other bytes": (_with_blob(lambda blob: [{**blob, "data": base64.b64encode(b"else").decode()}]), 2, "is that of"),
    "another size": (_with_blob(lambda blob: [{**blob, "size": blob["size"] + 1}]), 2, "is that of"),
    "no base64": (_with_blob(lambda blob: [{**blob, "data": "*"}]), 2, "is no base64"),
    "an unknown part": (_with_blob(lambda blob: [{**blob, "more": 1}]), 2, "more"),
    "twice": (_with_blob(lambda blob: [blob, blob]), 3, "is there twice"),
    "not there": (_with_blob(lambda _: []), 2, "which is on no line before"),
    "one too many": (
        _with_blob(lambda blob: [blob, {"blob": Blob.of(b"x").sha256, "size": 1, "data": "eA=="}]), 4, "no version of it holds blob",
    ),
    "a commit too few": (lambda lines: lines[:2], 2, "the export ends before the commit that holds blob"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BLOB_BREAKS)
async def test_bytes_that_are_wrong_missing_or_left_over_are_refused(other: EntityStorage, tmp_path: Path, fault: str) -> None:
    await a_scanned_history(other)
    change, line, reason = BLOB_BREAKS[fault]
    lines = change(await exported(other))
    file = tmp_path / "bad.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    async with open_storage(with_tables(tmp_path / "target.db")) as target:
        for attempt in (target.import_from(file), target.import_lines(lines)):
            with pytest.raises(InvalidExport, match=reason) as raised:
                await attempt
            assert raised.value.line == line
        assert (await target.status()).versions == 0
        assert (await target.size()).tables["blob"].rows == 0


async def test_large_contents_are_carried_with_few_of_them_on_their_way_at_once(
    storage: EntityStorage, other: EntityStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minference.storage.importing.PENDING_BYTES", 1_000_000)
    scans = [Scan(name=str(number), content=Blob.of(os.urandom(700_000))) for number in range(8)]
    for scan in scans:
        await other.register(scan)
    lines = await exported(other)
    assert (await storage.import_lines(lines)).blobs == 8
    for scan in scans:
        assert await contents_at(storage, Scan, scan.ecs_id) == await contents_at(other, Scan, scan.ecs_id)
    assert await exported(storage) == lines


async def test_two_imports_of_blobs_at_once_bring_everything_once(sqlite_url: str, other: EntityStorage) -> None:
    for _ in range(5):
        await a_scanned_history(other)
    lines = await exported(other)
    async with open_storage(sqlite_url) as one, open_storage(sqlite_url) as two:
        both = await asyncio.gather(one.import_lines(lines), two.import_lines(lines))
        assert sum(each.versions for each in both) == (await other.status()).versions
        assert await exported(one) == lines
        assert await one.check() == []


@settings(max_examples=examples(10, 100), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=2), st.sampled_from(SCAN_EDITS)), max_size=15))
def test_any_history_of_blobs_and_tags_goes_through_every_kind_of_storage(edits: list[tuple[int, bytes, str]]) -> None:
    asyncio.run(_scans_there_and_back(edits))


async def _scans_there_and_back(edits: list[tuple[int, bytes, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_storage("memory:") as first,
            open_storage(with_tables(f"{folder}/x.db")) as second,
            open_storage("memory:") as third,
        ):
            scans = [Scan(name=str(number)) for number in range(3)]
            await first.register(*scans)
            for which, content, kind in edits:
                scan = scans[which]
                match kind:
                    case "content":
                        scan.content = Blob.of(content)
                    case "more":
                        scan.more[str(len(scan.more))] = Blob.of(content)
                    case "drop":
                        scan.content, scan.more = None, {}
                    case "next":
                        scan.next = scans[(which + 1) % 3]
                    case _:
                        await first.tag(f"tag-{content.hex()}", scan, move=True)
                await first.register(*scans)
            lines = await exported(first)
            await second.import_lines(lines)
            assert await exported(second) == lines
            assert await second.check() == []
            await third.import_lines(await exported(second, scans[0].lineage_id))
            await third.import_lines(lines)
            assert await exported(third) == lines


async def test_tags_go_along_with_the_time_at_which_they_were_set(storage: EntityStorage, other: EntityStorage) -> None:
    thread = await a_history(storage)
    versions = await storage.lineage(thread.lineage_id)
    for name, version in (("main", versions[-2]), ("the ünd", versions[-1]), ("begin", versions[0])):
        await storage.tag(name, version.ecs_id)
    await storage.tag("main", versions[-1].ecs_id, move=True)
    lines = await exported(storage)
    assert [(each["tag"], each["version"]) for each in lines_of(lines, "tag")] == [
        ("begin", str(versions[0].ecs_id)), ("main", str(versions[-1].ecs_id)), ("the ünd", str(versions[-1].ecs_id)),
    ]  # fmt: skip
    done = await other.import_lines(lines)
    assert (done.tags, done.kept_tags) == (3, ())
    assert await exported(other) == lines
    assert (await other.tagged(ChatThread, thread.lineage_id, "begin")).ecs_id == versions[0].ecs_id
    assert (await other.import_lines(lines)).tags == 0


async def test_an_import_moves_no_tag_and_says_which_it_left_where_it_was(storage: EntityStorage, other: EntityStorage) -> None:
    scan = Scan(name="one")
    await other.register(scan)
    first = scan.ecs_id
    early = await exported(other)
    scan.name = "two"
    await other.register(scan)
    await other.tag("main", scan)
    await other.tag("free", first)
    await storage.import_lines(early)
    await storage.tag("main", first)
    done = await storage.import_lines(await exported(other))
    kept = KeptTag(scan.lineage_id, "main", here=first, there=scan.ecs_id)
    assert done == Imported(commits=1, versions=1, present=1, tags=1, kept_tags=(kept,))
    assert {name: info.ecs_id for name, info in (await storage.tags(scan.lineage_id)).items()} == {"free": first, "main": first}
    await storage.tag(kept.name, kept.there, move=True)
    assert (await storage.import_lines(await exported(other))).kept_tags == ()


async def test_only_tags_of_exported_lineages_are_exported(storage: EntityStorage) -> None:
    one, two = Scan(), Scan()
    await storage.register(one, two)
    await storage.tag("one", one)
    await storage.tag("two", two)
    assert [each["tag"] for each in lines_of(await exported(storage, two.lineage_id), "tag")] == ["two"]


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ({"tag": "", "version": None, "at": "2020-01-01T00:00:00Z"}, "is no name of a version"),
        ({"tag": "a", "version": str(uuid4()), "at": "2020-01-01T00:00:00Z"}, "tag 'a' names version .*, which is on no line before"),
        ({"tag": "a", "version": None, "at": "2020-01-01T00:00:00"}, "at: "),
        ({"tag": "a", "version": None}, "at: "),
    ],
)
async def test_a_bad_tag_is_refused(storage: EntityStorage, tag: dict[str, Any], reason: str) -> None:
    scan = Scan()
    await storage.register(scan)
    line = json.dumps({**tag, "version": tag["version"] or str(scan.ecs_id)})
    with pytest.raises(InvalidExport, match=reason):
        await storage.import_lines([*(await exported(storage))[:-1], line])


async def test_a_file_counts_its_commits_whatever_else_is_in_it(storage: EntityStorage, tmp_path: Path) -> None:
    thread = await a_scanned_history(storage)
    await storage.tag("main", thread)
    assert await storage.export_to(tmp_path / "all.jsonl") == 4
    async with open_storage(with_tables(tmp_path / "target.db")) as target:
        done = await target.import_from(tmp_path / "all.jsonl")
        assert (done.commits, done.blobs, done.tags) == (4, 4, 1)
