"""What a person types names a thread or a version, or the error says what could have been meant."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from minference.cli.find import find_version
from minference.ecs.lineage import short_id
from minference.errors import UnknownThread
from minference.storage.base import EntityStorage
from minference.threads.thread import ChatThread
from tests.cli.conftest import Cli
from tests.cli.threads import a_thread, grown, in_database


@pytest.fixture
def saved(tmp_path: Path) -> list[UUID]:
    """The versions of the thread `sky`, the last but two tagged `main`; later another thread, `ann@home`, was saved."""

    async def save(storage: EntityStorage) -> list[UUID]:
        thread, versions = await grown(storage, "1", "2", "3", "4", "5", name="sky")
        await storage.tag("main", versions[2])
        await storage.tag("a tag@home", versions[1])
        other, _ = await grown(storage, "x", name="ann@home")
        await storage.tag("main", other)
        return [thread.lineage_id, *versions]

    return in_database(tmp_path, save)


def said(cli: Cli, *arguments: str) -> str:
    """What the messages of a thread hold."""
    shown = cli("threads", "show", *arguments, "--json")
    assert shown.code == 0, shown.err
    return "".join(message["content"] for message in shown.json["messages"])


@pytest.mark.parametrize(
    ("typed", "content"),
    [
        ("sky", "12345"),
        ("sky@head", "12345"),
        ("sky@{0}", "12345"),
        ("sky@{1}", "1234"),
        ("sky@{4}", "1"),
        ("sky@main", "123"),
        ("sky@a tag@home", "12"),
        ("ann@home", "x"),
        ("ann@home@main", "x"),
        ("@head", "x"),
        ("@main", "x"),
        ("@head@{0}", "x"),
        ("@{0}", "x"),
    ],
)
def test_a_thread_and_its_versions_have_names(cli: Cli, saved: list[UUID], typed: str, content: str) -> None:
    assert saved
    assert said(cli, typed) == content


@pytest.mark.parametrize("length", [8, 12, 32])
def test_ids_can_be_shortened_from_either_end(cli: Cli, saved: list[UUID], length: int) -> None:
    lineage, first, *_ = saved
    for typed, content in ((lineage.hex[-length:], "12345"), (first.hex[-length:], "1"), (f"sky@{first.hex[-length:]}", "1")):
        assert said(cli, typed) == content
    assert said(cli, str(first)) == "1"
    assert said(cli, f"{lineage.hex[-8:].upper()}@{{1}}") == "1234"


@pytest.mark.parametrize(("typed", "content"), [("main", "123"), ("@main", "123"), ("@{3}", "12"), ("{3}", "12"), ("head", "12345")])
def test_a_version_of_a_thread_can_be_named_by_itself(cli: Cli, saved: list[UUID], typed: str, content: str) -> None:
    assert said(cli, "sky", "--version", typed) == content
    assert said(cli, "sky@{2}", "--version", typed) == content
    assert said(cli, "sky", "--version", saved[1].hex[-6:]) == "1"


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("ski", "did you mean 'sky'?"),
        ("SKY", "did you mean 'sky'?"),
        ("ann@hone", "did you mean 'ann@home'?"),
        ("ski@main", "did you mean 'sky'?"),
        ("nothing at all", "give a name or at least 4 characters of an id from `minference threads list`"),
        ("sky@mian", "the thread has no such version; did you mean 'main'?"),
        ("sky@{5}", "the thread has 5 versions, and {0} is the newest"),
        ("sky@zzz", "the thread has no such version; its tags are 'a tag@home', 'main'; see `minference threads log"),
        ("ann@home@zzz", "the thread has no such version; its tags are 'main'; see"),
        ("sky@00000000", "the thread has no such version; its tags are"),
        ("@", "give a name"),
        ("sky@", "did you mean 'sky'?"),
        ("", "give a name"),
    ],
)
def test_what_is_not_there_is_said_with_what_may_have_been_meant(cli: Cli, saved: list[UUID], typed: str, why: str) -> None:
    assert saved
    shown = cli("threads", "show", typed)
    assert (shown.code, shown.out) == (2, "")
    assert why in shown.err


def test_of_several_the_candidates_are_told(cli: Cli, tmp_path: Path) -> None:
    async def save(storage: EntityStorage) -> list[ChatThread]:
        return [await storage.register(a_thread("x", name="twin")) for _ in range(2)]

    one, two = in_database(tmp_path, save)
    named = cli("threads", "show", "twin")
    assert (named.code, named.out) == (2, "")
    assert "2 versions are called so: " in named.err
    assert all(str(each.ecs_id) in named.err for each in (one, two))
    by_id = cli("threads", "show", one.lineage_id.hex[:8])
    assert by_id.err.count("(twin, 20") == 2
    assert said(cli, short_id(two.lineage_id)) == "x"


def test_a_name_comes_before_an_id_that_looks_like_it(cli: Cli, tmp_path: Path) -> None:
    async def save(storage: EntityStorage) -> None:
        thread = await storage.register(a_thread("by id"))
        await storage.register(a_thread("by name", name=thread.lineage_id.hex[-8:]))

    in_database(tmp_path, save)
    name = next(line["name"] for line in cli("threads", "list", "--json").json if line["name"])
    assert said(cli, name) == "by name"


def test_a_name_that_a_thread_had_once_is_not_its_name_any_more(cli: Cli, tmp_path: Path) -> None:
    async def save(storage: EntityStorage) -> None:
        thread = await storage.register(a_thread("x", name="before"))
        thread.name = "after"
        await storage.register(thread)

    in_database(tmp_path, save)
    assert said(cli, "after") == "x"
    assert cli("threads", "show", "before").code == 2


def test_an_empty_database_says_so(cli: Cli, tmp_path: Path) -> None:
    async def nothing(_storage: EntityStorage) -> None:
        """Only the tables are made."""

    in_database(tmp_path, nothing)
    for typed in ("@head", "sky", "@{1}"):
        assert "the database holds no threads yet" in cli("threads", "show", typed).err
    assert cli("threads", "list").out == "no threads yet\n"


@pytest.mark.parametrize("typed", ["\ud800", "sky@\udfff", "a\0b", "@\ud800", ""])
async def test_what_is_no_text_names_nothing(storage: EntityStorage, typed: str) -> None:
    await storage.register(a_thread(name="sky"))
    with pytest.raises(UnknownThread):
        await find_version(storage, typed)


async def test_a_thread_whose_name_is_half_a_character_is_found_by_it(storage: EntityStorage) -> None:
    thread = await storage.register(a_thread(name="\ud800"))
    assert (await find_version(storage, "\ud800")).ecs_id == thread.ecs_id
