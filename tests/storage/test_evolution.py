"""A class changes, and what was stored before reads as it would have been written today. Old versions are never touched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from pydantic import Field, JsonValue
from sqlalchemy import Engine, event

from minference.ecs.entity import Entity
from minference.errors import InvalidEvolution, NewerSchema, UnknownStoredField, UnreadableVersion
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from tests.storage.tables import rows_of

KIND = "evolving_note"
"""`Then` is what the program stored under it, `Now` what it is a year later."""


class Page(Entity, kind="evolving_page"):
    text: str = ""


async def _stored(storage: EntityStorage, entity: Entity) -> UUID:
    return (await storage.register(entity)).ecs_id


# New fields


async def test_a_field_that_is_new_takes_its_default(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        title: str

    old = await _stored(storage, Then(title="a"))

    class Now(Entity, kind=KIND):
        title: str
        stars: int = 3
        tags: list[str] = Field(default_factory=lambda: ["new"])
        about: Page | None = None
        pages: list[Page] = Field(default_factory=list)
        named: dict[str, Page] = Field(default_factory=dict)

    note = await storage.get(Now, old)
    assert (note.title, note.stars, note.tags, note.about, note.pages, note.named) == ("a", 3, ["new"], None, [], {})
    note.pages.append(Page(text="p"))
    note.named["x"] = note.pages[0]
    await storage.register(note)
    again = await storage.get(Now, note.ecs_id)
    assert (again.parent_id, again.stars, again.tags, again.pages[0].text, again.named["x"] is again.pages[0]) == (
        old,
        3,
        ["new"],
        "p",
        True,
    )


async def test_none_that_was_stored_is_not_a_field_that_was_not_there(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        title: str | None = None

    old = await _stored(storage, Then())

    class Now(Entity, kind=KIND):
        title: str | None = "untitled"
        subtitle: str | None = "none"

    note = await storage.get(Now, old)
    assert (note.title, note.subtitle) == (None, "none")


@pytest.mark.parametrize("sort", ["value", "reference", "list"])
async def test_a_new_field_that_is_required_is_named_with_the_version(storage: EntityStorage, sort: str) -> None:
    class Then(Entity, kind=KIND):
        title: str

    old = await _stored(storage, Then(title="a"))
    annotation: Any = {"value": int, "reference": Page, "list": list[Page]}[sort]

    class Now(Entity, kind=KIND):
        title: str
        needed: annotation

    with pytest.raises(UnreadableVersion, match=r"field 'needed': it is required, and was not there when this was written") as caught:
        await storage.get(Now, old)
    assert (caught.value.kind, caught.value.ecs_id, caught.value.field) == (KIND, old, "needed")


async def test_a_new_field_cannot_have_an_entity_for_a_default_in_versions_that_never_had_it(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        title: str

    old = await _stored(storage, Then(title="a"))

    class Now(Entity, kind=KIND):
        title: str
        about: Page = Field(default_factory=Page)

    with pytest.raises(UnreadableVersion, match="field 'about': its default is an entity"):
        await storage.get(Now, old)
    fresh = await storage.get(Now, await _stored(storage, Now(title="b")))
    assert fresh.about.text == ""


# Renamed fields


async def test_renamed_fields_of_every_sort_are_found_under_their_new_names(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        colour: str
        settings: dict[str, JsonValue]
        writer: Page | None
        sheets: list[Page]
        covers: tuple[Page, ...]
        by_name: dict[str, Page]

    one, two = Page(text="1"), Page(text="2")
    then = Then(colour="red", settings={"a": [1]}, writer=one, sheets=[one, two, one], covers=(two,), by_name={"b": two, "a": one})
    old = await _stored(storage, then)

    class Now(
        Entity,
        kind=KIND,
        renamed={"colour": "color", "settings": "options", "writer": "author", "sheets": "pages", "covers": "jackets", "by_name": "named"},
    ):
        color: str
        options: dict[str, JsonValue]
        author: Page | None
        pages: list[Page]
        jackets: tuple[Page, ...]
        named: dict[str, Page]

    note = await storage.get(Now, old)
    assert (note.color, note.options) == ("red", {"a": [1]})
    assert note.author is not None
    assert [page.text for page in (note.author, *note.pages, *note.jackets)] == ["1", "1", "2", "1", "2"]
    assert {name: page.text for name, page in note.named.items()} == {"b": "2", "a": "1"}
    assert list(note.named) == ["b", "a"]

    assert (await storage.submit(note)).info is None
    note.pages.append(Page(text="3"))
    assert len((await storage.submit(note)).versions) == 2
    again = await storage.get(Now, note.ecs_id)
    assert [page.text for page in again.pages] == ["1", "2", "1", "3"]
    assert [page.text for page in (await storage.get(Now, old)).pages] == ["1", "2", "1"]


async def test_a_field_that_was_renamed_twice_is_found_from_every_shape(storage: EntityStorage) -> None:
    class First(Entity, kind=KIND):
        hue: str
        pages: list[Page]

    first = await _stored(storage, First(hue="red", pages=[Page(text="p")]))

    class Second(Entity, kind=KIND, renamed={"hue": "colour", "pages": "sheets"}):
        colour: str
        sheets: list[Page]

    second = await storage.get(Second, first)
    second.colour = "blue"
    await storage.register(second)

    class Now(Entity, kind=KIND, renamed={"hue": "colour", "colour": "color", "pages": "sheets", "sheets": "leaves"}):
        color: str
        leaves: list[Page]

    notes = [await storage.get(Now, ecs_id) for ecs_id in (first, second.ecs_id)]
    assert [(note.color, [page.text for page in note.leaves]) for note in notes] == [("red", ["p"]), ("blue", ["p"])]


async def test_subclasses_inherit_what_their_base_class_renamed_and_removed(storage: EntityStorage) -> None:
    class ThenBase(Entity, kind="evolving_base"):
        colour: str
        legacy: int = 0

    class Then(ThenBase, kind=KIND):
        own: str

    old = await _stored(storage, Then(colour="red", own="o"))

    class NowBase(Entity, kind="evolving_base", renamed={"colour": "color"}, removed=("legacy",)):
        color: str

    class Now(NowBase, kind=KIND, renamed={"own": "mine"}):
        mine: str

    note = await storage.get(NowBase, old)
    assert isinstance(note, Now)
    assert (note.color, note.mine) == ("red", "o")


async def test_a_field_that_is_stored_under_both_names_is_refused(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        colour: str = "old"
        color: str = "new"

    old = await _stored(storage, Then())

    class Now(Entity, kind=KIND, renamed={"colour": "color"}):
        color: str

    with pytest.raises(UnreadableVersion, match="is stored under its old name and the new one"):
        await storage.get(Now, old)

    class Decided(Entity, kind=KIND, removed=("colour",)):
        color: str

    assert (await storage.get(Decided, old)).color == "new"


# Removed fields


async def test_a_stored_field_of_which_the_class_says_nothing_is_an_error(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        title: str = "a"
        legacy: int = 7

    old = await _stored(storage, Then())

    class Now(Entity, kind=KIND):
        title: str

    with pytest.raises(UnknownStoredField, match=r"renamed=\{'legacy': ...\}\), removed=\('legacy',\), or an upgrade hook") as caught:
        await storage.get(Now, old)
    assert (caught.value.kind, caught.value.ecs_id, caught.value.fields) == (KIND, old, ("legacy",))


@pytest.mark.parametrize("holds", [True, False], ids=["holding something", "empty"])
async def test_a_stored_reference_or_collection_of_which_the_class_says_nothing_is_an_error(storage: EntityStorage, holds: bool) -> None:
    class Then(Entity, kind=KIND):
        title: str = "a"
        about: Page | None = None
        pages: list[Page] = Field(default_factory=list)

    old = await _stored(storage, Then(about=Page(), pages=[Page()]) if holds else Then())

    class Now(Entity, kind=KIND):
        title: str

    with pytest.raises(UnknownStoredField) as caught:
        await storage.get(Now, old)
    assert caught.value.fields == ("about", "pages")


async def test_what_was_removed_is_passed_over_and_stays_stored(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        title: str = "a"
        legacy: int = 7
        about: Page | None = None
        pages: list[Page] = Field(default_factory=list)

    page = Page()
    old = await _stored(storage, Then(about=page, pages=[page]))

    class Now(Entity, kind=KIND, removed=("legacy", "about", "pages")):
        title: str

    note = await storage.get(Now, old)
    assert note.get_sub_entities() == []
    note.title = "b"
    await storage.register(note)
    assert (await storage.get_stored(note.ecs_id)).values == {"title": "b"}
    stored = await storage.get_stored(old)
    assert (stored.values["legacy"], stored.references, stored.members) == (7, {"about": page.ecs_id}, {"pages": (page.ecs_id,)})


async def test_a_field_that_holds_something_else_today_is_an_error(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        author: Page | None = None

    old = await _stored(storage, Then(author=Page()))

    class Now(Entity, kind=KIND):
        author: str = ""

    with pytest.raises(UnknownStoredField, match="'author', which the class has not, or holds otherwise"):
        await storage.get(Now, old)


async def test_a_list_that_becomes_keyed_is_an_error_unless_it_is_empty(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        pages: list[Page] = Field(default_factory=list)

    full, empty = await _stored(storage, Then(pages=[Page()])), await _stored(storage, Then())

    class Now(Entity, kind=KIND):
        pages: dict[str, Page] = Field(default_factory=dict)

    with pytest.raises(UnreadableVersion, match="field 'pages': it had no keys, and has them now"):
        await storage.get(Now, full)
    assert (await storage.get(Now, empty)).pages == {}


async def test_a_list_that_becomes_a_tuple_is_one(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        pages: list[Page] = Field(default_factory=list)

    old = await _stored(storage, Then(pages=[Page(text="p")]))

    class Now(Entity, kind=KIND):
        pages: tuple[Page, ...]

    note = await storage.get(Now, old)
    assert isinstance(note.pages, tuple)
    assert (await storage.submit(note)).info is None


@pytest.mark.parametrize("exported_by", ["the program of then", "the program of now"])
async def test_what_a_field_held_before_it_took_another_class_is_loaded_saved_exported_and_imported(
    storage: EntityStorage, exported_by: str
) -> None:
    class Leaflet(Entity, kind="evolving_leaflet"):
        text: str = ""

    class Then(Entity, kind=KIND):
        about: Page | None = None
        pages: list[Page] = Field(default_factory=list)
        named: dict[str, Page] = Field(default_factory=dict)
        title: str = ""

    async with open_storage("memory:") as source:
        old = await _stored(source, Then(about=Page(text="a"), pages=[Page(text="b")], named={"c": Page(text="c")}))
        lines = [line async for line in source.export_lines()]

        class Now(Entity, kind=KIND):
            about: Leaflet | None = None
            pages: list[Leaflet] = Field(default_factory=list)
            named: dict[str, Leaflet] = Field(default_factory=dict)
            title: str = ""

        if exported_by == "the program of now":
            note = await source.get(Now, old)
            note.title = "new"
            await source.register(note)
            lines = [line async for line in source.export_lines()]
    await storage.import_lines(lines)
    again = [line async for line in storage.export_lines()]
    async with open_storage("memory:") as copy:
        await copy.import_lines(again)
        assert [line async for line in copy.export_lines()] == again
    [head] = await storage.list_by_type(Now)
    note = await storage.get(Now, head.ecs_id)
    note.title = "newer"
    note.pages.append(Leaflet(text="d"))
    await storage.register(note)
    note = await storage.get(Now, note.ecs_id)
    assert (note.about and note.about.text, [page.text for page in note.pages], note.named["c"].text) == ("a", ["b", "d"], "c")
    assert storage.url == "memory:" or await storage.check() == []


# Old versions


@pytest.fixture
async def sql_storage(sql_url: str) -> AsyncIterator[EntityStorage]:
    """Both databases in turn."""
    async with open_storage(sql_url) as opened:
        yield opened


async def test_reading_and_continuing_old_versions_changes_no_row(sql_storage: EntityStorage, sql_url: str) -> None:
    class Then(Entity, kind=KIND):
        colour: str = "red"
        legacy: int = 1
        pages: list[Page] = Field(default_factory=list)

    old = await _stored(sql_storage, Then(pages=[Page(text=str(number)) for number in range(3)]))
    before = await rows_of(sql_url)

    class Now(Entity, kind=KIND, version=2, renamed={"pages": "sheets"}):
        color: str
        stars: int = 0
        sheets: list[Page]

    @Now.upgrade(from_version=1)
    def without_legacy(data: dict[str, Any]) -> dict[str, Any]:
        return {"color": data["colour"]}

    note = await sql_storage.get(Now, old)
    assert (await sql_storage.submit(note)).info is None
    assert await rows_of(sql_url) == before
    del note.sheets[1]
    note.stars = 5
    await sql_storage.register(note)
    after = await rows_of(sql_url)
    assert {key: after[key] for key in before} == before
    assert [page.text for page in (await sql_storage.get(Now, note.ecs_id)).sheets] == ["0", "2"]
    assert await sql_storage.check() == []


async def test_versions_of_every_shape_can_be_compared_and_merged(storage: EntityStorage) -> None:
    class Then(Entity, kind=KIND):
        colour: str = "red"
        title: str = "a"

    old = await _stored(storage, Then())

    class Now(Entity, kind=KIND, renamed={"colour": "color"}):
        color: str
        title: str

    note = await storage.get(Now, old)
    note.title = "b"
    await storage.register(note)
    side = await storage.get(Now, old)
    side.color = "blue"
    await storage.register(side)
    diff = await storage.diff(old, side)
    assert list(diff.fields) == ["color"]
    merged = await storage.merge(note, side)
    assert (merged.entity.color, merged.entity.title, merged.conflicts) == ("blue", "b", ())
    reverted = await storage.revert(merged.entity, old)
    assert (reverted.color, reverted.title) == ("red", "a")


# Declarations that contradict themselves


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"renamed": {"colour": "hue"}}, "'colour' -> 'hue' leads to no field"),
        ({"renamed": {"a": "b", "b": "a"}}, "'a' -> 'b' -> 'a' leads in a circle"),
        ({"renamed": {"color": "title"}}, "'color' is renamed or removed, and still a field"),
        ({"removed": ("color",)}, "'color' is renamed or removed, and still a field"),
        ({"removed": "legacy"}, r"would be taken letter by letter: write removed=\('legacy',\)"),
        ({"aliases": "note"}, r"write aliases=\('note',\)"),
        ({"renamed": {"x": "color"}, "removed": ("x",)}, "'x' is both renamed and removed"),
        ({"version": 0}, "version=0: schema versions are counted from 1"),
        ({"version": "2"}, "version='2': schema versions are counted from 1"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused_when_the_class_is_defined(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidEvolution, match=problem):

        class Now(Entity, kind="evolving_nonsense", **arguments):
            color: str
            title: str


async def test_old_code_that_meets_a_newer_schema_says_so(storage: EntityStorage) -> None:
    class Newer(Entity, kind=KIND, version=3):
        title: str

    new = await _stored(storage, Newer(title="a"))

    class Older(Entity, kind=KIND, version=2):
        title: str

    with pytest.raises(NewerSchema, match="was written in schema version 3, and the class of this program is in 2") as caught:
        await storage.get(Older, new)
    assert (caught.value.kind, caught.value.ecs_id, caught.value.stored, caught.value.known) == (KIND, new, 3, 2)


@contextmanager
def _statements() -> Iterator[list[str]]:
    """What SQLite executes on connections that are opened inside."""
    executed: list[str] = []

    def trace(connection: Any, _record: Any) -> None:
        connection.driver_connection._conn.set_trace_callback(executed.append)

    event.listen(Engine, "connect", trace)
    try:
        yield executed
    finally:
        event.remove(Engine, "connect", trace)


async def test_versions_in_the_present_shape_and_those_that_only_lack_fields_cost_no_statement_more(sqlite_url: str) -> None:
    class Then(Entity, kind=KIND):
        title: str
        pages: list[Page] = Field(default_factory=list)

    with _statements() as executed:
        async with open_storage(sqlite_url) as storage:
            old = await _stored(storage, Then(title="a", pages=[Page(), Page()]))

            class Now(Entity, kind=KIND):
                title: str
                stars: int = 0
                pages: list[Page]

            new = await _stored(storage, Now(title="b", pages=[Page(), Page()]))
            counts = []
            for ecs_id in (new, new, old):
                executed.clear()
                await storage.get(Now, ecs_id)
                counts.append(len(executed))
            # Version, its row, links and sequences, spans, cells; versions of the pages, their rows, links and sequences; children.
            assert counts[1:] == [11, 11], executed

            class Renamed(Entity, kind=KIND, renamed={"title": "heading"}):
                heading: str
                pages: list[Page]
                stars: int = 0

            executed.clear()
            assert (await storage.get(Renamed, old)).heading == "a"
            assert len(executed) == 11, executed
