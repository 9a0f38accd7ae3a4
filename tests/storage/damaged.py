"""SQLite files that are damaged on purpose."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from minference.storage.open import open_storage
from minference.threads.messages import ChatMessage
from tests.cli.threads import a_thread
from tests.support.sqlite import with_tables

PAGE = 4096


@cache
def sound() -> tuple[bytes, UUID]:
    """A database of some ten threads with an index of their words, and a version of one of them."""

    async def fill(path: Path) -> UUID:
        async with open_storage(with_tables(path)) as storage:
            for number in range(10):
                thread = a_thread(*(f"words of {number} and {each} " * 10 for each in range(10)), name=f"thread {number}")
                await storage.register(thread)
                thread.name = f"renamed {number}"
                await storage.register(thread)
            assert await storage.search(ChatMessage, "words", limit=1)
            return thread.ecs_id

    with TemporaryDirectory() as folder:
        path = Path(folder, "sound.db")
        with ThreadPoolExecutor() as apart:  # from the event loop of the test that asks first
            version = apart.submit(asyncio.run, fill(path)).result()
        return path.read_bytes(), version


def root_of(path: Path, table: str) -> int:
    """The number of the page at which the tree of a table begins; the first is 0."""
    with closing(sqlite3.connect(path)) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
    return int(page) - 1


def overwrite(path: Path, page: int, content: bytes = b"\xff" * PAGE) -> None:
    """Put other bytes where a page begins."""
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(content)


def without_header(path: Path) -> None:
    """Overwrite the beginning of the file."""
    overwrite(path, 0, b"\0" * 100)


def cut_off(path: Path) -> None:
    """Leave half of the file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def without_messages(path: Path) -> None:
    """Overwrite a page in the middle, at which all messages begin."""
    overwrite(path, root_of(path, "chat_message"))


def without_schema(path: Path) -> None:
    """Overwrite the name of a table where tables are told, with what is no text."""
    data = path.read_bytes()
    path.write_bytes(data.replace(b"CREATE TABLE chat_message", b"CREATE \xff\xfe\xfd\xfc\xfb chat_message", 1))


def garble(path: Path) -> None:
    """Put bytes that are no text into every message."""
    data = path.read_bytes()
    path.write_bytes(data.replace(b"words of", b"w\xff\xfe\xfds of"))


def stored(path: Path) -> dict[str, int]:
    """How many rows there are in those tables that can be counted."""
    tables = ("entity_version", "entity_commit", "run_item")
    with closing(sqlite3.connect(path)) as connection:
        return {name: connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in tables}
