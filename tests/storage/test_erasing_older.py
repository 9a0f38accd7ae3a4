"""Erasing reaches versions in shapes and tables that their classes have left."""

from __future__ import annotations

from uuid import UUID

import pytest
from pydantic import Field, JsonValue

from minference.ecs.entity import Entity
from minference.ecs.opaque import OpaqueEntity
from minference.errors import UnknownKind
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from tests.storage.converted import Paper
from tests.storage.erasures import files_with, tables_with
from tests.storage.programs import run_program, undefined
from tests.storage.tables import broken_rules
from tests.storage.test_later_tables import CLASSES, READ, TABLES, WRITE
from tests.support.exports import export_of

SECRET = "Wintermute"
KIND = "erasing_then_and_now"


class Part(Entity, kind="erasing_part"):
    text: str = ""


async def whole(storage: EntityStorage) -> list[str]:
    """What is wrong with a database; in memory there is nothing to check."""
    return [] if storage.url == "memory:" else [finding.text for finding in await storage.check()]


async def test_a_version_in_an_older_shape_loses_its_content(storage: EntityStorage, storage_url: str) -> None:
    class Then(Entity, kind=KIND):
        title: str
        gone: str = ""
        colours: dict[str, JsonValue] = Field(default_factory=dict)
        best: Part | None = None
        parts: list[Part] = Field(default_factory=list)
        named: dict[str, Part] = Field(default_factory=dict)

    part, shared = Part(text=SECRET), Part(text="kept")
    old = Then(title=SECRET, gone=SECRET, colours={"x": SECRET}, best=part, parts=[part, shared], named={SECRET: part})
    await storage.register(old, Then(title="other", parts=[shared]))
    first = old.ecs_id

    class Now(Entity, kind=KIND, renamed={"colours": "colors", "best": "first", "parts": "pieces"}, removed=["gone"]):
        name: str = ""
        title: str
        colors: dict[str, JsonValue] = Field(default_factory=lambda: dict[str, JsonValue](default=1))
        first: Part | None = None
        pieces: list[Part] = Field(default_factory=list)
        named: dict[str, Part] = Field(default_factory=dict)

    now = await storage.get(Now, first)
    now.name = SECRET
    await storage.register(now)
    done = await storage.erase(now, reason="asked to")
    assert (set(done.scope.lineages), done.scope.kept) == ({now.lineage_id, part.lineage_id}, (shared.lineage_id,))
    for ecs_id in (first, now.ecs_id):
        left = await storage.get(Now, ecs_id)
        assert (left.erased, left.name, left.title, left.colors) == (True, "", "", {})
        assert left.first is left.pieces[0] is left.named["0"]
        assert (left.first is not None and left.first.erased, left.pieces[1].text) == (True, "kept")
    assert (await storage.get_stored(first)).values == {"name": "", "title": "", "colors": {}}
    assert SECRET not in "\n".join([line async for line in storage.export_lines()])
    assert await whole(storage) == []
    if storage_url != "memory:":
        assert await tables_with(storage_url, SECRET) == []


async def test_marks_of_today_count_for_fields_of_then(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        about: UUID
        kept: Part | None = None

    part, kept = Part(text=SECRET), Part(text="kept")
    note = Then(about=part.lineage_id, kept=kept)
    await storage.register(part, note)

    from typing import Annotated

    from minference.ecs.plan import OnErase

    class Now(Entity, kind=KIND, renamed={"about": "subject", "kept": "spared"}):
        subject: Annotated[UUID, OnErase.follows]
        spared: Annotated[Part | None, OnErase.stays] = None

    done = await storage.erase(part, reason="asked to")
    assert set(done.scope.lineages) == {part.lineage_id, note.lineage_id}
    left = await storage.get(Now, note.ecs_id)
    assert (left.erased, left.subject, left.spared and left.spared.text) == (True, part.lineage_id, "kept")
    assert await whole(storage) == []


async def test_a_kind_that_the_program_does_not_define_cannot_be_erased(storage: EntityStorage) -> None:
    class Forgotten(Entity, kind="erasing_forgotten"):
        text: str

    class Holder(Entity, kind="erasing_holder"):
        item: Forgotten | None = None

    holder = Holder(item=Forgotten(text=SECRET))
    await storage.register(holder)
    assert holder.item is not None
    with undefined(Forgotten.__kind__):
        for what in (holder.item.lineage_id, holder.lineage_id):
            with pytest.raises(UnknownKind, match="erasing_forgotten"):
                await storage.erase(what, reason="asked to")
        assert await storage.erasures() == []
    assert (await storage.get(Forgotten, holder.item.ecs_id)).text == SECRET


async def test_new_versions_of_an_erased_lineage_of_an_unknown_kind_come_without_content(storage: EntityStorage) -> None:
    class Forgotten(Entity, kind="erasing_blank"):
        text: str
        number: float = 1.5
        flag: bool = True
        items: list[JsonValue] = Field(default_factory=lambda: list[JsonValue]([1]))
        data: dict[str, JsonValue] = Field(default_factory=lambda: dict[str, JsonValue](a=1))
        nothing: str | None = None
        named: dict[str, Part] = Field(default_factory=dict)

    thing = Forgotten(text=SECRET, named={SECRET: Part()})
    async with open_storage("memory:") as elsewhere:
        await elsewhere.register(thing)
        lines = [line async for line in elsewhere.export_lines()]
        await elsewhere.erase(thing, reason="asked to")
        tombstones = [line async for line in elsewhere.export_lines() if line.startswith('{"erased"')]
    with undefined(Forgotten.__kind__):
        done = await storage.import_lines(export_of([*tombstones, *lines[1:-1]]))
        left = await storage.get(OpaqueEntity, thing.ecs_id)
        assert (done.versions, done.emptied, left.erased, left.collections) == (2, 2, True, {"named": ["0"]})
        assert left.data == {"text": "", "number": 0, "flag": False, "items": [], "data": {}, "nothing": None}


async def test_a_version_from_before_its_class_had_a_table_is_erased_where_it_is(sql_url: str) -> None:
    source = WRITE.replace('"l"', f'"{SECRET}"').replace('"long"', f'"{SECRET}"').replace('"x"', f'"{SECRET}"')
    ids = await run_program(CLASSES + source.replace('"b": bob', f'"{SECRET}": bob'), sql_url)
    main = """
async def main(storage, *ids):
    versions = [await storage.get(Note, UUID(each)) for each in ids]
    for each in versions:
        await storage.erase(each, reason="asked to")
    left = [await storage.get(Note, UUID(each)) for each in ids]
    assert all(each.erased for each in left)
    people = [[each.name for each in note.readers] for note in left]
    wrong = [finding.text for finding in await storage.check()]
    moved = await storage.move_rows(Person, Note)
    again = [await storage.get(Note, UUID(each)) for each in ids]
    return [wrong, [[note.title, note.data, list(note.named)] for note in left], people, moved > 0,
            [note.title for note in again], [finding.text for finding in await storage.check()]]
"""
    wrong, shown, people, moved, again, after = await run_program(CLASSES + TABLES + READ + main, sql_url, *ids)
    assert (wrong, shown, moved, again, after) == ([], [["", {}, ["0"]], ["", {}, []]], True, ["", ""], [])
    assert people == [["", "", ""], []]
    assert await tables_with(sql_url, SECRET) == []
    assert await broken_rules(sql_url) == []


TYPED = """
class Note(Entity, kind="note"):
    title: str
    body: str = ""

class NoteSQL(EntityTable, entity=Note):
    __tablename__ = "note"
    title: Mapped[str] = mapped_column(ExactText)
    body: Mapped[str] = mapped_column(ExactText)
"""
TYPED_LATER = """
class Note(Entity, kind="note", renamed={"body": "text"}):
    title: str
    text: str = ""
    stars: int = 3

class NoteSQL(EntityTable, entity=Note):
    __tablename__ = "note"
    title: Mapped[str] = mapped_column(ExactText)
    text: Mapped[str] = mapped_column(ExactText, server_default="")
    stars: Mapped[int] = mapped_column(BigInteger, server_default="3")
    extra: Mapped[Any | None] = mapped_column(Json)
"""


async def test_columns_that_no_class_has_any_more_are_emptied_too(sql_url: str) -> None:
    write = f"""
async def main(storage):
    note = Note(title="{SECRET}", body="{SECRET}")
    await storage.register(note, Note(title="kept", body="kept"))
    await storage.search(Note, "{SECRET}", field="title")
    return str(note.ecs_id)
"""
    ecs_id = await run_program(TYPED + write, sql_url)
    assert await tables_with(sql_url, SECRET)
    erase = f"""
async def main(storage, ecs_id):
    note = await storage.get(Note, UUID(ecs_id))
    note.stars = 4
    await storage.register(note)
    await storage.erase(note, reason="asked to")
    left = [await storage.get(Note, version.ecs_id) for version in await storage.lineage(note.lineage_id)]
    found = [len(await storage.search(Note, word, field="title")) for word in ("{SECRET}", "kept")]
    return [[[each.title, each.text, each.stars] for each in left], found, [finding.text for finding in await storage.check()]]
"""
    answer = await run_program(TYPED_LATER + erase, sql_url, ecs_id)
    assert answer == [[["", "", 3], ["", "", 3]], [0, 1], []]
    assert await tables_with(sql_url, SECRET) == []
    assert await broken_rules(sql_url) == []


async def test_a_table_that_converts_values_itself_is_given_what_is_left(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        paper = Paper(title=SECRET, body=SECRET, notes={"a": SECRET}, seal=SECRET.encode())
        await storage.register(paper)
        await storage.erase(paper, reason="asked to")
        left = await storage.get(Paper, paper.ecs_id)
        assert (left.erased, left.title, left.body, left.notes, left.printed, left.seal) == (True, "", "", {}, None, b"")
        assert await storage.check() == []
    assert await tables_with(sql_url, SECRET) == []
    if sql_url.startswith("sqlite"):
        assert files_with(sql_url, SECRET) == []
