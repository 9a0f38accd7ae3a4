"""Looking without loading at versions from before: the same as whole versions say, whatever shape, kind and table they are in."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from minference.ecs.entity import Entity, kind_to_class
from minference.ecs.opaque import OpaqueEntity
from minference.errors import DifferentClasses, NoSuchCollection, WrongEntityType
from minference.storage.base import EntityStorage
from tests.storage.converted import Paper
from tests.storage.plainly import disagreements
from tests.storage.programs import run_program, undefined


class Page(Entity, kind="glanced_page"):
    text: str = ""


class Shelf(Entity, kind="glanced_shelf"):
    """Holds what changes, and stays as it is."""

    best: Entity | None = None
    items: list[Entity] = Field(default_factory=list)
    named: dict[str, Entity] = Field(default_factory=dict)


def _then() -> tuple[type[Any], str]:
    class Then(Entity, kind="glanced_older"):
        title: str
        gone: str = "gone"
        count: int = 1
        author: Page | None = None
        sheets: list[Page] = Field(default_factory=list)
        keyed: dict[str, Page] = Field(default_factory=dict)
        dropped: list[Page] = Field(default_factory=list)

    return Then, "glanced_older"


def _now() -> type[Any]:
    class Now(
        Entity,
        kind="glanced_older",
        version=2,
        renamed={"title": "subject", "author": "writer", "sheets": "pages", "keyed": "by_name"},
        removed=("gone", "dropped"),
    ):
        subject: str
        count: int = 1
        stars: int = 3
        tags: list[str] = Field(default_factory=lambda: ["new"])
        writer: Page | None = None
        pages: list[Page] = Field(default_factory=list)
        by_name: dict[str, Page] = Field(default_factory=dict)
        later: list[Page] = Field(default_factory=list)

    @Now.upgrade(from_version=1)
    def _count_in_tens(data: dict[str, Any]) -> dict[str, Any]:
        data["count"] *= 10
        return data

    return Now


def _renamed_kind() -> type[Any]:
    class Memo(Entity, kind="glanced_memo", aliases=("glanced_older",), renamed={"title": "subject", "sheets": "pages"}):
        subject: str
        gone: str = "gone"
        count: int = 1
        author: Page | None = None
        pages: list[Page] = Field(default_factory=list)
        keyed: dict[str, Page] = Field(default_factory=dict)
        dropped: list[Page] = Field(default_factory=list)

    return Memo


async def _write_older(storage: EntityStorage) -> tuple[Any, Shelf]:
    """A lineage of three versions, another that holds nothing, and what holds them."""
    then, _ = _then()
    pages = [Page(text=text) for text in "abcd"]
    note = await storage.register(then(title="t", author=pages[0], sheets=pages[:3], keyed={"x": pages[1]}), author="ann")
    note.sheets[1].text = "B"
    note.sheets.append(pages[3])
    note.keyed["y"] = pages[3]
    await storage.register(note, author="bob")
    del note.sheets[0]
    note.title, note.author = "T", Page(text="another")
    await storage.register(note, author="cid")
    empty = await storage.register(then(title="empty", count=10))
    shelf = await storage.register(Shelf(best=note, items=[note, empty], named={"n": note}))
    return note, shelf


async def _go_on(storage: EntityStorage, cls: type[Any], old: Any) -> Any:
    """The next version, in the present shape of the class."""
    note = await storage.get(cls, old.ecs_id)
    note.pages.insert(1, Page(text="new"))
    note.pages[0].text = "edited"
    note.subject = "now"
    return await storage.register(note, author="dan")


@pytest.mark.parametrize("present", [_now, _renamed_kind])
async def test_older_shapes_and_former_kinds(storage: EntityStorage, present: Any) -> None:
    old, shelf = await _write_older(storage)
    cls = present()
    assert await disagreements(storage, cls) == []
    assert await storage.count(cls) == 2
    note = await _go_on(storage, cls, old)
    held = await storage.get(Shelf, shelf.ecs_id)
    held.best, held.items[0], held.named = note, note, {"m": note, "n": held.items[1]}
    await storage.register(held)
    assert await disagreements(storage, cls) == []
    assert await disagreements(storage, Shelf) == []
    assert [each.ecs_id for each in await storage.find_by(cls, subject="now")] == [note.ecs_id]
    assert (await storage.find_by(cls, subject="T"), len(await storage.find_by(cls, subject="empty"))) == ([], 1)
    told = await storage.diff(old.ecs_id, note.ecs_id)
    assert told.fields.keys() == {"subject", "pages", "by_name" if present is _now else "keyed"}


async def test_a_value_that_an_upgrade_makes_is_found_and_the_stored_one_is_not(storage: EntityStorage) -> None:
    await _write_older(storage)
    cls = _now()
    assert len(await storage.find_by(cls, count=100)) == 1
    assert len(await storage.find_by(cls, count=10)) == 1
    assert await storage.find_by(cls, count=1) == []
    assert len(await storage.find_by(cls, stars=3, tags=["new"])) == 2


async def test_kinds_that_nobody_knows(storage: EntityStorage) -> None:
    old, shelf = await _write_older(storage)
    first = shelf.ecs_id
    old.sheets.append(Page(text="more"))
    old.title = "U"
    shelf.items.reverse()
    shelf.named = {"o": shelf.items[0]}
    await storage.register(shelf)
    with undefined("glanced_older"):
        assert await disagreements(storage, Shelf) == []
        assert await disagreements(storage, OpaqueEntity) == []
        assert (await storage.count(OpaqueEntity), len(await storage.newest(OpaqueEntity, 9))) == (2, 2)
        assert len(await storage.find_by(OpaqueEntity, kind="glanced_older")) == 2
        told = await storage.diff(first, shelf.ecs_id)
        assert told.fields.keys() == {"best", "items", "named"}
        [part] = await storage.peek(Entity, [old.ecs_id])
        assert isinstance(part, OpaqueEntity)
        assert [len(part.members[name]) for name in ("keyed", "sheets")] == [2, 4]
        assert [line.added.author for line in await storage.blame(old.ecs_id, "sheets", window=slice(-2, None))] == ["bob", None]
        with pytest.raises(NoSuchCollection, match=r"glanced_older has no collection of entities called 'pages': it has '"):
            await storage.blame(old.ecs_id, "pages")
        with pytest.raises(WrongEntityType, match="glanced_older"):
            await storage.peek(Shelf, [old.ecs_id])
        with pytest.raises(DifferentClasses):
            await storage.diff(old.ecs_id, shelf.ecs_id)


async def test_tables_that_convert_what_they_hold(storage: EntityStorage) -> None:
    paper = Paper(title="one", body="long", notes={"a": [1]}, seal=b"\0")
    other = Paper(title="two", body="short")
    shelf = await storage.register(Shelf(best=paper, items=[paper, other], named={"p": other}))
    paper.body, paper.notes["b"] = "longer", None
    shelf.items.append(Paper(title="three", body="long"))
    await storage.register(shelf)
    assert await disagreements(storage, Shelf) == []
    assert await disagreements(storage, Paper) == []
    assert [each.ecs_id for each in await storage.find_by(Paper, body="longer")] == [paper.ecs_id]
    assert kind_to_class("test_converted_paper") is Paper


CLASSES = """
class Page(Entity, kind="page"):
    text: str = ""

class Note(Entity, kind="note"):
    title: str
    count: int = 7
    pages: list[Page] = Field(default_factory=list)
"""

TABLE = """
class NoteSQL(EntityTable, entity=Note):
    __tablename__ = "note"
    title: Mapped[str] = mapped_column(ExactText)
    count: Mapped[int] = mapped_column(BigInteger)
    pages_seq: Mapped[int | None] = mapped_column(Id)
    pages_len: Mapped[int]
"""

WRITE = """
async def main(storage):
    note = Note(title="a", pages=[Page(text="1"), Page(text="2")])
    other = Note(title="b", count=8)
    await storage.register(note, other)
    note.pages.append(Page(text="3"))
    await storage.register(note)
    return [str(note.ecs_id), str(other.ecs_id)]
"""

COMPARE = """
from tests.storage.plainly import disagreements

async def main(storage, old, other):
    said = [await disagreements(storage, Note)]
    note = await storage.get(Note, UUID(old))
    setattr(note, NAME, "c")
    note.pages[0].text = "edited"
    await storage.register(note)
    said.append(await disagreements(storage, Note))
    said.append([str(each.ecs_id) == other for each in await storage.find_by(Note, **{NAME: "b"})])
    said.append([each.ecs_id == note.ecs_id for each in await storage.find_by(Note, **{NAME: "c"})])
    said.append(await storage.find_by(Note, **{NAME: "a"}))
    said.append(await storage.find_by(Note, **{NAME: "d"}))
    return said
"""

AGREED: list[Any] = [[], [], [True], [True], [], []]


async def test_a_table_that_a_class_was_given_later(sql_url: str) -> None:
    ids = await run_program(CLASSES + WRITE, sql_url)
    program = CLASSES + TABLE + COMPARE
    assert await run_program(f"NAME = 'title'\n{program}", sql_url, *ids) == AGREED
    move = f"NAME = 'title'\n{program}".replace("    said = [", "    await storage.move_rows(Note)\n    said = [")
    again = await run_program(CLASSES + WRITE, sql_url)
    answer = await run_program(move.replace("[str(each.ecs_id) == other", f"[str(each.ecs_id) in (other, {ids[1]!r})"), sql_url, *again)
    assert [answer[0], answer[1], *answer[4:]] == [[], [], [], []]
    assert answer[2] == [True, True]


async def test_columns_that_were_renamed_or_added_with_their_fields(sql_url: str) -> None:
    ids = await run_program(CLASSES + TABLE + WRITE, sql_url)
    later = (CLASSES + TABLE).replace('kind="note"', 'kind="note", renamed={"title": "subject"}').replace("title: ", "subject: ")
    later = later.replace("    count: int = 7\n", "    count: int = 7\n    stars: int | None = 5\n")
    later = later.replace("    pages_seq:", "    stars: Mapped[int | None] = mapped_column(BigInteger)\n    pages_seq:")
    later = later.replace(
        "subject: Mapped[str] = mapped_column(ExactText)", 'subject: Mapped[str] = mapped_column(ExactText, server_default="")'
    )
    assert await run_program(f"NAME = 'subject'\n{later}{COMPARE}", sql_url, *ids) == AGREED
    found = "async def main(storage):\n    return [len(await storage.find_by(Note, stars=stars)) for stars in (5, None)]\n"
    assert await run_program(later + found, sql_url) == [2, 0]
