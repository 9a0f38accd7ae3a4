"""Databases that are empty, missing, broken, replaced, or of somebody else; and marks that tell when one changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from starlette.testclient import TestClient

from minference.storage.base import EntityStorage
from minference.threads.thread import ChatThread
from tests.ui.conftest import work_on
from tests.ui.samples import a_thread, answer, ask

Visit = Callable[[str], TestClient]


async def nothing(_storage: EntityStorage) -> None:
    """Only make the tables."""


async def one_thread(storage: EntityStorage) -> ChatThread:
    thread = a_thread("the first")
    ask(thread, "hello")
    await answer(storage, thread, "good day")
    return thread


def test_an_empty_database_says_how_to_fill_it(sqlite_url: str, visit: Visit) -> None:
    work_on(sqlite_url, nothing)
    client = visit(sqlite_url)
    page = client.get("/").text
    assert "No threads yet" in page
    assert f"minference chat --database {sqlite_url}" in page
    assert "No replies in these days" in client.get("/usage").text
    assert "Nothing found" in client.get("/search?q=x").text


def test_a_missing_database_is_waited_for(sqlite_url: str, tmp_path: Path, visit: Visit) -> None:
    client = visit(sqlite_url)
    waiting = client.get("/")
    assert waiting.status_code == 503
    assert "Waiting for the database" in waiting.text
    before = client.get("/mark").json()
    assert not (tmp_path / "chats.db").exists()
    work_on(sqlite_url, one_thread)
    assert client.get("/mark").json() != before
    assert "the first" in client.get("/").text


def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path, visit: Visit) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("just text " * 500)
    page = visit(f"sqlite:///{path}").get("/")
    assert page.status_code == 503
    assert "cannot be read" in page.text
    assert path.read_text() == "just text " * 500


def test_the_database_of_another_program_is_told_and_left_alone(tmp_path: Path, visit: Visit) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (id INTEGER)")
    before = path.read_bytes()
    page = visit(f"sqlite:///{path}").get("/")
    assert page.status_code == 503
    assert "customers" in page.text
    assert path.read_bytes() == before


def test_a_database_that_has_no_tables_yet_is_not_given_any(tmp_path: Path, visit: Visit) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    page = visit(f"sqlite:///{path}").get("/")
    assert page.status_code == 503
    assert "Waiting for the database" in page.text
    assert path.stat().st_size == 0


def test_an_empty_database_of_a_server_is_waited_for(empty_sql_url: str, visit: Visit) -> None:
    client = visit(empty_sql_url)
    for _ in range(2):  # the first look made no tables for the second to find
        page = client.get("/")
        assert (page.status_code, "Waiting for the database" in page.text) == (503, True)
    work_on(empty_sql_url, one_thread)
    assert "the first" in client.get("/").text


def test_a_file_that_is_replaced_is_opened_anew(sqlite_url: str, tmp_path: Path, visit: Visit) -> None:
    work_on(sqlite_url, one_thread)
    client = visit(sqlite_url)
    assert "the first" in client.get("/").text
    for file in tmp_path.glob("chats.db*"):
        file.unlink()
    assert client.get("/").status_code == 503
    work_on(sqlite_url, nothing)
    assert "No threads yet" in client.get("/").text


def test_a_password_is_not_shown(visit: Visit, tmp_path: Path) -> None:
    page = visit(f"postgresql://ann:secret@/none?host={tmp_path}").get("/")
    assert page.status_code == 503
    assert "postgresql://ann@/none" in page.text
    assert "secret" not in page.text


def test_marks_change_with_what_they_are_of(sql_url: str, visit: Visit) -> None:
    thread = work_on(sql_url, one_thread)
    other = work_on(sql_url, one_thread)
    client = visit(sql_url)

    def marks() -> list[str]:
        return [client.get(path).json()["mark"] for path in ("/mark", *(f"/mark?thread={each.lineage_id}" for each in (thread, other)))]

    before = marks()
    assert marks() == before

    async def goes_on(storage: EntityStorage) -> None:
        again = await storage.get(ChatThread, thread.ecs_id)
        ask(again, "and now?")
        await storage.register(again)

    async def tags(storage: EntityStorage) -> None:
        await storage.tag("main", thread.ecs_id)

    work_on(sql_url, goes_on)
    saved = marks()
    assert [one == two for one, two in zip(saved, before, strict=True)] == [False, False, True]
    work_on(sql_url, tags)
    assert [one == two for one, two in zip(marks(), saved, strict=True)] == [True, False, True]


def test_what_is_saved_meanwhile_is_seen(sqlite_url: str, visit: Visit) -> None:
    thread = work_on(sqlite_url, one_thread)
    client = visit(sqlite_url)
    here = f"/threads/{thread.lineage_id}"
    assert "what about tea" not in client.get(here).text

    async def goes_on(storage: EntityStorage) -> None:
        again = await storage.get(ChatThread, thread.ecs_id)
        ask(again, "what about tea")
        await storage.register(again)

    work_on(sqlite_url, goes_on)
    assert "what about tea" in client.get(here).text


def test_a_damaged_database_is_told(sqlite_url: str, tmp_path: Path, visit: Visit) -> None:
    thread = work_on(sqlite_url, one_thread)
    path = tmp_path / "chats.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    assert visit(sqlite_url).get("/").status_code == 503
    path.write_bytes(whole)
    client = visit(sqlite_url)
    assert client.get("/").status_code == 200
    with path.open("r+b") as file:  # the same file, so that it stays open
        file.seek(4096)
        file.write(b"\xff" * (len(whole) - 4096))
    for address in ("/", "/usage", f"/threads/{thread.lineage_id}", "/search?q=hello"):
        page = client.get(address)
        assert page.status_code == 500, address
        assert "This cannot be shown" in page.text, address
    assert client.get("/mark").json() == {"mark": "unreadable"}
