"""`minference lineage`: how the versions of a thread come from each other, in every form."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from uuid import UUID

import pytest

from minference.ecs.lineage import short_id
from minference.storage.base import EntityStorage
from minference.threads.thread import ChatThread
from tests.cli.conftest import Cli
from tests.cli.threads import grown, in_database, say


@pytest.fixture
def forked(tmp_path: Path) -> dict[str, UUID]:
    """Sixty versions of the thread `sky`, a branch from the fortieth, and tags on some."""

    async def save(storage: EntityStorage) -> dict[str, UUID]:
        thread, line = await grown(storage, *map(str, range(60)), name="sky")
        branch = await storage.get(ChatThread, line[39])
        say(branch, "other")
        await storage.register(branch, author="bob", note="try another")
        await storage.tag("try", branch)
        await storage.tag("main", line[59])
        return {"first": line[0], "fork": line[39], "main": line[59], "branch": branch.ecs_id, "thread": thread.lineage_id}

    return in_database(tmp_path, save)


def test_the_tree_shows_what_matters_and_counts_the_rest(cli: Cli, forked: dict[str, UUID]) -> None:
    said = cli("lineage", "sky", "--limit", "1")
    short = {name: short_id(version) for name, version in forked.items()}
    lines = said.out.splitlines()
    beginnings = [f"● {short['branch']}  ", f"│ ○ {short['main']}  ", "│ ┆ … 18 versions, ", "├─○ "]
    beginnings += [f"○ {short['fork']}  ", "┆ … 38 versions, ", f"○ {short['first']}  "]
    assert [line[: len(beginning)] for line, beginning in zip(lines, beginnings, strict=True)] == beginnings
    assert lines[0].endswith("  bob  try another  [try] head current  history +1")
    assert lines[1].endswith("  ann  [main] head  history +1")
    assert said.err == ""


def test_the_version_that_was_named_is_the_current_one_and_on_the_straight_line(cli: Cli, forked: dict[str, UUID]) -> None:
    lines = cli("lineage", "sky@main", "--limit", "1").out.splitlines()
    assert lines[0].startswith(f"● {short_id(forked['main'])}")
    assert lines[2].startswith(f"├─○ {short_id(forked['branch'])}")


def test_everything_is_shown_when_asked_for(cli: Cli, forked: dict[str, UUID]) -> None:
    said = cli("lineage", "sky", "--all")
    assert (len(said.out.splitlines()), "versions" in said.out) == (61, False)
    data = cli("lineage", "sky", "--all", "--json").json
    assert len(data) == 61
    parents = {each["version"]: each["parent"] for each in data}
    assert (parents[str(forked["branch"])], parents[str(forked["first"])]) == (str(forked["fork"]), None)


def test_more_branches_than_fit_are_counted(cli: Cli, tmp_path: Path) -> None:
    async def save(storage: EntityStorage) -> None:
        _, [base] = await grown(storage, "q", name="bush")
        for number in range(320):
            branch = await storage.get(ChatThread, base)
            branch.history[0].content = str(number)
            storage.submit(branch)
        await storage.flush()

    in_database(tmp_path, save)
    said = cli("lineage", "bush")
    assert (len(said.out.splitlines()), said.err) == (300, "and 21 more lines (--all)\n")
    assert len(cli("lineage", "bush", "--all").out.splitlines()) == 321


def test_as_data_stretches_say_where_they_begin_and_end(cli: Cli, forked: dict[str, UUID]) -> None:
    data = cli("lineage", "sky", "--limit", "0", "--json").json
    assert [each.get("versions") for each in data] == [None, None, 18, None, None, 38, None]
    newest = {name: data[0][name] for name in ("version", "parent", "depth", "author", "note", "head", "current", "tags", "changes")}
    assert newest == {
        "version": str(forked["branch"]),
        "parent": str(forked["fork"]),
        "depth": 0,
        "author": "bob",
        "note": "try another",
        "head": True,
        "current": True,
        "tags": ["try"],
        "changes": "history +1",
    }
    stretch = data[5]
    assert (stretch["parent"], stretch["depth"]) == (str(forked["first"]), 0)
    assert data[4]["parent"] == stretch["last"]


def test_mermaid_goes_to_stdout(cli: Cli, forked: dict[str, UUID]) -> None:
    lines = cli("lineage", "sky", "--limit", "0", "--mermaid").out.splitlines()
    assert lines[0] == "flowchart TD"
    assert len([line for line in lines if "-->" in line]) == 6
    assert any("#91;try#93; head current" in line for line in lines)
    assert any('-->|"history #43;1"|' in line for line in lines)
    assert forked


def test_a_picture_is_written_into_a_file(cli: Cli, forked: dict[str, UUID], tmp_path: Path) -> None:
    said = cli("lineage", "sky", "--limit", "1", "--svg", "sky.svg")
    assert (said.code, said.out, said.err) == (0, "", "61 versions: sky.svg\n")
    picture = ET.fromstring((tmp_path / "sky.svg").read_text(encoding="utf-8"))
    texts = ["".join(each.itertext()) for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert any("[main] head" in text for text in texts)
    assert any("… 18 versions" in text for text in texts)
    nowhere = cli("lineage", "sky", "--svg", "no/such/folder/sky.svg")
    error = "error: cannot write 'no/such/folder/sky.svg': there is no directory 'no/such/folder': make it first\n"
    assert (nowhere.code, nowhere.err) == (2, error)
    assert cli("lineage", "sky", "--svg", "minference.db").code == 2
    assert cli("lineage", "sky", "--limit", "1").code == 0
    assert forked


def test_content_of_commits_cannot_steer_the_terminal_or_the_picture(cli: Cli, tmp_path: Path) -> None:
    async def save(storage: EntityStorage) -> None:
        thread, _ = await grown(storage, "q", name="sky")
        say(thread, "a")
        await storage.register(thread, author="\x1b[2J<b>", note="</text><script>\x07")
        await storage.tag("<i>", thread)

    in_database(tmp_path, save)
    for arguments in ([], ["--mermaid"]):
        assert "\x1b" not in cli("lineage", "sky", *arguments).out
    cli("lineage", "sky", "--svg", "sky.svg")
    picture = ET.fromstring((tmp_path / "sky.svg").read_text(encoding="utf-8"))
    assert not list(picture.iter("{http://www.w3.org/2000/svg}script"))
