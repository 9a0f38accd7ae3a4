"""`minference threads branch`, `merge` and `revert`: other ways to go on from a version."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import ANY
from uuid import UUID

import pytest

from minference.ecs.lineage import short_id
from minference.storage.base import EntityStorage
from minference.testing import ProviderServer
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from tests.cli.conftest import Cli
from tests.cli.threads import a_thread, contents, grown, in_database, say


@pytest.fixture
def line(tmp_path: Path) -> list[UUID]:
    """Four versions of the thread `sky`, a message each; the second has the tag `early`."""

    async def save(storage: EntityStorage) -> list[UUID]:
        _, versions = await grown(storage, "q1", "a1", "q2", "a2", name="sky")
        await storage.tag("early", versions[1])
        return versions

    return in_database(tmp_path, save)


@pytest.fixture
def forked(tmp_path: Path) -> dict[str, UUID]:
    """The thread `sky` with tags: `base`, and the branches `main`, `other` and `clash` from it; other edits the first message."""

    async def save(storage: EntityStorage) -> dict[str, UUID]:
        thread, [base, *_] = await grown(storage, "q1", name="sky")
        versions = {"base": base}
        for name, first, added in (("main", "q1", "a1"), ("other", "edited", ""), ("clash", "q1", "another a1")):
            thread = await storage.get(ChatThread, base)
            thread.history[0].content = first
            if added:
                say(thread, added)
            await storage.register(thread, author=name)
            versions[name] = thread.ecs_id
        for name, version in versions.items():
            await storage.tag(name, version)
        return versions

    return in_database(tmp_path, save)


def versions_in(folder: Path) -> int:
    """How many versions the only thread has."""

    async def count(storage: EntityStorage) -> int:
        [head] = await storage.list_by_type(ChatThread)
        return await storage.length(head.lineage_id)

    return in_database(folder, count)


def test_saying_something_at_an_old_version_makes_a_branch(cli: Cli, line: list[UUID], tmp_path: Path) -> None:
    said = cli("threads", "branch", "sky", "--at", "early", "--say", "Really?", "--author", "eve", "--note", "doubt", "--json")
    assert said.err == ""
    made = UUID(said.json["version"])
    assert said.json == {"thread": ANY, "version": str(made), "made_from": str(line[1]), "saved": True, "branch": True, "tag": None}
    assert contents(tmp_path, made) == ["q1", "a1", "Really?"]
    [entry] = [each for each in cli("threads", "log", "sky", "--json").json if each["version"] == str(made)]
    assert (entry["author"], entry["note"], entry["parent"], entry["head"]) == ("eve", "doubt", str(line[1]), True)
    assert contents(tmp_path, line[3]) == ["q1", "a1", "q2", "a2"]


def test_a_branch_tells_where_to_go_on(cli: Cli, line: list[UUID]) -> None:
    said = cli("threads", "branch", f"sky@{{{2}}}", "--say", "Really?", "--name", "doubt")
    version = cli("threads", "tags", "sky", "--json").json[0]["version"]
    assert said.out == f"saved version {version[-8:]}, called 'doubt', made from {short_id(line[1])}: a new branch\n"
    thread = cli("threads", "list", "--json").json[0]["thread"][-8:]
    assert said.err == f"go on there: minference chat --thread {thread}@doubt\n"
    assert cli("threads", "log", "sky", "--json").json[0]["note"] == f"branch at {short_id(line[1])}"


def test_a_version_is_named_to_begin_a_branch_later(cli: Cli, line: list[UUID], tmp_path: Path) -> None:
    said = cli("threads", "branch", "sky", "--at", "@{1}", "--name", "before the end")
    assert said.out == f"version {short_id(line[2])} is called 'before the end': what is saved there next begins a branch\n"
    assert said.err.endswith("@before the end'\n")
    assert versions_in(tmp_path) == 4
    again = cli("threads", "branch", "sky", "--at", "@{1}", "--name", "before the end", "--json").json
    assert again == {
        "thread": ANY,
        "version": str(line[2]),
        "made_from": str(line[2]),
        "saved": False,
        "branch": True,
        "tag": "before the end",
    }
    assert "what is saved there next continues it" in cli("threads", "branch", "sky", "--name", "end").out


def test_chat_goes_on_at_the_branch(cli: Cli, process: Cli, line: list[UUID], tmp_path: Path, server: ProviderServer) -> None:
    async def use_openai(storage: EntityStorage) -> UUID:
        thread = await storage.get(ChatThread, line[1])
        thread.llm_config = LLMConfig(client="openai", model="m")
        return (await storage.register(thread)).ecs_id

    at = in_database(tmp_path, use_openai)
    cli("threads", "branch", str(at), "--say", "Really?", "--name", "doubt")
    said = process("chat", "--thread", "sky@doubt", stdin="And then?\n")
    assert (said.code, said.out) == (0, "You said: Really?\nYou said: And then?\n"), said.err
    newest = UUID(cli("threads", "log", "sky", "--limit", "1", "--json").json[0]["version"])
    assert contents(tmp_path, newest) == ["q1", "a1", "Really?", "You said: Really?", "And then?", "You said: And then?"]
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "pass --say TEXT to save a user message there, --name TAG"),
        (["--name", "early"], "tag 'early' names version"),
        (["--say", "x", "--name", "early"], "tag 'early' names version"),
        (["--name", "head"], "'head' cannot be a tag"),
        (["--name", "{3}"], "cannot be a tag"),
        (["--name", "a@b"], "cannot be a tag"),
        (["--name", " "], "cannot be a tag: use 1 to 200 printable characters"),
        (["--at", "@{2}", "--say", "x", "--name", ""], "cannot be a tag"),
        (["--at", "@{1}", "--say", "x"], "the thread waits for an answer, and not for the user"),
        (["--at", "nothing", "--say", "x"], "the thread has no such version"),
    ],
)
def test_what_cannot_begin_a_branch_changes_nothing(cli: Cli, line: list[UUID], tmp_path: Path, arguments: list[str], why: str) -> None:
    said = cli("threads", "branch", "sky", *arguments)
    assert (said.code, said.out) == (2, "")
    assert why in said.err
    assert (versions_in(tmp_path), [tag["version"] for tag in cli("threads", "tags", "sky", "--json").json]) == (4, [str(line[1])])


def test_one_goes_on_from_a_reply_that_broke_off(cli: Cli, tmp_path: Path) -> None:
    async def save(storage: EntityStorage) -> None:
        thread = a_thread("q", name="half")
        thread.history.append(ChatMessage(role=MessageRole.assistant, content="Well", finish_reason=FinishReason.broken_off))
        await storage.register(thread)

    in_database(tmp_path, save)
    assert cli("threads", "branch", "half", "--say", "x").code == 0
    assert "ended by broken_off" in cli("threads", "show", "half").out


def test_nothing_is_said_where_tool_calls_wait(cli: Cli, tmp_path: Path) -> None:
    async def save(storage: EntityStorage) -> None:
        thread = a_thread("q", name="tools")
        thread.history.append(ChatMessage(role=MessageRole.assistant, tool_calls=(ToolCall(id="c", name="look"),)))
        await storage.register(thread)

    in_database(tmp_path, save)
    assert "waits for an answer" in cli("threads", "branch", "tools", "--say", "x").err


def test_a_tag_moves_with_the_new_version_when_asked_to(cli: Cli, line: list[UUID]) -> None:
    made = cli("threads", "branch", "sky@early", "--say", "x", "--name", "early", "--move", "--json").json
    assert made["made_from"] == str(line[1])
    assert cli("threads", "tags", "sky", "--json").json == [{"tag": "early", "version": made["version"], "created_at": ANY}]


def test_two_branches_are_merged_and_the_changes_are_printed(cli: Cli, forked: dict[str, UUID], tmp_path: Path) -> None:
    said = cli("threads", "merge", "sky@main", "sky@other", "--author", "eve", "--note", "both")
    assert (said.code, said.err) == (0, "")
    first, *rest = said.out.splitlines()
    entry = cli("threads", "log", "sky", "--limit", "1", "--json").json[0]
    assert first == f"merged {short_id(forked['other'])} into {short_id(forked['main'])}: saved version {entry['version'][-8:]}"
    assert "~ content: [-q1-]{+edited+}" in "\n".join(rest)
    assert contents(tmp_path, UUID(entry["version"])) == ["edited", "a1"]
    assert (entry["author"], entry["parent"]) == ("eve", str(forked["main"]))
    assert entry["note"] == f"both (merge {forked['other']} into {forked['main']})"


def test_a_merge_as_data(cli: Cli, forked: dict[str, UUID]) -> None:
    data = cli("threads", "merge", "sky@main", "sky@other", "--json").json
    assert data == {
        "ours": str(forked["main"]),
        "theirs": str(forked["other"]),
        "base": str(forked["base"]),
        "version": ANY,
        "saved": True,
        "conflicts": [],
        "diff": ANY,
    }
    assert [change["path"] for change in data["diff"]["changes"]] == ["history[0].content"]


def test_conflicts_are_told_and_nothing_is_saved(cli: Cli, forked: dict[str, UUID], tmp_path: Path) -> None:
    said = cli("threads", "merge", "sky@main", "sky@clash")
    assert said.code == 4
    assert said.out.splitlines()[0].split() == ["where", "before", "ours", "theirs"]
    assert "content='a1'" in said.out
    assert said.err == (
        "1 conflict, nothing was saved: choose a side with --strategy ours or theirs, or --strategy append to keep what both added\n"
    )
    data = cli("threads", "merge", "sky@main", "sky@clash", "--json")
    assert (data.code, data.json["saved"], data.json["version"]) == (4, False, str(forked["main"]))
    assert data.json["conflicts"] == [
        {
            "path": "history[1]",
            "base": [],
            "ours": [{"version": ANY, "text": ANY}],
            "theirs": [{"version": ANY, "text": ANY}],
        }
    ]
    assert versions_in(tmp_path) == 4


@pytest.mark.parametrize(
    ("strategy", "said"), [("ours", ["q1", "a1"]), ("theirs", ["q1", "another a1"]), ("append", ["q1", "a1", "another a1"])]
)
def test_a_strategy_settles_conflicts(cli: Cli, forked: dict[str, UUID], tmp_path: Path, strategy: str, said: list[str]) -> None:
    data = cli("threads", "merge", "sky@main", str(forked["clash"]), "--strategy", strategy, "--json").json
    assert contents(tmp_path, UUID(data["version"])) == said
    assert data["saved"] is True
    again = cli("threads", "merge", data["version"], str(forked["clash"]))
    assert again.out.startswith("nothing to merge: ")


def test_a_version_that_came_from_the_other_needs_no_merge(cli: Cli, forked: dict[str, UUID], tmp_path: Path) -> None:
    base, main = short_id(forked["base"]), short_id(forked["main"])
    told = f"nothing to merge: {main} came from {base}, or merged it, and has all of it\n"
    assert cli("threads", "merge", "sky@main", "sky@base").out == told
    assert cli("threads", "merge", "sky@base", "sky@main").out.startswith(told)
    assert versions_in(tmp_path) == 4


def test_versions_of_two_threads_are_not_merged(cli: Cli, forked: dict[str, UUID], tmp_path: Path) -> None:
    async def save(storage: EntityStorage) -> UUID:
        return (await storage.register(a_thread("x", name="sea"))).ecs_id

    in_database(tmp_path, save)
    said = cli("threads", "merge", "sky@main", "sea")
    assert (said.code, said.out) == (2, "")
    assert "have no common ancestor: take two versions of one lineage" in said.err
    assert cli("threads", "merge", "sky@main", "sky@other", "--strategy", "both").code == 2
    assert forked


def test_a_revert_saves_the_old_version_as_the_next_and_prints_what_that_changed(cli: Cli, line: list[UUID], tmp_path: Path) -> None:
    said = cli("threads", "revert", "sky", "--to", "early", "--author", "eve")
    entry = cli("threads", "log", "sky", "--limit", "1", "--json").json[0]
    assert said.out.splitlines()[0] == f"reverted to {short_id(line[1])}: saved version {entry['version'][-8:]}"
    assert "- [2] ChatMessage" in said.out
    assert (entry["author"], entry["note"], entry["parent"]) == ("eve", f"revert to {line[1]}", str(line[3]))
    assert contents(tmp_path, UUID(entry["version"])) == ["q1", "a1"]
    data = cli("threads", "revert", "sky", "--to", "@{1}", "--note", "back", "--json").json
    assert {name: data[name] for name in ("before", "to", "saved")} == {"before": entry["version"], "to": str(line[3]), "saved": True}
    assert contents(tmp_path, UUID(data["version"])) == ["q1", "a1", "q2", "a2"]


def test_a_revert_to_the_same_content_saves_nothing(cli: Cli, line: list[UUID], tmp_path: Path) -> None:
    short = short_id(line[3])
    assert cli("threads", "revert", "sky", "--to", "@head").out == f"nothing to revert: {short} holds what {short} does\n"
    assert cli("threads", "revert", "sky", "--to", "@head", "--json").json["saved"] is False
    assert versions_in(tmp_path) == 4
    missing = cli("threads", "revert", "sky", "--to", "nothing")
    assert (missing.code, versions_in(tmp_path)) == (2, 4)


def test_whoever_is_logged_in_is_the_author(cli: Cli, line: list[UUID], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "grace")
    cli("threads", "revert", "sky", "--to", "early")
    assert cli("threads", "log", "sky", "--limit", "1", "--json").json[0]["author"] == "grace"
    monkeypatch.setenv("MINFERENCE_AUTHOR", "hopper")
    cli("threads", "revert", "sky", "--to", str(line[3]))
    assert cli("threads", "log", "sky", "--limit", "1", "--json").json[0]["author"] == "hopper"
