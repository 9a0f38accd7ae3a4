"""`minference threads export` and `import`: threads go from one database into another."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from minference.storage.open import open_storage
from minference.threads.attachments import FileAttachment
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt
from minference.threads.thread import ChatThread
from tests.cli.conftest import Cli
from tests.support.nursery import Program
from tests.support.sqlite import with_tables


@pytest.fixture
def saved(tmp_path: Path) -> list[ChatThread]:
    """Two threads in minference.db, the first of two versions."""

    async def save() -> list[ChatThread]:
        async with open_storage(with_tables(tmp_path / "minference.db")) as storage:
            threads = [ChatThread(name=name, llm_config=LLMConfig(client="scripted", model="m")) for name in ("sky", "sea")]
            await storage.register(*threads, author="ada")
            threads[0].history.append(ChatMessage(role=MessageRole.user, content="Why \x85\u2028 blue?"))
            await storage.register(threads[0], author="bob")
            return threads

    return asyncio.run(save())


def test_what_is_exported_is_imported_into_another_database(cli: Cli, saved: list[ChatThread]) -> None:
    assert cli("threads", "export", "-o", "all.jsonl").err == "2 threads, 2 commits: all.jsonl\n"
    assert cli("threads", "import", "all.jsonl", "-d", "other.db").out == "6 new versions in 2 commits; 0 were there already\n"
    assert cli("threads", "import", "all.jsonl", "-d", "other.db", "--json").json == {
        "commits": 0, "versions": 0, "present": 6, "blobs": 0, "tags": 0, "kept_tags": [], "emptied": 0, "erased": 0, "remains": [],
    }  # fmt: skip
    for thread in saved:
        name = thread.name or ""
        assert cli("threads", "log", name, "-d", "other.db").out == cli("threads", "log", name).out
        assert cli("threads", "show", name, "--json", "-d", "other.db").out == cli("threads", "show", name, "--json").out


def test_everything_is_exported_with_what_no_thread_holds(cli: Cli, saved: list[ChatThread], tmp_path: Path) -> None:
    async def save() -> None:
        async with open_storage(with_tables(tmp_path / "minference.db")) as storage:
            await storage.register(SystemPrompt(content="alone"))

    asyncio.run(save())
    assert cli("threads", "export", "-o", "threads.jsonl").err == "2 threads, 2 commits: threads.jsonl\n"
    assert cli("threads", "export", "--everything", "-o", "all.jsonl").err == "everything, 3 commits: all.jsonl\n"
    assert cli("threads", "export", "--everything").out == (tmp_path / "all.jsonl").read_text(encoding="utf-8")
    assert cli("threads", "import", "all.jsonl", "-d", "other.db").out == "7 new versions in 3 commits; 0 were there already\n"
    said = cli("threads", "export", "sky", "--everything")
    assert (said.code, said.out) == (2, "")
    assert "name threads, or pass --everything, which exports them as well" in said.err
    assert saved


@pytest.mark.parametrize("command", ["show", "log", "diff"])
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_half_a_character_that_a_stream_cut_can_be_read(
    cli: Cli, process: Cli, saved: list[ChatThread], tmp_path: Path, command: str, options: tuple[str, ...]
) -> None:
    cli("threads", "export", "-o", "all.jsonl")
    file = tmp_path / "all.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace("blue?", "blue \\ud83d?"), encoding="utf-8")
    cli("threads", "import", "all.jsonl", "-d", "other.db")
    said = process("threads", command, "sky", "-d", "other.db", *options)
    assert (said.code, said.err) == (0, "")
    assert "blue" in said.out or command == "log"
    assert saved


def test_tags_and_what_messages_carry_go_along_and_a_tag_that_stays_is_told(cli: Cli, saved: list[ChatThread], tmp_path: Path) -> None:
    sky = saved[0]

    async def attach_and_tag(first: bool) -> None:
        async with open_storage(with_tables(tmp_path / ("minference.db" if first else "other.db"))) as storage:
            thread = await storage.get(ChatThread, sky.ecs_id)
            thread.add_user_message("Look.", attachments=[FileAttachment.from_bytes(b"words", "w.txt")])
            await storage.register(thread)
            await storage.tag("main", thread)
            if first:
                await storage.tag("begin", sky)

    cli("threads", "export", "-o", "early.jsonl")
    cli("threads", "import", "early.jsonl", "-d", "other.db")
    for first in (True, False):
        asyncio.run(attach_and_tag(first))
    assert cli("threads", "export", "-o", "all.jsonl").err == "2 threads, 3 commits: all.jsonl\n"
    said = cli("threads", "import", "all.jsonl", "-d", "new.db")
    assert said.out == "9 new versions in 3 commits; 0 were there already; 1 new attached content; 2 new tags\n"
    said = cli("threads", "import", "all.jsonl", "-d", "other.db")
    assert said.out == "3 new versions in 1 commit; 6 were there already; 1 new tag\n"
    assert said.err.startswith(f"tag 'main' of thread {sky.lineage_id.hex[-8:]} stays on version ")
    assert cli("threads", "import", "all.jsonl", "-d", "other.db", "--json").json["kept_tags"][0]["name"] == "main"


def test_one_thread_goes_to_stdout(cli: Cli, saved: list[ChatThread]) -> None:
    said = cli("threads", "export", "sea")
    header, commit, end = said.lines
    assert header == {"format": "minference export", "version": 2}
    assert end == {"end": {"erased": 0, "blobs": 0, "commits": 1, "tags": 0}}
    assert {each["lineage"] for each in commit["versions"]} == {str(saved[1].lineage_id), str(saved[1].llm_config.lineage_id)}


def test_a_file_with_a_bad_line_is_named_and_imports_nothing(cli: Cli, saved: list[ChatThread], tmp_path: Path) -> None:
    cli("threads", "export", "-o", "all.jsonl")
    file = tmp_path / "all.jsonl"
    file.write_bytes(file.read_bytes()[:-80])
    said = cli("threads", "import", "all.jsonl", "-d", "other.db")
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("error: line 3 cannot be imported: it is no JSON")
    assert cli("threads", "list", "-d", "other.db").out == "no threads yet\n"
    assert saved


def test_a_file_that_lost_its_last_lines_is_told_from_a_whole_one(cli: Cli, saved: list[ChatThread], tmp_path: Path) -> None:
    cli("threads", "export", "-o", "all.jsonl")
    file = tmp_path / "all.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:2]))
    said = cli("threads", "import", "all.jsonl", "-d", "other.db")
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("error: line 2 cannot be imported: it is the last one, but not the one that ends an export")
    assert cli("threads", "list", "-d", "other.db").out == "no threads yet\n"
    assert saved


@pytest.mark.parametrize("arguments", [("threads", "import", "none.jsonl"), ("threads", "export", "-o", "nowhere/all.jsonl")])
def test_a_path_that_is_not_there_is_an_error_of_usage(cli: Cli, saved: list[ChatThread], arguments: tuple[str, ...]) -> None:
    said = cli(*arguments)
    assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert saved


@pytest.mark.parametrize("output", ["minference.db", "minference.db-wal", "."])
def test_an_export_goes_neither_over_the_database_nor_into_a_directory(cli: Cli, saved: list[ChatThread], output: str) -> None:
    said = cli("threads", "export", "-o", output)
    assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert said.err.startswith(f"error: cannot write {output!r}: it ")
    assert len(cli("threads", "list", "--json").json) == len(saved)


def test_an_import_says_what_it_erased_and_can_be_told_not_to(cli: Cli, saved: list[ChatThread]) -> None:
    cli("threads", "export", "-o", "before.jsonl")
    message = saved[0].history[0].lineage_id.hex
    for database in ("one.db", "two.db"):
        cli("threads", "import", "before.jsonl", "-d", database)
    assert cli("threads", "erase", "sky", "--message", message, "--reason", "asked to", "--yes").code == 0
    cli("threads", "export", "-o", "after.jsonl")
    assert (
        cli("threads", "import", "after.jsonl", "-d", "one.db", "--no-erase").out == "0 new versions in 0 commits; 6 were there already\n"
    )
    assert "blue?" in cli("threads", "show", "sky", "-d", "one.db").out
    said = cli("threads", "import", "after.jsonl", "-d", "one.db").out.splitlines()
    assert said[1:] == ["1 objects were erased here, as they were where the export comes from"]
    assert "blue?" not in cli("threads", "show", "sky", "-d", "one.db").out
    assert cli("threads", "import", "after.jsonl", "-d", "two.db", "--json").json["erased"] == 1
    assert cli("threads", "import", "after.jsonl", "-d", "new.db").out.splitlines()[1:] == [
        "1 of the new versions came without content: they are erased here"
    ]


def _opens(process: Program, file: Path) -> bool:
    """Whether a process has this file open by now."""
    with suppress(OSError):
        return any(each.resolve() == file for each in Path(f"/proc/{process.pid}/fd").iterdir())
    return False


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks where Linux lists the files that a process has open")
@pytest.mark.usefixtures("saved")
def test_interrupted_an_import_says_that_the_same_command_goes_on(cli: Cli, tmp_path: Path, start: Callable[..., Program]) -> None:
    cli("threads", "export", "-o", "all.jsonl")
    other = with_tables(tmp_path / "other.db").removeprefix("sqlite:///")
    with closing(sqlite3.connect(other, isolation_level=None)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")  # so that it waits
        running = start("threads", "import", "all.jsonl", "-d", "other.db")
        while running.poll() is None and not _opens(running, Path(other)):
            os.sched_yield()
        running.send_signal(signal.SIGINT)
        somebody.execute("ROLLBACK")
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert err == "error: interrupted; what was added before stays, and the same command again adds the rest\n"
    assert cli("threads", "import", "all.jsonl", "-d", "other.db").code == 0
    assert cli("threads", "log", "sky", "-d", "other.db").out == cli("threads", "log", "sky").out
