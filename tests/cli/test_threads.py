"""`minference threads`: what is saved can be listed, read and compared by what a person types."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from minference.storage.open import open_storage
from minference.threads.attachments import FileAttachment, ImageAttachment, ImageLink
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt, ToolCall
from minference.threads.thread import ChatThread
from tests.cli.conftest import Cli
from tests.support.sqlite import with_tables


@pytest.fixture
def saved(tmp_path: Path) -> list[ChatThread]:
    """Two threads in minference.db: one of two versions that called a tool, one fresh and without a name."""

    async def save() -> list[ChatThread]:
        async with open_storage(with_tables(tmp_path / "minference.db")) as storage:
            thread = ChatThread(
                name="sky", llm_config=LLMConfig(client="scripted", model="m"), system_prompt=SystemPrompt(content="Be brief.")
            )
            thread.add_user_message("Why is the sky blue?")
            await storage.register(thread, author="ada", note="question")
            call = ToolCall(id="c1", name="look", arguments_json='{"up": true}')
            thread.history.append(ChatMessage(role=MessageRole.assistant, tool_calls=(call,)))
            thread.history.append(ChatMessage(role=MessageRole.tool, content="blue", tool_call_id="c1", tool_name="look"))
            thread.history[0].content = "Why is the sea blue?"
            await storage.register(thread, author="bob", note="answer")
            other = ChatThread(llm_config=LLMConfig(client="scripted", model="m"), new_message="Hello")
            await storage.register(other)
            return [thread, other]

    return asyncio.run(save())


def test_list_has_the_thread_saved_last_first(cli: Cli, saved: list[ChatThread]) -> None:
    thread, other = saved
    common = {"client": "scripted", "model": "m", "updated": ANY, "erased_at": None}
    assert cli("threads", "list", "--json").json == [
        {"thread": str(other.lineage_id), "version": str(other.ecs_id), "name": None, "messages": 0, "versions": 1, **common},
        {"thread": str(thread.lineage_id), "version": str(thread.ecs_id), "name": "sky", "messages": 3, "versions": 2, **common},
    ]
    table = cli("threads", "list").out.splitlines()
    assert table[0].split() == ["thread", "name", "messages", "model", "versions", "updated", "(UTC)"]
    assert table[2].split()[:5] == [thread.lineage_id.hex[-8:], "sky", "3", "scripted/m", "2"]


def test_list_says_how_many_more_there_are(cli: Cli, saved: list[ChatThread]) -> None:
    said = cli("threads", "list", "--limit", "1")
    assert (len(said.out.splitlines()), said.err) == (2, f"and {len(saved) - 1} more (--limit)\n")


def test_show_prints_roles_tool_calls_and_results(cli: Cli, saved: list[ChatThread]) -> None:
    said = cli("threads", "show", "sky")
    lines = [line for line in said.out.splitlines() if line]
    versions = [message.ecs_id.hex[-8:] for message in saved[0].history]
    assert lines[2:] == [
        "system",
        "Be brief.",
        f"user  {versions[0]}",
        "Why is the sea blue?",
        f"assistant  {versions[1]}",
        '-> look({"up": true})',
        f"tool look  {versions[2]}",
        "blue",
    ]


def test_show_as_json_holds_every_message(cli: Cli, saved: list[ChatThread]) -> None:
    data = cli("threads", "show", "sky", "--json").json
    assert (data["thread"], data["version"], data["system"]) == (str(saved[0].lineage_id), str(saved[0].ecs_id), "Be brief.")
    assert [(message["role"], message["content"], message["tool_calls"]) for message in data["messages"]] == [
        ("user", "Why is the sea blue?", []),
        ("assistant", "", [{"id": "c1", "name": "look", "arguments_json": '{"up": true}'}]),
        ("tool", "blue", []),
    ]


@pytest.mark.parametrize("name", ["lineage start", "lineage end", "version start", "version end", "dashes", "name", "@head"])
def test_a_thread_is_found_by_what_a_person_types(cli: Cli, saved: list[ChatThread], name: str) -> None:
    thread, other = saved
    typed, found = {
        "lineage start": (thread.lineage_id.hex, thread),
        "lineage end": (thread.lineage_id.hex[-8:], thread),
        "version start": (str(thread.ecs_id), thread),
        "version end": (thread.ecs_id.hex[-8:].upper(), thread),
        "dashes": (str(other.lineage_id), other),
        "name": ("sky", thread),
        "@head": ("@head", other),
    }[name]
    assert cli("threads", "show", typed, "--json").json["thread"] == str(found.lineage_id)


def test_an_older_version_can_be_shown(cli: Cli, saved: list[ChatThread]) -> None:
    older = str(saved[0].parent_id)
    for said in (cli("threads", "show", "sky", "--version", older[-8:], "--json"), cli("threads", "show", older, "--json")):
        assert [message["content"] for message in said.json["messages"]] == ["Why is the sky blue?"]


@pytest.mark.parametrize(
    ("typed", "why"),
    [("nobody", "give a name or at least 4 characters of an id"), ("01a", "give a name or at least"), ("dead" * 8, "give a name or")],
)
def test_what_names_nothing_is_one_clear_error(cli: Cli, saved: list[ChatThread], typed: str, why: str) -> None:
    assert saved
    said = cli("threads", "show", typed)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: no one thread or version is called {typed!r}: {why}")


def test_what_names_several_is_refused_with_their_ids(cli: Cli, saved: list[ChatThread]) -> None:
    common = saved[0].lineage_id.hex[:8]
    assert saved[1].lineage_id.hex.startswith(common)
    said = cli("threads", "show", common)
    assert said.code == 2
    assert "2 versions are called so: " in said.err


def test_log_tells_who_when_why_and_what(cli: Cli, saved: list[ChatThread]) -> None:
    thread = saved[0]
    entry: dict[str, Any] = {"created_at": ANY, "time": ANY, "commit": ANY, "tags": [], "erased_at": None}
    assert cli("threads", "log", "sky", "--json").json == [
        {
            "version": str(thread.ecs_id),
            "parent": str(thread.parent_id),
            "author": "bob",
            "note": "answer",
            "head": True,
            "changes": ["history + assistant calls look, tool 'blue', 1 changed"],
            **entry,
        },
        {
            "version": str(thread.parent_id),
            "parent": None,
            "author": "ada",
            "note": "question",
            "head": False,
            "changes": ["created, 1 message"],
            **entry,
        },
    ]
    table = cli("threads", "log", "sky").out.splitlines()
    assert table[1].startswith(f"{thread.ecs_id.hex[-8:]} (head)")
    assert "bob" in table[1]


def test_diff_compares_with_the_version_before(cli: Cli, saved: list[ChatThread]) -> None:
    assert cli("threads", "diff", "sky").out == cli("threads", "diff", str(saved[0].parent_id), str(saved[0].ecs_id)).out
    assert "~ content: Why is the [-sky-]{+sea+} blue?" in cli("threads", "diff", "sky").out
    changes = cli("threads", "diff", "sky", "--json").json["changes"]
    assert [(each["path"], each["change"]) for each in changes] == [
        ("history[0].content", "changed"),
        ("history[1]", "added"),
        ("history[2]", "added"),
    ]


def test_a_first_version_has_nothing_to_be_compared_with(cli: Cli, saved: list[ChatThread]) -> None:
    said = cli("threads", "diff", str(saved[1].ecs_id))
    assert said.code == 2
    assert "it is a first version, with nothing before it: name two versions to compare" in said.err


def test_a_file_that_is_no_database_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "garbage.db").write_text("no database")
    said = cli("threads", "list", "-d", "garbage.db")
    assert said.code == 3
    assert said.err.startswith("error: cannot open the database sqlite:///garbage.db: it is no SQLite database")


def test_content_cannot_steer_the_terminal(cli: Cli, tmp_path: Path) -> None:
    async def save() -> None:
        async with open_storage(with_tables(tmp_path / "minference.db")) as storage:
            config = LLMConfig(client="scripted", model="m")
            await storage.register(ChatThread(name="\x1b[2J[red]x", llm_config=config, new_message="\x1b]0;owned\x07"), note="\x1b[31m")

    asyncio.run(save())
    for command in (["list"], ["show", "@head"], ["log", "@head"]):
        said = cli("threads", *command)
        assert "\x1b" not in said.out
        assert said.code == 0
    assert "\\x1b[2J[red]x" in cli("threads", "list").out


@pytest.fixture
def shown(tmp_path: Path) -> ChatThread:
    """A thread of two versions in minference.db, whose message carries something, and then something else."""

    async def save() -> ChatThread:
        async with open_storage(with_tables(tmp_path / "minference.db")) as storage:
            thread = ChatThread(name="shown", llm_config=LLMConfig(client="scripted", model="m"))
            image = ImageAttachment.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2_000), "cat\x1b.png")
            thread.add_user_message("Look.", attachments=[image, ImageLink(name="dog", url="https://example.org/dog.png")])
            await storage.register(thread)
            thread.history[0].attachments = (FileAttachment.from_bytes(b"words", "w.txt"), image)
            await storage.register(thread)
            return thread

    return asyncio.run(save())


def test_show_lists_what_a_message_carries(cli: Cli, shown: ChatThread) -> None:
    said = cli("threads", "show", str(shown.parent_id))
    assert "[cat\\x1b.png: image/png, 2.0 kB]\n[dog: https://example.org/dog.png]\nLook." in said.out
    file, image = cli("threads", "show", "shown", "--json").json["messages"][0]["attachments"]
    assert file == {"name": "w.txt", "media_type": "text/plain", "size": 5, "sha256": hashlib.sha256(b"words").hexdigest()}
    assert image["size"] == 2_008


def test_diff_tells_what_was_added_to_a_message_and_what_was_taken_away(cli: Cli, shown: ChatThread) -> None:
    lines = cli("threads", "diff", "shown").out.splitlines()
    assert [line.split()[:2] for line in lines if "Attachment" in line or "Link" in line] == [["-", "[1]"], ["+", "[0]"]]
    assert any("ImageLink" in line and "dog.png" in line for line in lines)
    assert any("FileAttachment" in line and "w.txt" in line for line in lines)
    assert shown.name == "shown"
