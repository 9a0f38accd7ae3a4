"""An old and a new program on one database at the same time: each reads what it can, and says what it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from minference.ecs.entity import Entity
from minference.errors import NewerSchema, UnknownStoredField
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.sql.dialects import open_engine
from tests.storage.programs import run_program

OLD = """
class Note(Entity, kind="shared_note"):
    title: str = ""
    colour: str = "red"

class Board(Entity, kind="shared_board"):
    notes: list[Note] = Field(default_factory=list)
"""

ADD = """
async def main(storage, board_id, title):
    board = await storage.get(Board, UUID(board_id))
    board.notes.append(Note(title=title))
    await storage.register(board)
    return [str(board.ecs_id), [note.title for note in board.notes]]
"""


class Board(Entity, kind="shared_board"):
    """The newer program is this one."""

    notes: list[Entity] = Field(default_factory=list)


def _new_note(version: int | None = None) -> type[Entity]:
    class Note(Entity, kind="shared_note", version=version, renamed={"colour": "color"}):
        title: str
        color: str = "blue"
        stars: int = 0

    return Note


async def _kinds(url: str) -> list[tuple[Any, ...]]:
    engine = open_engine(url)
    async with engine.connect() as connection:
        rows = (await connection.exec_driver_sql("SELECT name, revision, version FROM entity_kind ORDER BY id")).all()
    await engine.dispose()
    return [tuple(row) for row in rows]


@pytest.fixture
async def board(sql_url: str) -> str:
    """A board with a note, both of the older program."""
    main = """
async def main(storage):
    board = Board(notes=[Note(title="old")])
    await storage.register(board)
    return str(board.ecs_id)
"""
    return str(await run_program(OLD + main, sql_url))


async def _titles(storage: EntityStorage, ecs_id: str) -> list[tuple[str, str, int]]:
    from uuid import UUID

    board = await storage.get(Board, UUID(ecs_id))
    return [(note.title, note.color, note.stars) for note in board.notes]  # type: ignore[attr-defined]  # of a class made in the test


async def test_both_write_in_turn_and_the_newer_reads_all_of_it(sql_url: str, board: str) -> None:
    note_class = _new_note()
    async with open_storage(sql_url) as storage:
        assert await _titles(storage, board) == [("old", "red", 0)]
        standing, _ = await run_program(OLD + ADD, sql_url, board, "old while the new is open")
        assert await _titles(storage, standing) == [("old", "red", 0), ("old while the new is open", "red", 0)]
        loaded = await storage.get(Board, (await storage.matching(standing))[0].ecs_id)
        loaded.notes.append(note_class.model_validate({"title": "new", "stars": 5}))
        await storage.register(loaded)
        assert (await _titles(storage, str(loaded.ecs_id)))[2] == ("new", "blue", 5)
        again, _ = await run_program(OLD + ADD, sql_url, standing, "old again")
        assert len(await _titles(storage, again)) == 3
        assert await storage.check() == []
    kinds = [(name, revision) for name, revision, _ in await _kinds(sql_url)]
    assert sorted(kinds) == [("shared_board", 1), ("shared_board", 2), ("shared_note", 1), ("shared_note", 2)]


async def test_the_older_says_which_field_it_does_not_know(sql_url: str, board: str) -> None:
    note_class = _new_note()
    async with open_storage(sql_url) as storage:
        new = await storage.register(note_class.model_validate({"title": "new"}))
        holder = await storage.register(Board(notes=[new]))
        answer = await run_program(OLD + ADD, sql_url, holder.ecs_id, "x")
        assert answer["error"] == UnknownStoredField.__name__
        assert f"version {new.ecs_id} of shared_note holds 'color', 'stars'" in answer["message"]
        assert "If newer code wrote it, run that" in answer["message"]


async def test_the_older_says_that_the_schema_is_newer_and_goes_on_with_the_rest(sql_url: str, board: str) -> None:
    note_class = _new_note(version=2)
    async with open_storage(sql_url) as storage:
        new = await storage.register(note_class.model_validate({"title": "new"}))
        holder = await storage.register(Board(notes=[new]))
        answer = await run_program(OLD + ADD, sql_url, holder.ecs_id, "x")
        assert answer["error"] == NewerSchema.__name__
        assert f"version {new.ecs_id} of shared_note was written in schema version 2" in answer["message"]
        _, titles = await run_program(OLD + ADD, sql_url, board, "still works")
        assert titles == ["old", "still works"]
    assert [version for name, _, version in await _kinds(sql_url) if name == "shared_note"] == [1, 2]


async def test_what_the_newer_exports_the_older_imports_as_far_as_it_knows_it(sql_url: str, board: str, tmp_path: Any) -> None:
    note_class = _new_note(version=2)
    path, other = tmp_path / "lines.jsonl", f"sqlite:///{tmp_path}/other.db"
    take = "async def main(storage, path):\n    return (await storage.import_from(path)).versions\n"
    async with open_storage(sql_url) as storage:
        await storage.export_to(path)
        answer = await run_program(OLD + take, other, path)
        assert (answer["error"], "in schema version 2" in answer["message"]) == ("NewerSchema", True)
        assert await run_program('class Board(Entity, kind="shared_board"):\n    notes: list[Entity]\n' + take, other, path) == 2
    async with open_storage(other) as storage:
        [info] = await storage.list_by_type(note_class)
        note = await storage.get(note_class, info.ecs_id)
        assert (note.title, note.color) == ("old", "red")  # type: ignore[attr-defined]  # of a class made in the test


async def test_what_the_older_exports_the_newer_upgrades(sql_url: str, board: str, tmp_path: Any) -> None:
    path = tmp_path / "lines.jsonl"
    give = "async def main(storage, path):\n    return await storage.export_to(path)\n"
    assert await run_program(OLD + give, sql_url, path) == 1

    class Note(Entity, kind="shared_note", version=2):
        heading: str
        color: str

    @Note.upgrade(from_version=1)
    def heading(data: dict[str, Any]) -> dict[str, Any]:
        return {"heading": data["title"].upper(), "color": data["colour"]}

    async with open_storage("memory:") as storage:
        await storage.import_from(path)
        [info] = await storage.list_by_type(Note)
        note = await storage.get(Note, info.ecs_id)
        assert (note.heading, note.color) == ("OLD", "red")
        assert (await storage.submit(note)).info is None
