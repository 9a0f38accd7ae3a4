"""`minference threads erase`: says what will be erased, asks, and is asked for by nobody by mistake."""

from __future__ import annotations

import asyncio
import os
import pty
import sqlite3
from contextlib import closing
from pathlib import Path
from subprocess import PIPE
from typing import Any
from unittest.mock import ANY

import pytest

from minference.storage.open import open_storage
from minference.threads.thread import ChatThread
from tests.cli.conftest import MODULE, Cli
from tests.storage.erasures import a_full_thread, a_thread, files_with, reply, said
from tests.support.nursery import Program
from tests.support.sqlite import with_tables

SECRET = "Wintermute"


@pytest.fixture
def saved(tmp_path: Path) -> list[ChatThread]:
    """Two threads in minference.db that share a message; the first has a reply with outputs."""

    async def save() -> list[ChatThread]:
        async with open_storage(with_tables(tmp_path / "minference.db")) as storage:
            one, two = a_full_thread(SECRET), a_thread("b", name="two")
            one.name = "one"
            two.history.append(one.history[0])
            await storage.register(one, two)
            await reply(storage, one, SECRET)
            return [one, two]

    return asyncio.run(save())


def answer(tmp_path: Path, text: str, *arguments: str) -> tuple[int, str, str]:
    """Run a command whose stdin is a terminal at which somebody types this; its exit code, stdout and stderr."""
    ours, its = pty.openpty()
    try:
        with Program(MODULE, *arguments, cwd=tmp_path, stdin=its, stdout=PIPE, stderr=PIPE) as process:
            os.write(ours, f"{text}\n".encode())
            out, err = process.communicate(timeout=120)
            return process.wait(), out, err
    finally:
        os.close(ours)
        os.close(its)


def test_a_thread_is_erased_and_what_that_was_is_said(cli: Cli, saved: list[ChatThread], tmp_path: Path) -> None:
    thread, other = saved
    done = cli("threads", "erase", "one", "--reason", "asked to", "--author", "ann", "--yes", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json == {
        "lineage": str(thread.lineage_id),
        "erased_at": ANY,
        "reason": "asked to",
        "author": "ann",
        "already": False,
        "kinds": {
            "callable_tool": {"objects": 1, "versions": 1},
            "chat_message": {"objects": 2, "versions": 2},
            "chat_thread": {"objects": 1, "versions": 2},
            "generated_json_object": {"objects": 1, "versions": 1},
            "llm_config": {"objects": 1, "versions": 1},
            "processed_output": {"objects": 1, "versions": 1},
            "raw_output": {"objects": 1, "versions": 1},
            "system_prompt": {"objects": 1, "versions": 1},
        },
        "affected": [str(other.lineage_id)],
        "kept": [],
        "remains": [],
    }
    assert files_with(f"sqlite:///{tmp_path / 'minference.db'}", SECRET) == []
    assert cli("db", "check").out == "all is well\n"


def test_what_is_erased_is_shown_as_erased(cli: Cli, saved: list[ChatThread]) -> None:
    thread, other = saved
    name = thread.lineage_id.hex[-8:]
    assert cli("threads", "erase", "one", "--reason", "asked to", "--yes").out.startswith(
        "erased callable_tool 1 (1 version), chat_message"
    )
    shown = [line for line in cli("threads", "show", name).out.splitlines() if line]
    assert shown[0] == f"thread {name} (erased)"
    assert shown.count("(erased)") == 3
    assert "-> look({})" in shown
    assert "(erased)" in cli("threads", "show", "two").out
    assert f"{name}  (erased)" in cli("threads", "list").out
    log = cli("threads", "log", name).out
    assert log.count("(erased 20") == 2
    assert "history + user (erased)" not in log
    [entry, _] = cli("threads", "log", name, "--json").json
    assert entry["erased_at"] is not None
    shells = cli("threads", "show", name, "--json").json
    assert (shells["erased"], [message["erased"] for message in shells["messages"]]) == (True, [True, True])
    [listed] = [each for each in cli("threads", "list", "--json").json if each["thread"] == str(thread.lineage_id)]
    assert listed["erased_at"] == entry["erased_at"]
    diff = cli("threads", "diff", other.lineage_id.hex, other.lineage_id.hex)
    assert SECRET not in diff.out + cli("threads", "diff", name).out


def test_one_message_is_erased_by_the_id_that_show_prints(cli: Cli, saved: list[ChatThread]) -> None:
    thread = saved[0]
    shown = thread.history[1].ecs_id.hex[-8:]
    done = cli("threads", "erase", "one", "--message", shown, "--reason", "asked to", "--yes", "--json").json
    assert (done["lineage"], done["affected"]) == (str(thread.history[1].lineage_id), [str(thread.lineage_id)])
    messages = cli("threads", "show", "one", "--json").json["messages"]
    assert [message["erased"] for message in messages] == [False, True]
    again = cli("threads", "erase", "one", "--message", shown, "--reason", "once more", "--yes")
    assert again.code == 0
    assert again.out.startswith("it was erased already, ")
    assert again.out.endswith("asked to\n")


def test_a_message_of_an_older_version_is_found(cli: Cli, saved: list[ChatThread], tmp_path: Path) -> None:
    async def drop() -> str:
        async with open_storage(with_tables(tmp_path / "minference.db")) as storage:
            thread = await storage.get(ChatThread, saved[1].ecs_id)
            thread.history.append(said(SECRET))
            await storage.register(thread)
            dropped = thread.history.pop().ecs_id
            await storage.register(thread)
            return dropped.hex

    dropped = asyncio.run(drop())
    assert cli("threads", "erase", "two", "--message", dropped, "--reason", "asked to", "--yes").code == 0


@pytest.mark.parametrize(("typed", "why"), [("dead" * 8, "none of the thread's messages are called so"), ("a", "are called so")])
def test_what_names_no_message_erases_nothing(cli: Cli, saved: list[ChatThread], typed: str, why: str) -> None:
    refused = cli("threads", "erase", "one", "--message", typed, "--reason", "asked to", "--yes")
    assert (refused.code, refused.out) == (2, "")
    assert why in refused.err
    assert saved
    assert SECRET in cli("threads", "show", "one").out


def test_shared_messages_can_be_kept(cli: Cli, saved: list[ChatThread]) -> None:
    done = cli("threads", "erase", "one", "--reason", "asked to", "--keep-shared", "--yes", "--json").json
    assert str(saved[0].history[0].lineage_id) in done["kept"]
    assert f"question {SECRET}" in cli("threads", "show", "two").out


def test_without_a_terminal_nothing_is_erased_unless_yes_is_said(process: Cli, saved: list[ChatThread]) -> None:
    refused = process("threads", "erase", "one", "--reason", "asked to", stdin="y\n")
    assert (refused.code, refused.out) == (2, "")
    assert "erasing cannot be undone and there is no terminal to ask: pass --yes if that is meant" in refused.err
    assert saved
    assert SECRET in process("threads", "show", "one").out


def test_the_question_says_what_and_whom_it_concerns_and_yes_erases(saved: list[ChatThread], tmp_path: Path, cli: Cli) -> None:
    thread, other = saved
    code, out, err = answer(tmp_path, "y", "threads", "erase", "one", "--reason", "asked to")
    assert (code, out.startswith("erased ")) == (0, True)
    assert f"this takes the content out of the thread {thread.lineage_id.hex[-8:]}: callable_tool 1 (1 version)" in err
    assert f"it is held by {other.lineage_id.hex[-8:]}, which will show it as erased" in err
    assert "Erase it for ever?" in err
    assert SECRET not in cli("threads", "show", "two").out


@pytest.mark.parametrize("text", ["n", "", "what?"])
def test_any_other_answer_erases_nothing(saved: list[ChatThread], tmp_path: Path, cli: Cli, text: str) -> None:
    code, out, err = answer(tmp_path, text, "threads", "erase", "one", "--reason", "asked to", "--json")
    assert (code, out, err.splitlines()[-1].endswith("nothing was erased")) == (1, "", True)
    assert saved
    assert SECRET in cli("threads", "show", "one").out


@pytest.mark.parametrize("options", [("--reason", " "), ()])
def test_a_reason_is_asked_for(cli: Cli, saved: list[ChatThread], options: tuple[str, ...]) -> None:
    refused = cli("threads", "erase", "one", "--yes", *options)
    assert (refused.code, refused.out) == (2, "")
    assert "--reason" in refused.err
    assert saved


def test_copies_that_remain_are_said_and_change_the_exit_code(cli: Cli, saved: list[ChatThread], tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "minference.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM chat_message").fetchall()
        done = cli("threads", "erase", "one", "--reason", "asked to", "--yes", "--json")
        reader.execute("ROLLBACK")
    assert done.code == 3
    assert "it remains: the file and its write-ahead log hold it until those who read or write now are done" in done.err
    remains: list[Any] = done.json["remains"]
    assert len(remains) == 1
    assert cli("threads", "erase", saved[0].lineage_id.hex, "--reason", "again", "--yes").code == 0
    assert files_with(f"sqlite:///{tmp_path / 'minference.db'}", SECRET) == []
