"""A database as revision 0001 wrote it is upgraded, and every version in it is as it was."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

import minference.threads.tables  # noqa: F401 - declares the tables
from minference.ecs.entity import Entity
from minference.errors import OutdatedDatabase, ReadFailed
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.sql.dialects import open_engine
from minference.storage.sql.migrations import HEAD
from minference.storage.sql.opening import open_database
from minference.threads.thread import ChatThread
from tests.storage.first_release import LoudMessage, Shelf, exported_then, load_first_release
from tests.storage.tables import broken_rules, rows_of
from tests.support.exports import HEADER_WITHOUT_END


@pytest.fixture
async def old_url(empty_sql_url: str) -> str:
    """A database with the tables and rows of revision 0001."""
    await load_first_release(empty_sql_url)
    return empty_sql_url


@pytest.fixture
async def upgraded(old_url: str) -> AsyncIterator[EntityStorage]:
    """The same, opened by the minference of now."""
    async with open_storage(old_url) as storage:
        yield storage


ADDED_SINCE = ("resolve_references", "source_text", "cost_usd", "from_cache")
"""Plain fields that the first revision had not."""


def _plain(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What an export says of versions, whatever its format says of shapes and tags, and of their order in a commit."""
    lines = [line for line in lines if "versions" in line]
    for line in lines:
        line.pop("shapes", None)
        line["versions"].sort(key=lambda version: str(version["id"]))
        for version in line["versions"]:
            version.pop("shape", None)
            version["values"] = {name: value for name, value in version["values"].items() if name not in ADDED_SINCE}
    return lines


async def test_every_version_says_what_it_said_then(upgraded: EntityStorage) -> None:
    lines = [json.loads(line) async for line in upgraded.export_lines()]
    assert _plain(lines[1:]) == _plain(exported_then())


async def test_nothing_is_wrong_in_it(upgraded: EntityStorage, old_url: str) -> None:
    assert await upgraded.check() == []
    assert await broken_rules(old_url) == []


async def test_its_versions_load_and_are_continued_in_the_shape_of_now(upgraded: EntityStorage, old_url: str) -> None:
    before = await rows_of(old_url)
    [newest, *_] = await upgraded.list_by_type(ChatThread)
    thread = await upgraded.get(ChatThread, newest.ecs_id)
    loud = next(each for each in thread.history if isinstance(each, LoudMessage))
    assert (loud.content, loud.volume, loud.heard_by is not None and loud.heard_by.name) == ("HELLO", 12, "first")
    assert (await upgraded.submit(thread)).info is None
    loud.volume = 13
    assert len((await upgraded.submit(thread)).versions) == 3  # the message, the thread, and the shelf that holds the thread
    again = await upgraded.get(ChatThread, thread.ecs_id)
    assert [type(each) for each in again.history] == [type(each) for each in thread.history]
    assert await upgraded.check() == []
    after = await rows_of(old_url)
    assert {key: after[key] for key in before} == before


async def test_a_cycle_of_entities_without_a_table_is_whole(upgraded: EntityStorage) -> None:
    shelves = [await upgraded.get(Shelf, info.ecs_id) for info in await upgraded.list_by_type(Shelf)]
    first = next(each for each in shelves if each.name == "first")
    assert (first.items[1] is first, str(first.ratio), first.best is first.named["a"]) == (True, "nan", True)
    assert all(isinstance(each, Entity) for each in first.items)


async def test_an_export_of_that_time_is_imported(empty_sql_url: str) -> None:
    async with open_storage(empty_sql_url) as storage:
        then = exported_then()
        await storage.import_lines([HEADER_WITHOUT_END, *map(json.dumps, then)])
        assert _plain([json.loads(line) async for line in storage.export_lines()][1:]) == _plain(then)
        assert await storage.check() == []


async def test_an_older_database_is_left_alone_where_that_is_asked_for(old_url: str) -> None:
    engine = open_engine(old_url)
    with pytest.raises(OutdatedDatabase, match=f"its schema revision is '0001' and this minference needs '{HEAD}'"):
        await open_database(engine, migrate="check")
    await engine.dispose()


async def test_an_older_database_that_is_trusted_says_what_it_needs_when_it_cannot_be_read(old_url: str) -> None:
    async with open_storage(old_url, migrate="off") as storage:
        with pytest.raises(ReadFailed, match=r"not those of this minference.* run `minference db upgrade`"):
            await storage.list_by_type(ChatThread)
