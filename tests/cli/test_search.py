"""`minference threads search`: messages are found by their words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from tests.cli.conftest import Cli
from tests.support.sqlite import with_tables


@pytest.fixture
def saved(tmp_path: Path) -> ChatThread:
    """A thread with two messages in minference.db."""

    async def save() -> ChatThread:
        async with open_storage(with_tables(tmp_path / "minference.db")) as storage:
            thread = ChatThread(name="sky", llm_config=LLMConfig(client="scripted", model="m"))
            for text in ("Why is the sky\nblue?", "Rayleigh \x1b[31m scattering"):
                thread.history.append(ChatMessage(role=MessageRole.user, content=text))
            return await storage.register(thread)

    return asyncio.run(save())


def test_a_message_is_found_with_its_threads(cli: Cli, saved: ChatThread) -> None:
    message = saved.history[0]
    assert cli("threads", "search", "blue", "SKY", "--json").json == [
        {
            "message": str(message.lineage_id),
            "version": str(message.ecs_id),
            "created_at": message.created_at.isoformat(),
            "threads": [str(saved.lineage_id)],
            "text": "Why is the sky blue?",
        }
    ]
    lines = cli("threads", "search", "blue").out.splitlines()
    assert lines[0].split() == ["message", "threads", "saved", "(UTC)", "text"]
    assert lines[1].split()[:2] == [message.ecs_id.hex[-8:], saved.lineage_id.hex[-8:]]


def test_what_would_steer_the_terminal_is_shown(cli: Cli, saved: ChatThread) -> None:
    said = cli("threads", "search", "scattering")
    assert "\x1b" not in said.out
    assert saved


def test_nothing_found_is_said(cli: Cli, saved: ChatThread) -> None:
    said = cli("threads", "search", "green")
    assert (said.code, said.out, said.err) == (0, "", "no message holds all these words\n")
    assert cli("threads", "search", "green", "--json").json == []
    assert saved


def test_the_index_does_not_hinder_checks_and_stats(cli: Cli, saved: ChatThread) -> None:
    cli("threads", "search", "blue")
    assert cli("db", "check").out == "all is well\n"
    assert cli("db", "stats", "--json").json["tables"]["chat_message_content_words"]["rows"] == 2
    assert saved
