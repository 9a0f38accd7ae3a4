"""A file of a database that loses its name while it is open: SQLite goes on as if nothing had happened, and we say so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from minference.errors import DatabaseGone
from minference.storage.open import open_storage
from minference.threads.messages import SystemPrompt


def delete(file: Path) -> None:
    file.unlink()


def move(file: Path) -> None:
    file.rename(file.with_suffix(".moved"))


def replace(file: Path) -> None:
    other = file.with_suffix(".other")
    other.write_bytes(b"")
    other.replace(file)


async def save_and_lose(url: str, lose: Callable[[], None]) -> None:
    async with open_storage(url) as storage:
        await storage.register(SystemPrompt(content="Be brief."))
        lose()
        await storage.register(SystemPrompt(content="Be long."))


async def count(url: str) -> int:
    async with open_storage(url) as storage:
        return len(await storage.list_by_type(SystemPrompt))


@pytest.mark.parametrize("lose", [delete, move, replace])
@pytest.mark.parametrize("url", ["sqlite:///{}", "sqlite:///file:{}?mode=rwc&uri=true", "sqlite:///file:%2e/{}?uri=true"])
async def test_what_was_saved_in_a_file_that_lost_its_name_is_told_when_the_storage_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Path], None], url: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "chats.db"

    def lose_and_go() -> None:
        lose(file)
        monkeypatch.chdir(tmp_path / "elsewhere")

    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatabaseGone, match="its file was deleted, moved or replaced while it was open") as caught:
        await save_and_lose(url.format("chats.db"), lose_and_go)
    assert caught.value.path == str(file)


async def test_what_was_saved_in_a_file_that_was_moved_is_found_as_the_error_says(tmp_path: Path) -> None:
    file = tmp_path / "chats.db"
    with pytest.raises(DatabaseGone, match=r"move .*/chats\.db-wal' to it as well"):
        await save_and_lose(f"sqlite:///{file}", lambda: move(file))
    file.with_name("chats.db-wal").rename(file.with_name("chats.moved-wal"))
    assert await count(f"sqlite:///{file.with_name('chats.moved')}") == 2
    assert await count(f"sqlite:///{file}") == 0


@pytest.mark.parametrize("lose", [delete, move, replace])
async def test_nothing_is_written_under_a_name_that_was_lost_before_the_first_save(tmp_path: Path, lose: Callable[[Path], None]) -> None:
    file = tmp_path / "chats.db"
    assert await count(f"sqlite:///{file}") == 0
    async with open_storage(f"sqlite:///{file}") as storage:
        lose(file)
        before = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
        with pytest.raises(DatabaseGone, match="its file was deleted, moved or replaced while it was open"):
            await storage.register(SystemPrompt(content="Be brief."))
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == before


async def test_nobody_is_told_who_saved_nothing(tmp_path: Path) -> None:
    file = tmp_path / "chats.db"
    async with open_storage(f"sqlite:///{file}") as storage:
        version = await storage.register(SystemPrompt(content="Be brief."))
    async with open_storage(f"sqlite:///{file}") as storage:
        assert (await storage.get(SystemPrompt, version.ecs_id)).content == "Be brief."
        delete(file)
