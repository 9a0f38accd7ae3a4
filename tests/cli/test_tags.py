"""`minference threads tag`, `untag` and `tags`: versions have names that people give them."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import ANY
from uuid import UUID

import pytest

from minference.ecs.lineage import short_id
from minference.storage.base import EntityStorage
from tests.cli.conftest import Cli
from tests.cli.threads import grown, in_database


@pytest.fixture
def line(tmp_path: Path) -> list[UUID]:
    """Three versions of the thread `sky`."""

    async def save(storage: EntityStorage) -> list[UUID]:
        return (await grown(storage, "1", "2", "3", name="sky"))[1]

    return in_database(tmp_path, save)


def test_a_version_gets_a_name_and_loses_it(cli: Cli, line: list[UUID]) -> None:
    assert cli("threads", "tag", "sky", "main").out == f"version {short_id(line[2])} is called 'main'\n"
    assert cli("threads", "tag", "sky@{1}", "old one", "--json").json == {"tag": "old one", "version": str(line[1]), "thread": ANY}
    assert cli("threads", "tags", "sky", "--json").json == [
        {"tag": "main", "version": str(line[2]), "created_at": ANY},
        {"tag": "old one", "version": str(line[1]), "created_at": ANY},
    ]
    lines = cli("threads", "tags", "sky").out.splitlines()
    assert lines[0].split() == ["tag", "version", "time", "(UTC)", "author"]
    assert [line.split()[-1] for line in lines[1:]] == ["ann", "ann"]
    assert cli("threads", "untag", "sky", "main").out == "no version is called 'main' any more\n"
    assert cli("threads", "untag", "sky", "old one", "--json").json == {"untagged": "old one", "thread": ANY}
    none = cli("threads", "tags", "sky")
    assert (none.code, none.out, cli("threads", "tags", "sky", "--json").json) == (0, "", [])
    assert "no version of this thread has a name" in none.err


def test_a_name_moves_only_when_asked_to(cli: Cli, line: list[UUID]) -> None:
    cli("threads", "tag", "sky", "main")
    refused = cli("threads", "tag", "sky@{2}", "main")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == f"error: tag 'main' names version {short_id(line[2])}: pass --move to move it, or choose another name\n"
    assert cli("threads", "tag", "sky@{2}", "main", "--move").code == 0
    assert cli("threads", "tags", "sky", "--json").json == [{"tag": "main", "version": str(line[0]), "created_at": ANY}]
    assert cli("threads", "tag", "sky@main", "main").code == 0


@pytest.mark.parametrize("name", ["", " x", "x" * 201, "head", "{3}", "a@b"])
def test_what_could_not_be_read_again_is_no_name(cli: Cli, line: list[UUID], name: str) -> None:
    said = cli("threads", "tag", "sky", name)
    assert (said.code, said.out) == (2, "")
    assert "cannot be a tag" in said.err
    assert cli("threads", "tags", "sky", "--json").json == []
    assert line


def test_a_name_that_is_not_there_cannot_be_taken_away(cli: Cli, line: list[UUID]) -> None:
    assert cli("threads", "untag", "sky", "main").err == "error: the thread has no tag 'main': it has none\n"
    cli("threads", "tag", "sky", "other")
    said = cli("threads", "untag", "sky", "main")
    assert (said.code, said.err) == (2, "error: the thread has no tag 'main': its tags are 'other'\n")
    assert line


def test_the_log_shows_names(cli: Cli, line: list[UUID]) -> None:
    assert cli("threads", "log", "sky").out.splitlines()[0].split() == ["version", "time", "(UTC)", "author", "note", "changes"]
    for name in ("main", "try"):
        cli("threads", "tag", "sky", name)
    table = cli("threads", "log", "sky").out.splitlines()
    assert table[0].split() == ["version", "tags", "time", "(UTC)", "author", "note", "changes"]
    assert table[1].startswith(f"{short_id(line[2])} (head)  main, try")
    assert [entry["tags"] for entry in cli("threads", "log", "sky", "--json").json] == [["main", "try"], [], []]
