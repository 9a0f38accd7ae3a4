"""Classes with tables of their own change: columns come, go and are renamed, and every version reads as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minference.storage.sql.dialects import open_engine
from tests.storage.programs import run_program
from tests.storage.tables import broken_rules, rows_of

PAGE = """
class Page(Entity, kind="page"):
    text: str = ""
"""

THEN = f"""
{PAGE}
class Mood(Enum):
    calm = "c"
    wild = "w"

class Note(Entity, kind="note"):
    title: str
    subtitle: str | None = "none"
    mood: Mood | None = Mood.wild
    count: int = 7
    ratio: float = 0.5
    flag: bool = True
    moment: datetime = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    key: UUID | None = UUID(int=7)
    data: dict[str, JsonValue] = Field(default_factory=lambda: {{"a": "text", "b": [1, None]}})
    writer: Page | None = None
    pages: list[Page] = Field(default_factory=list)
    named: dict[str, Page] = Field(default_factory=dict)

class NoteSQL(EntityTable, entity=Note):
    __tablename__ = "note"
    title: Mapped[str] = mapped_column(ExactText)
    subtitle: Mapped[str | None] = mapped_column(ExactText)
    mood: Mapped[str | None] = mapped_column(ExactText)
    count: Mapped[int] = mapped_column(BigInteger)
    ratio: Mapped[float] = mapped_column(Double)
    flag: Mapped[bool] = mapped_column(Boolean)
    moment: Mapped[datetime] = mapped_column(UtcDateTime)
    key: Mapped[UUID | None] = mapped_column(Uuid)
    data: Mapped[Any] = mapped_column(Json)
    writer_id: Mapped[int | None] = mapped_column(Id, reference("entity_version.id"))
    pages_seq: Mapped[int | None] = mapped_column(Id)
    pages_len: Mapped[int]
    named_seq: Mapped[int | None] = mapped_column(Id)
    named_len: Mapped[int]
    named_keys: Mapped[Any] = mapped_column(Json)
    extra: Mapped[Any | None] = mapped_column(Json)

async def main(storage):
    one, two = Page(text="1"), Page(text="2")
    note = Note(title="a\\0", writer=one, pages=[one, two], named={{"x": two}})
    await storage.register(note)
    none = Note(title="b", subtitle=None, key=None)
    await storage.register(none)
    return [str(note.ecs_id), str(none.ecs_id)]
"""


async def test_columns_of_new_fields_are_added_and_old_rows_have_the_defaults(sql_url: str) -> None:
    old, _ = await run_program(THEN, sql_url)
    before = {key for key in await rows_of(sql_url) if key[0] == "note"}
    fields = THEN.replace(
        '    subtitle: str | None = "none"\n',
        '    subtitle: str | None = "none"\n    calm: str | None = "yes"\n    tags: list[str] = Field(default_factory=lambda: ["new"])\n'
        "    about: Page | None = None\n    sheets: list[Page] = Field(default_factory=list)\n"
        "    by_name: dict[str, Page] = Field(default_factory=dict)\n",
    )
    now = fields.replace(
        "    subtitle: Mapped[str | None] = mapped_column(ExactText)\n",
        "    subtitle: Mapped[str | None] = mapped_column(ExactText)\n    calm: Mapped[str | None] = mapped_column(ExactText)\n"
        '    tags: Mapped[Any] = mapped_column(Json, server_default="[]")\n'
        '    about_id: Mapped[int | None] = mapped_column(Id, reference("entity_version.id"), index=True)\n'
        "    sheets_seq: Mapped[int | None] = mapped_column(Id)\n    sheets_len: Mapped[int]\n"
        "    by_name_seq: Mapped[int | None] = mapped_column(Id)\n    by_name_len: Mapped[int]\n"
        "    by_name_keys: Mapped[Any] = mapped_column(Json)\n",
    )
    main = """
async def main(storage, old):
    note = await storage.get(Note, UUID(old))
    said = [[note.title, note.calm, note.tags, note.about, note.sheets, note.by_name, [page.text for page in note.pages]]]
    said.append((await storage.submit(note)).info)
    note.calm, note.tags, note.about, note.sheets, note.by_name = None, [], note.pages[0], [note.pages[1]], {"k": note.pages[0]}
    await storage.register(note)
    again = await storage.get(Note, note.ecs_id)
    said.append([again.calm, again.tags, again.about.text, again.sheets[0].text, again.by_name["k"].text, len(again.pages)])
    said.append([finding.text for finding in await storage.check()])
    return said
"""
    program = now.partition("async def main")[0] + main
    expected: list[Any] = [["a\0", "yes", ["new"], None, [], {}, ["1", "2"]], None, [None, [], "1", "2", "1", 2], []]
    assert await run_program(program, sql_url, old) == expected
    assert await broken_rules(sql_url) == []
    assert before <= (await rows_of(sql_url)).keys()
    # The older program goes on beside it, and its rows are read by the newer one.
    again, _ = await run_program(THEN, sql_url)
    assert await run_program(program, sql_url, again) == expected


@pytest.mark.parametrize(
    ("column", "migrate", "message"),
    [
        (
            "stars: Mapped[int] = mapped_column(BigInteger)",
            "auto",
            "table note lacks the column stars, which is NOT NULL: give it a server_default",
        ),
        (
            'stars: Mapped[int] = mapped_column(BigInteger, server_default="0")',
            "check",
            "table note lacks the column stars; open it once with migrate='auto'",
        ),
    ],
)
async def test_a_column_that_cannot_be_added_is_named(sql_url: str, column: str, migrate: str, message: str) -> None:
    old, _ = await run_program(THEN, sql_url)
    now = THEN.replace("    count: int = 7\n", "    count: int = 7\n    stars: int = 3\n")
    now = now.replace("    extra: Mapped", f"    {column}\n    extra: Mapped")
    answer = await run_program(now, sql_url, old, migrate=migrate)
    assert answer["error"] == "OutdatedTables"
    assert message in answer["message"]


async def test_a_column_with_a_default_is_added_and_the_class_decides_what_old_versions_hold(sql_url: str) -> None:
    old, _ = await run_program(THEN, sql_url)
    now = THEN.replace("    count: int = 7\n", "    count: int = 7\n    stars: int = 3\n")
    now = now.replace("    extra: Mapped", '    stars: Mapped[int] = mapped_column(BigInteger, server_default="0")\n    extra: Mapped')
    main = """
async def main(storage, old):
    note = await storage.get(Note, UUID(old))
    note.count = 0
    await storage.register(note)
    return [note.stars, (await storage.get(Note, note.ecs_id)).stars]
"""
    assert await run_program(now.partition("async def main")[0] + main, sql_url, old) == [3, 3]


NOW = f"""
{PAGE}
class Note(Entity, kind="note", version=2, renamed={{"writer": "author", "pages": "sheets"}}, removed=("named", "legacy")):
    title: str
    about: dict[str, JsonValue]
    author: Page | None = None
    sheets: list[Page] = Field(default_factory=list)

@Note.upgrade(from_version=1)
def gather(data: dict[str, Any]) -> dict[str, Any]:
    return {{"title": data.pop("title"), "about": data}}

class NoteSQL(EntityTable, entity=Note):
    __tablename__ = "note"
    title: Mapped[str] = mapped_column(ExactText)
    about: Mapped[Any] = mapped_column(Json, server_default="null")
    author_id: Mapped[int | None] = mapped_column(Id, reference("entity_version.id"))
    sheets_seq: Mapped[int | None] = mapped_column(Id)
    sheets_len: Mapped[int]
    extra: Mapped[Any | None] = mapped_column(Json)

async def main(storage, *ids):
    said = []
    for ecs_id in ids:
        note = await storage.get(Note, UUID(ecs_id))
        sheets = [page.text for page in note.sheets]
        said.append([note.title, note.about, note.author and note.author.text, sheets, (await storage.submit(note)).info])
        note.sheets.append(Page(text="new"))
        await storage.register(note)
        said.append([page.text for page in (await storage.get(Note, note.ecs_id)).sheets])
    said.append([finding.text for finding in await storage.check()])
    stored = await storage.get_stored(UUID(ids[0]))
    said.append([stored.schema_version, stored.values["data"], {{name: len(each) for name, each in stored.members.items()}}, stored.keys])
    return said
"""


async def test_hooks_renames_and_removals_reach_columns_that_are_no_longer_declared(sql_url: str) -> None:
    ids = await run_program(THEN, sql_url)
    before = await rows_of(sql_url)
    data = {"a": "text", "b": [1, None]}
    rest: dict[str, Any] = {"mood": "w", "count": 7, "ratio": 0.5, "flag": True, "moment": "2026-01-02T03:04:05.000006Z", "data": data}
    key = "00000000-0000-0000-0000-000000000007"
    answer = await run_program(NOW, sql_url, *ids)
    assert answer == [
        ["a\0", {"subtitle": "none", "key": key, **rest}, "1", ["1", "2"], None],
        ["1", "2", "new"],
        ["b", {"subtitle": None, "key": None, **rest}, None, [], None],
        ["new"],
        [],
        [1, data, {"pages": 2, "named": 1}, {"named": ["x"]}],
    ]
    assert await broken_rules(sql_url) == []
    after = await rows_of(sql_url)
    assert all(key in after for key in before)


async def test_the_same_where_it_was_not_noted_in_which_columns_the_fields_are(sql_url: str) -> None:
    ids = await run_program(THEN, sql_url)
    engine = open_engine(sql_url)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE entity_kind SET layout = NULL")
    await engine.dispose()
    [first, *_, stored] = await run_program(NOW, sql_url, *ids)
    assert first[0] == "a\0"
    assert (first[1]["data"], first[1]["flag"], first[1]["mood"], first[2:4]) == (
        {"a": "text", "b": [1, None]},
        True,
        "w",
        ["1", ["1", "2"]],
    )
    assert stored[2:] == [{"pages": 2, "named": 1}, {"named": ["x"]}]


async def test_a_field_that_the_class_has_not_is_an_error_also_when_its_column_is_not_declared(sql_url: str) -> None:
    ids = await run_program(THEN, sql_url)
    silent = NOW.replace(', "legacy")', ",)").replace("    return {", "    return data | {")
    answer = await run_program(silent, sql_url, *ids)
    assert answer["error"] == "UnknownStoredField"
    assert "'count', 'data'" in answer["message"]


async def test_a_column_that_keeps_its_name_needs_no_rename_of_the_class(sql_url: str) -> None:
    ids = await run_program(THEN, sql_url)
    now = THEN.partition("async def main")[0]
    for old, new in (("subtitle", "second"), ("writer", "author"), ("pages", "sheets"), ("named", "by_name")):
        now = now.replace(f"    {old}: ", f"    {new}: ", 1)
    now = now.replace('__tablename__ = "note"', '__tablename__ = "note"\n    __rename__ = RENAMES')
    renames = 'RENAMES = {"second": "subtitle", "author": "writer_id", "sheets": "pages", "by_name": "named"}\n'
    main = """
async def main(storage, *ids):
    said = []
    for ecs_id in ids:
        note = await storage.get(Note, UUID(ecs_id))
        said.append([note.second, note.author and note.author.text, len(note.sheets), list(note.by_name)])
    note.second = "x"
    await storage.register(note)
    return [*said, (await storage.get(Note, note.ecs_id)).second, [finding.text for finding in await storage.check()]]
"""
    answer = await run_program(renames + now + main, sql_url, *ids)
    assert answer == [["none", "1", 2, ["x"]], [None, None, 0, []], "x", []]


async def test_a_column_that_is_gone_is_named_unless_its_field_was_removed(sql_url: str) -> None:
    ids = await run_program(THEN, sql_url)
    engine = open_engine(sql_url)
    async with engine.begin() as connection:
        await connection.exec_driver_sql('ALTER TABLE note DROP COLUMN "count"')
    await engine.dispose()
    answer = await run_program(NOW, sql_url, *ids)
    assert answer["error"] == "ReadFailed"
    assert "table 'note' has no column 'count' any more, in which field 'count' of note was stored" in answer["message"]
    removed = NOW.replace('removed=("named", "legacy")', 'removed=("named", "count")')
    assert (await run_program(removed, sql_url, *ids))[0][0] == "a\0"


async def test_foreign_keys_still_wait_for_the_end_of_the_transaction_when_a_table_was_made_anew(sqlite_url: str) -> None:
    await run_program(THEN, sqlite_url)
    now = NOW.partition("async def main")[0] + "async def main(storage):\n    return None\n"
    await run_program(now, sqlite_url)
    without_title = now.replace("    title: str\n", "").replace("    title: Mapped[str] = mapped_column(ExactText)\n", "")
    await run_program(without_title, sqlite_url)
    engine = open_engine(sqlite_url)
    async with engine.connect() as connection:
        [sql] = (await connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'note'")).scalars().all()
    await engine.dispose()
    assert "title TEXT," in sql
    assert sql.count("REFERENCES") == sql.count("DEFERRABLE INITIALLY DEFERRED") == 3


async def test_columns_that_were_added_by_hand_may_hold_nothing_in_old_rows(sql_url: str) -> None:
    old, _ = await run_program(THEN, sql_url)
    engine = open_engine(sql_url)
    async with engine.begin() as connection:
        for column in ("stars BIGINT", "by_name_seq BIGINT", "by_name_len INTEGER", "by_name_keys JSON"):
            await connection.exec_driver_sql(f"ALTER TABLE note ADD COLUMN {column}")
    await engine.dispose()
    now = THEN.replace(
        "    count: int = 7\n", "    count: int = 7\n    stars: int = 3\n    by_name: dict[str, Page] = Field(default_factory=dict)\n"
    )
    now = now.replace(
        "    extra: Mapped",
        "    stars: Mapped[int] = mapped_column(BigInteger)\n    by_name_seq: Mapped[int | None] = mapped_column(Id)\n"
        "    by_name_len: Mapped[int]\n    by_name_keys: Mapped[Any] = mapped_column(Json)\n    extra: Mapped",
    )
    main = """
async def main(storage, old):
    note = await storage.get(Note, UUID(old))
    return [note.stars, note.by_name, (await storage.submit(note)).info]
"""
    assert await run_program(now.partition("async def main")[0] + main, sql_url, old) == [3, {}, None]


async def test_an_export_of_old_versions_holds_what_columns_refer_to_that_are_no_longer_declared(sql_url: str, tmp_path: Path) -> None:
    old, _ = await run_program(THEN, sql_url)
    main = """
async def main(storage, old, path):
    info = await storage.info(UUID(old))
    await storage.export_to(path, [info.lineage_id])
    async with open_storage("memory:") as other:
        await other.import_from(path)
        note = await other.get(Note, UUID(old))
        return [note.author.text, [page.text for page in note.sheets]]
"""
    program = NOW.partition("async def main")[0] + main
    assert await run_program(program, sql_url, old, tmp_path / "lines.jsonl") == ["1", ["1", "2"]]
