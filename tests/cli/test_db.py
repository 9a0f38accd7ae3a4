"""`minference db`: the database as a whole can be checked and measured."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from tests.cli.conftest import Cli
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
    assert {"rule": "rows of versions", "text": f"version {saved.history[0].ecs_id} has no row in chat_message"} in said.json
    plain = cli("db", "check")
    assert (plain.code, plain.err) == (3, "1 findings: restore a backup, or export what can be loaded (`minference threads export`)\n")
    assert str(saved.history[0].ecs_id) in plain.out


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
