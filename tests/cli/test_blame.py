"""`minference threads blame`: who wrote each message, and who added it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import ANY

import pytest

from minference.storage.base import EntityStorage
from minference.threads.thread import ChatThread
from tests.cli.conftest import Cli
from tests.cli.threads import a_thread, in_database, say


@pytest.fixture
def edited(tmp_path: Path) -> ChatThread:
    """A thread of which ann wrote three messages, and bob another and the second anew."""

    async def save(storage: EntityStorage) -> ChatThread:
        thread = await storage.register(a_thread("q1", "a1", "q2", name="sky"), author="ann")
        say(thread, "a2")
        thread.history[1].content = "A1"
        return await storage.register(thread, author="bob", note="better")

    return in_database(tmp_path, save)


def test_each_message_has_an_author(cli: Cli, edited: ChatThread) -> None:
    lines = cli("threads", "blame", "sky").out.splitlines()
    assert lines[0].split() == ["#", "message", "written", "by", "written", "(UTC)", "added", "by", "added", "(UTC)", "text"]
    begin = [[str(place), message.ecs_id.hex[-8:]] for place, message in enumerate(edited.history)]
    assert [line.split()[:2] for line in lines[1:]] == begin
    assert [line.split()[2] for line in lines[1:]] == ["ann", "bob", "ann", "bob"]
    assert ["ann" in line.split()[3:] for line in lines[1:]] == [False, True, False, False]
    assert "assistant 'A1'" in lines[2]


def test_blame_as_data_names_the_commits(cli: Cli, edited: ChatThread) -> None:
    data = cli("threads", "blame", "sky", "--json").json
    ann = {"commit": ANY, "at": ANY, "author": "ann", "note": None}
    bob = {"commit": ANY, "at": ANY, "author": "bob", "note": "better"}
    assert data[1] == {
        "index": 1,
        "message": str(edited.history[1].lineage_id),
        "version": str(edited.history[1].ecs_id),
        "role": "assistant",
        "written": bob,
        "added": ann,
    }
    assert [(each["written"], each["added"]) for each in data] == [(ann, ann), (bob, ann), (ann, ann), (bob, bob)]


def test_blame_can_be_of_an_older_version_and_of_a_part(cli: Cli, edited: ChatThread) -> None:
    assert [each["written"]["author"] for each in cli("threads", "blame", "sky@{1}", "--json").json] == ["ann", "ann", "ann"]
    assert [each["index"] for each in cli("threads", "blame", "sky", "--first", "2", "--json").json] == [0, 1]
    said = cli("threads", "blame", "sky", "--last", "1")
    assert (len(said.out.splitlines()), said.err) == (2, "and 3 more messages (--first N, --last N, --all)\n")
    assert edited


def test_a_thread_without_messages_has_no_lines(cli: Cli, tmp_path: Path) -> None:
    async def save(storage: EntityStorage) -> None:
        await storage.register(a_thread(name="empty"))

    in_database(tmp_path, save)
    assert cli("threads", "blame", "empty", "--json").json == []
    assert len(cli("threads", "blame", "empty").out.splitlines()) == 1
