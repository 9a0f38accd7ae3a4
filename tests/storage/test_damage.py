"""A damaged SQLite file is called damaged: nothing is repaired in silence, and nothing is saved by half."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st
from sqlalchemy import text

from minference.errors import DatabaseUnreadable, ReadFailed, StorageError, WriteFailed
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.listing import ThreadFilter, list_threads
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread
from tests.cli.threads import a_thread
from tests.storage.damaged import PAGE, cut_off, garble, overwrite, root_of, sound, stored, without_header, without_messages, without_schema

Question = Callable[[EntityStorage], Awaitable[object]]


async def _export(storage: EntityStorage) -> list[str]:
    return [line async for line in storage.export_lines()]


async def _select(storage: EntityStorage) -> list[object]:
    async with storage.sql() as session:
        return [*(await session.execute(text("SELECT * FROM chat_message"))).scalars()]


QUESTIONS: dict[str, Question] = {
    "get": lambda storage: storage.get(ChatThread, sound()[1]),
    "list": lambda storage: storage.list_by_type(ChatMessage),
    "threads": lambda storage: list_threads(storage, ThreadFilter(), limit=20),
    "search": lambda storage: storage.search(ChatMessage, "words"),
    "export": _export,
    "sql": _select,
    "stored": lambda storage: storage.get_stored(sound()[1]),
    "check": lambda storage: storage.check(),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database that is sound as yet."""
    path = tmp_path / "chats.db"
    path.write_bytes(sound()[0])
    return path


@pytest.mark.parametrize("damage", [without_messages, garble], ids=["pages", "texts"])
@pytest.mark.parametrize("name", ["get", "search", "export", "sql"])
async def test_what_cannot_be_read_any_more_is_called_damaged(file: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(file)
    before = file.read_bytes()
    async with open_storage(f"sqlite:///{file}") as storage:
        with pytest.raises(ReadFailed) as caught:
            await QUESTIONS[name](storage)
    assert (caught.value.damaged, caught.value.retryable) == (True, False)
    assert "restore a backup" in str(caught.value)
    assert "asking again is safe" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without_header, "it is no SQLite database, or its beginning was overwritten: choose another file, or restore a backup"),
        (cut_off, "it is damaged .*: restore a backup"),
        (without_schema, "it is damaged .*: restore a backup"),
    ],
)
async def test_a_file_that_cannot_be_opened_any_more_is_left_as_it_is(file: Path, damage: Callable[[Path], None], reason: str) -> None:
    damage(file)
    before = file.read_bytes()
    with pytest.raises(DatabaseUnreadable, match=reason):
        async with open_storage(f"sqlite:///{file}"):
            raise AssertionError("it was opened")
    assert file.read_bytes() == before


async def test_a_save_into_a_damaged_table_is_refused_as_a_whole(file: Path) -> None:
    without_messages(file)
    before = stored(file)
    thread = a_thread("new")
    first = thread.ecs_id
    async with open_storage(f"sqlite:///{file}") as storage:
        with pytest.raises(WriteFailed, match=r"damaged.* restore a backup") as caught:
            await storage.register(thread)
        assert caught.value.damaged
        assert "Nothing of it was written" in str(caught.value)
    assert (thread.ecs_id, thread.history[0].content) == (first, "new")
    assert stored(file) == before


@pytest.mark.parametrize("work", ["tag", "erase"])
async def test_other_writing_into_a_damaged_file_is_refused_as_a_whole(file: Path, work: str) -> None:
    async with open_storage(f"sqlite:///{file}") as storage:
        lineage = (await storage.info(sound()[1])).lineage_id
    overwrite(file, root_of(file, "tag" if work == "tag" else "chat_message"))
    before = stored(file)
    async with open_storage(f"sqlite:///{file}") as storage:
        with pytest.raises(WriteFailed if work == "tag" else StorageError, match="damaged"):
            await (storage.tag("v1", sound()[1]) if work == "tag" else storage.erase(lineage, reason="asked to"))
    assert stored(file) == before


async def test_a_check_of_a_damaged_file_finds_the_damage(file: Path) -> None:
    without_messages(file)
    async with open_storage(f"sqlite:///{file}") as storage:
        findings = await storage.check()
    assert {finding.rule for finding in findings} >= {"the file"}
    assert findings[-1].text.startswith("it is damaged, and more cannot be checked: ")


@pytest.mark.parametrize(("table", "column"), [("sequence_span", "length"), ("chat_thread", "history_len")])
async def test_a_check_names_a_list_whose_place_is_no_number(file: Path, table: str, column: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?", (table,)).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(f"UPDATE {table} SET {column} = 'many'")
        connection.commit()
    async with open_storage(f"sqlite:///{file}") as storage:
        assert {finding.rule for finding in await storage.check()} & {"ordered fields", "loading"}


@cases(max_examples=40, derandomize=True)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["pages", "zeros", "bytes", "end"]))
async def test_whatever_the_damage_only_errors_of_the_storage_come_of_it(seed: int, kind: str) -> None:
    said: list[str] = []
    with TemporaryDirectory() as folder:
        path = Path(folder, "chats.db")
        path.write_bytes(_damaged(random.Random(seed), kind))
        try:
            async with open_storage(f"sqlite:///{path}") as storage:
                for question in QUESTIONS.values():
                    try:
                        await question(storage)
                    except StorageError as error:
                        said.append(str(error))
        except DatabaseUnreadable as error:
            said.append(str(error))
    assert not [each for each in said if "asking again is safe" in each]


def _damaged(chance: random.Random, kind: str) -> bytes:
    data = bytearray(sound()[0])
    places = [chance.randrange(1, len(data) // PAGE) * PAGE for _ in range(chance.choice([1, 5, 50]))]
    if kind == "end":
        return bytes(data[: places[0]])
    for place in places:
        if kind == "bytes":
            data[place + chance.randrange(PAGE)] = chance.randrange(256)
        else:
            data[place : place + PAGE] = chance.randbytes(PAGE) if kind == "pages" else bytes(PAGE)
    return bytes(data)
