"""Files are replaced when everything new is on the disk; databases, links, pipes and devices are not replaced at all."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from minference.errors import UnwritableFile
from minference.storage.open import open_storage
from minference.storage.whole_files import check_target, whole_file


def put(path: Path, data: bytes = b"new") -> None:
    with whole_file(path) as write:
        write(data)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "chats.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table kept (it)")
    return path


def test_a_file_is_as_it_was_when_something_goes_wrong(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(b"old")

    def half() -> None:
        with whole_file(file) as write:
            write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert file.read_bytes() == b"old"
    file.chmod(0o640)
    put(file)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o640)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["chats.db", "chats.db-wal", "chats.db-shm", "link", "hard"])
def test_a_database_is_never_written_over_by_whatever_name(database: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to(database)
    os.link(database, tmp_path / "hard")
    before = database.read_bytes()
    with pytest.raises(UnwritableFile, match=r"database.*name another file"):
        put(tmp_path / name)
    assert database.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"chats.db", "link", "hard"}


async def test_a_storage_does_not_export_over_itself(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    async with open_storage(f"sqlite:///{path}") as storage:
        for name in ("own.db", "own.db-wal"):
            with pytest.raises(UnwritableFile):
                await storage.export_to(tmp_path / name)
        assert (await storage.status()).versions == 0
    assert path.read_bytes().startswith(b"SQLite format 3\0")


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link, real = tmp_path / "link", tmp_path / "far" / "real"
    link.symlink_to(real)
    for data in (b"made", b"replaced"):
        put(link, data)
        assert (link.readlink(), real.read_bytes()) == (real, data)


def test_a_pipe_gets_the_bytes_and_stays_a_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        put(fifo)
        assert os.read(reading, 10) == b"new"
    finally:
        os.close(reading)
    assert fifo.is_fifo()
    assert list(tmp_path.iterdir()) == [fifo]


def test_a_device_that_is_full_is_told(tmp_path: Path) -> None:
    link = tmp_path / "full"
    link.symlink_to("/dev/full")
    with pytest.raises(UnwritableFile, match="No space left"):
        put(link)
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("name", [".", "..", "/", "", "no/such/file", "a\0b", "x" * 300])
def test_what_cannot_be_a_file_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnwritableFile, match="cannot write"):
        check_target(name)
    assert not list(tmp_path.iterdir())
