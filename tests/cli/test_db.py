"""`minference db`: the database as a whole can be checked and measured."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from tests.cli.conftest import Cli
from tests.storage.programs import run_program
from tests.storage.tables import damage
from tests.support.sqlite import with_tables


@pytest.fixture
def saved(tmp_path: Path) -> ChatThread:
    """A thread with one message in minference.db."""

    async def save() -> ChatThread:
        async with open_storage(with_tables(tmp_path / "minference.db")) as storage:
            thread = ChatThread(name="sky", llm_config=LLMConfig(client="scripted", model="m"))
            thread.history.append(ChatMessage(role=MessageRole.user, content="Why?"))
            return await storage.register(thread)

    return asyncio.run(save())


def test_a_sound_database_is_well(cli: Cli, saved: ChatThread) -> None:
    said = cli("db", "check")
    assert (said.code, said.out, said.err) == (0, "all is well\n", "")
    assert cli("db", "check", "--json").json == []
    assert saved


def test_threads_are_known_to_a_process_that_only_checks(process: Cli, saved: ChatThread) -> None:
    assert process("db", "check").out == "all is well\n"
    assert process("db", "stats", "--json").json["kinds"]["chat_thread"] == {"versions": 1, "lineages": 1}
    assert saved


def test_what_is_wrong_is_told_and_is_the_exit_code(cli: Cli, saved: ChatThread, tmp_path: Path) -> None:
    asyncio.run(damage(f"sqlite:///{tmp_path / 'minference.db'}", "DELETE FROM chat_message"))
    said = cli("db", "check", "--json")
    assert said.code == 3
    assert said.json == [
        {"rule": "rows of versions", "text": f"version {saved.history[0].ecs_id} has no row in chat_message", "fault": True}
    ]
    plain = cli("db", "check")
    assert plain.code == 3
    assert plain.err.startswith("1 finding: restore a backup, or export what can be loaded (`minference threads export THREAD`, or --every")
    assert str(saved.history[0].ecs_id) in plain.out


NOTE = """
class Note(Entity, kind="note"):
    title: str

async def main(storage):
    return str((await storage.register(Note(title="a"))).ecs_id)
"""

MEMO = """
from minference import Entity

class Memo(Entity, kind="memo", aliases=("note",)):
    title: str
"""

RENAMED = """
async def main(storage, note):
    memo = await storage.get(Memo, UUID(note))
    memo.title = "b"
    await storage.register(memo)
"""


def test_entities_of_an_application_are_no_fault_and_are_checked_whole_if_their_module_is_imported(process: Cli, tmp_path: Path) -> None:
    url = with_tables(tmp_path / "minference.db")
    note = asyncio.run(run_program(NOTE, url))
    asyncio.run(run_program(MEMO + RENAMED, url, note))
    (tmp_path / "my_notes.py").write_text(MEMO)
    said = process("db", "check")
    assert (said.code, said.err) == (0, "such a module is named with --import MODULE\n")
    assert [line.partition(", which")[0].split(" are of kind ")[-1] for line in said.out.splitlines()] == ["all is well", "note", "memo"]
    assert [finding["fault"] for finding in process("db", "check", "--json").json] == [False, False]
    whole = process("db", "check", "--import", "my_notes")
    assert (whole.code, whole.out, whole.err) == (0, "all is well\n", "")
    asyncio.run(damage(url, "DELETE FROM entity_any"))
    assert process("db", "check", "--import", "my_notes").code == 3
    wrong = process("db", "check", "--import", "no_such_module")
    assert (wrong.code, wrong.out) == (2, "")
    assert "cannot import no_such_module" in wrong.err


def test_triggers_that_are_missing_are_told_with_what_sets_them_up(cli: Cli, saved: ChatThread, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "minference.db")) as connection, connection:
        connection.execute("DROP TRIGGER guard_update_chat_message")
    said = cli("db", "check")
    assert (said.code, said.err) == (3, "1 finding: `minference db upgrade` sets up the triggers\n")
    assert "1 are set up now" in cli("db", "upgrade").err
    assert cli("db", "check").out == "all is well\n"
    assert saved


def test_stats_tell_how_much_there_is(cli: Cli, saved: ChatThread) -> None:
    data = cli("db", "stats", "--json").json
    one = {"versions": 1, "lineages": 1}
    assert data["kinds"] == {"chat_message": one, "chat_thread": one, "llm_config": one}
    assert data["tables"]["run_item"] == {"rows": 1, "bytes": None}
    assert data["bytes"] > 10_000
    assert "chat_thread" in cli("db", "stats").out
    assert saved


def test_upgrading_what_is_up_to_date_says_so(cli: Cli, saved: ChatThread) -> None:
    assert cli("db", "upgrade").out.endswith("minference.db is up to date\n")
    assert saved


def test_a_database_that_is_not_there_is_not_made(cli: Cli, tmp_path: Path) -> None:
    said = cli("db", "check", "-d", "none.db")
    assert (said.code, said.out) == (3, "")
    assert not (tmp_path / "none.db").exists()
