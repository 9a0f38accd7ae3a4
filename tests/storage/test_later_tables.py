"""A class is given a table later, or another one: what was written before is read from where it is, and can be moved."""

from __future__ import annotations

import pytest

from minference.storage.open import open_storage
from minference.storage.sql.dialects import open_engine
from tests.storage.programs import run_program
from tests.storage.tables import broken_rules, rows_of

CLASSES = """
class Person(Entity, kind="person"):
    name: str
    friend: "Person | None" = None

class Note(Entity, kind="note"):
    title: str
    data: dict[str, JsonValue] = {}
    author: Person | None = None
    readers: list[Person] = []
    named: dict[str, Person] = {}

class LongNote(Note, kind="long_note"):
    body: str = ""
    editor: Person | None = None
"""

TABLES = """
class PersonSQL(EntityTable, entity=Person):
    __tablename__ = "person"
    name: Mapped[str] = mapped_column(ExactText)
    friend_id: Mapped[int | None] = mapped_column(Id, reference("person.id"))
    extra: Mapped[Any | None] = mapped_column(Json)

class NoteSQL(EntityTable, entity=Note):
    __tablename__ = "note"
    title: Mapped[str] = mapped_column(ExactText)
    data: Mapped[Any] = mapped_column(Json)
    author_id: Mapped[int | None] = mapped_column(Id, reference("person.id"))
    readers_seq: Mapped[int | None] = mapped_column(Id)
    readers_len: Mapped[int]
    named_seq: Mapped[int | None] = mapped_column(Id)
    named_len: Mapped[int]
    named_keys: Mapped[Any] = mapped_column(Json)
    extra: Mapped[Any | None] = mapped_column(Json)
"""

WRITE = """
async def main(storage):
    ada, bob = Person(name="Ada"), Person(name="Bob")
    ada.friend, bob.friend = bob, ada
    note = Note(title="a\\0", data={"x": [1]}, author=ada, readers=[ada, bob], named={"b": bob})
    long = LongNote(title="l", body="long", editor=bob, author=ada)
    await storage.register(note, long)
    note.readers.append(Person(name="Eve"))
    await storage.register(note)
    return [str(note.ecs_id), str(long.ecs_id)]
"""

READ = """
def shown(note):
    more = [note.body, note.editor.name] if isinstance(note, LongNote) else []
    named = {key: each.name for key, each in note.named.items()}
    return [note.title, note.data, note.author.name, note.author.friend.name, [each.name for each in note.readers], named, *more]

async def wrong(storage):
    return [finding.text for finding in await storage.check()]
"""

EXPECTED = [["a\0", {"x": [1]}, "Ada", "Bob", ["Ada", "Bob", "Eve"], {"b": "Bob"}], ["l", {}, "Ada", "Bob", [], {}, "long", "Bob"]]


async def test_versions_from_before_are_read_and_new_ones_go_to_the_table(sql_url: str) -> None:
    ids = await run_program(CLASSES + WRITE, sql_url)
    # Foreign keys to the table of a class would refuse its rows from before.
    tables = TABLES.replace('reference("person.id")', 'reference("entity_version.id")')
    main = """
async def main(storage, *ids):
    notes = [await storage.get(Note, UUID(each)) for each in ids]
    said = [shown(each) for each in notes]
    said.append([(await storage.submit(each)).info for each in notes])
    for note in notes:
        note.title += "!"
        await storage.register(note)
    said += [shown(await storage.get(Note, note.ecs_id)) for note in notes]
    said.append([version.kind for version in await storage.lineage(notes[0].lineage_id)])
    return [*said, await wrong(storage)]
"""
    again = [["a\0!", *EXPECTED[0][1:]], ["l!", *EXPECTED[1][1:]]]
    answer = await run_program(CLASSES + tables + READ + main, sql_url, *ids)
    assert answer == [*EXPECTED, [None, None], *again, ["note", "note", "note"], []]
    tables_of = [key[0] for key in await rows_of(sql_url)]
    assert (tables_of.count("note"), tables_of.count("entity_any")) == (2, 6)


async def test_rows_can_be_moved_into_the_table(sql_url: str) -> None:
    ids = await run_program(CLASSES + WRITE, sql_url)
    main = """
async def main(storage, *ids):
    before = [line async for line in storage.export_lines()]
    moved = [await storage.move_rows(Person, Note), await storage.move_rows(Note, Person)]
    after = [line async for line in storage.export_lines()]
    notes = [await storage.get(Note, UUID(each)) for each in ids]
    said = [shown(each) for each in notes]
    for note in notes:
        note.title += "!"
        note.readers = [*note.readers, note.author]
        await storage.register(note)
    return [*said, moved, before == after, await wrong(storage), [len(note.readers) for note in notes]]
"""
    assert await run_program(CLASSES + TABLES + READ + main, sql_url, *ids) == [*EXPECTED, [6, 0], True, [], [4, 1]]
    assert not any(key[0] == "entity_any" for key in await rows_of(sql_url))
    assert await broken_rules(sql_url) == []
    # A program that does not declare the tables reads the rows from where they went.
    main = """
async def main(storage, *ids):
    return [shown(await storage.get(Note, UUID(each))) for each in ids]
"""
    assert await run_program(CLASSES + READ + main, sql_url, *ids) == EXPECTED


async def test_versions_in_an_older_shape_are_not_moved_and_still_read(sql_url: str) -> None:
    ids = await run_program(CLASSES + WRITE, sql_url)
    classes = CLASSES.replace('kind="note"', 'kind="note", renamed={"title": "heading"}').replace("title: str", "heading: str")
    tables = TABLES.replace("title: Mapped", "heading: Mapped").replace('reference("person.id")', 'reference("entity_version.id")')
    main = """
async def main(storage, *ids):
    moved = await storage.move_rows(Note)
    return [moved, *[(await storage.get(Note, UUID(each))).heading for each in ids], await wrong(storage)]
"""
    assert await run_program(classes + tables + READ + main, sql_url, *ids) == [0, "a\0", "l", []]


async def test_a_reference_to_a_row_that_is_not_in_the_table_yet_says_what_to_do(sql_url: str) -> None:
    ids = await run_program(CLASSES + WRITE, sql_url)
    main = """
async def main(storage, *ids):
    note = await storage.get(Note, UUID(ids[0]))
    note.title = "edited"
    await storage.register(note)
"""
    answer = await run_program(CLASSES + TABLES + main, sql_url, *ids)
    assert answer["error"] == "WriteFailed"
    assert "If its class was given that table later, call `storage.move_rows` for it first" in answer["message"]
    move = "async def main(storage, *ids):\n    await storage.move_rows(Note)\n"
    assert (await run_program(CLASSES + TABLES + move, sql_url))["error"] == "WriteFailed"
    assert (await run_program(CLASSES + move, sql_url))["message"].startswith("Note has no table to move rows into")


async def test_in_memory_there_is_nothing_to_move() -> None:
    from tests.storage.test_evolution import Page

    async with open_storage("memory:") as storage:
        assert await storage.move_rows(Page) == 0


async def test_a_class_whose_table_has_another_name_now_reads_its_old_table(sql_url: str) -> None:
    ids = await run_program(CLASSES + TABLES + WRITE, sql_url)
    main = """
async def main(storage, *ids):
    notes = [await storage.get(Note, UUID(each)) for each in ids]
    said = [shown(each) for each in notes]
    notes[0].title = "edited"
    await storage.register(notes[0])
    lines = [line async for line in storage.export_lines()]
    return [*said, (await storage.get(Note, notes[0].ecs_id)).title, await wrong(storage), len(lines) - 2]
"""
    tables = TABLES.replace('__tablename__ = "note"', '__tablename__ = "notes_of_today"')
    assert await run_program(CLASSES + tables + READ + main, sql_url, *ids) == [*EXPECTED, "edited", [], 3]


async def test_a_field_that_gets_a_column_later_is_read_from_where_it_was(sql_url: str) -> None:
    ids = await run_program(CLASSES + TABLES + WRITE, sql_url)
    classes = CLASSES.replace("    title: str\n", '    title: str\n    body: str = "new"\n    editor: Person | None = None\n')
    classes = classes.replace(
        'kind="long_note"):\n    body: str = ""\n    editor: Person | None = None\n', 'kind="long_note"):\n    pass\n'
    )
    tables = TABLES.replace(
        '    __tablename__ = "note"\n',
        '    __tablename__ = "note"\n    body: Mapped[str] = mapped_column(ExactText, server_default="")\n'
        '    editor_id: Mapped[int | None] = mapped_column(Id, reference("person.id"))\n',
    )
    main = """
async def main(storage, *ids):
    notes = [await storage.get(Note, UUID(each)) for each in ids]
    said = [[note.body, note.editor and note.editor.name, (await storage.submit(note)).info] for note in notes]
    for note in notes:
        note.title += "!"
        await storage.register(note)
        again = await storage.get(Note, note.ecs_id)
        said.append([again.body, again.editor and again.editor.name])
    return [*said, await wrong(storage), str(notes[1].ecs_id)]
"""
    [*said, new] = await run_program(classes + tables + READ + main, sql_url, *ids)
    assert said == [["new", None, None], ["long", "Bob", None], ["new", None], ["long", "Bob"], []]
    back = "async def main(storage, *ids):\n    return [shown(await storage.get(Note, UUID(each))) for each in ids]\n"
    old, edited = EXPECTED[1], ["l!", *EXPECTED[1][1:]]
    assert await run_program(CLASSES + TABLES + READ + back, sql_url, ids[1], new) == [old, edited]


UNKNOWN = """
class Shelf(Entity, kind="shelf"):
    items: list[Entity]

async def main(storage, shelf):
    loaded = await storage.get(Shelf, UUID(shelf))
    item = loaded.items[0]
    said = [type(item).__name__, item.kind, item.data, sorted(item.references), {name: len(each) for name, each in item.members.items()}]
    loaded.items.append(loaded)
    await storage.register(loaded)
    findings = [[finding.rule, finding.text.split(" ")[0]] for finding in await storage.check()]
    path = await storage.export_to(EXPORT)
    async with open_storage("memory:") as other:
        await other.import_from(EXPORT)
        same = [line async for line in other.export_lines()] == [line async for line in storage.export_lines()]
    return [said, findings, same, (await storage.get_stored(item.ecs_id)).values["title"]]
"""


async def test_versions_of_an_unknown_kind_in_a_table_that_is_not_declared_are_read_by_what_was_noted(
    sql_url: str, tmp_path: object
) -> None:
    write = CLASSES + TABLES + 'class Shelf(Entity, kind="shelf"):\n    items: list[Entity]\n'
    main = """
async def main(storage):
    ada = Person(name="Ada")
    shelf = Shelf(items=[LongNote(title="a\\0", data={"x": [1]}, author=ada, readers=[ada], named={"k": ada}, body="b")])
    await storage.register(shelf)
    return str(shelf.ecs_id)
"""
    shelf = await run_program(write + main, sql_url)
    program = f"EXPORT = {str(tmp_path) + '/lines.jsonl'!r}\n" + UNKNOWN
    data = {"title": "a\0", "data": {"x": [1]}, "body": "b"}
    [said, findings, same, title] = await run_program(program, sql_url, shelf)
    assert said == ["OpaqueEntity", "long_note", data, ["author"], {"named": 1, "readers": 1}]
    assert findings == [["known kinds", "1"], ["known kinds", "1"]]
    assert (same, title) == (True, "a\0")
    engine = open_engine(sql_url)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE entity_kind SET layout = NULL WHERE name = 'long_note'")
    await engine.dispose()
    answer = await run_program(program, sql_url, shelf)
    assert answer["error"] == "UnknownKind"
    assert "no entity class is stored as 'long_note' in this program" in answer["message"]
    assert "import the modules that define the class and the table" in answer["message"]


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
async def test_a_kind_with_a_table_goes_through_a_program_that_knows_nothing_of_it(sql_url: str, tmp_path: object, known: bool) -> None:
    await run_program(CLASSES + TABLES + WRITE, sql_url)
    path, other = f"{tmp_path}/lines.jsonl", f"sqlite:///{tmp_path}/other.db"
    export = f"async def main(storage):\n    return await storage.export_to({path!r})\n"
    load = f"async def main(storage):\n    return (await storage.import_from({path!r})).versions\n"
    assert await run_program(CLASSES + TABLES + export if known else export, sql_url) == 2
    assert await run_program(load, other) == 6
    lines = f"""
async def main(storage):
    lines = [line async for line in storage.export_lines()]
    return [lines == open({path!r}, encoding="utf-8").read().splitlines(), [finding.text for finding in await storage.check()]]
"""
    assert await run_program(lines.replace("[finding.text for finding in await storage.check()]", "[]"), other) == [True, []]
    assert await run_program(CLASSES + TABLES + lines, other) == [True, []]
