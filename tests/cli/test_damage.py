"""A command on a damaged database ends with exit code 3 and one line that says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.storage.damaged import cut_off, garble, sound, without_header, without_messages, without_schema

VERSION = "<a version>"
SHOW = ("threads", "show", VERSION)
EXPORT = ("threads", "export", "-o", "out.jsonl")
TAG = ("threads", "tag", VERSION, "v1")


@pytest.mark.parametrize("damage", [without_header, cut_off, without_schema])
@pytest.mark.parametrize(
    "command", [("threads", "list"), SHOW, EXPORT, TAG, ("usage",), ("runs", "list"), ("db", "check"), ("db", "stats")]
)
def test_a_database_that_cannot_be_opened(cli: Cli, tmp_path: Path, command: tuple[str, ...], damage: Callable[[Path], None]) -> None:
    file = _damaged(tmp_path, damage)
    before = file.read_bytes()
    said = cli(*_naming_a_version(command))
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("error: cannot open the database sqlite:///minference.db: it is ")
    assert said.err.endswith("restore a backup\n")
    assert said.err.count("\n") == 1
    assert file.read_bytes() == before


@pytest.mark.parametrize("damage", [without_messages, garble])
@pytest.mark.parametrize("command", [SHOW, EXPORT, ("threads", "search", "words")])
def test_messages_that_cannot_be_read(cli: Cli, tmp_path: Path, command: tuple[str, ...], damage: Callable[[Path], None]) -> None:
    _damaged(tmp_path, damage)
    said = cli(*_naming_a_version(command))
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("error: the database could not be read: ")
    assert "It is damaged, so that trying again does not help: restore a backup." in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_a_check_that_can_be_made_tells_what_is_damaged(cli: Cli, tmp_path: Path) -> None:
    _damaged(tmp_path, without_messages)
    said = cli("db", "check", "--json")
    assert said.code == 3
    assert said.json[-1]["rule"] == "the file"
    assert said.json[-1]["text"].startswith("it is damaged, and more cannot be checked: ")


def test_doctor_calls_a_damaged_database_broken(cli: Cli, tmp_path: Path) -> None:
    _damaged(tmp_path, cut_off)
    said = cli("doctor", "--json")
    assert (said.code, said.json["database"]["state"]) == (3, "broken")
    assert "restore a backup" in said.json["database"]["problem"]


def _damaged(folder: Path, damage: Callable[[Path], None]) -> Path:
    file = folder / "minference.db"
    file.write_bytes(sound()[0])
    damage(file)
    return file


def _naming_a_version(command: tuple[str, ...]) -> list[str]:
    return [str(sound()[1]) if each == VERSION else each for each in command]
