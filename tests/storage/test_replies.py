"""Cached replies: found by the exact request, forgotten when that is wanted or when what they say is erased."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pydantic import JsonValue

from minference.errors import StorageClosed
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.replies import CachedReply, CacheSize
from tests.storage.erasures import a_thread

NOW = datetime(2026, 5, 3, 12, 0, 0, 123456, tzinfo=UTC)


def a_reply(number: int, said: JsonValue = "Yes.", *, at: datetime = NOW) -> CachedReply:
    return CachedReply(f"{number:064x}", f"{number + 100:064x}", {"said": said}, at)


async def test_a_reply_is_found_as_it_came(storage: EntityStorage) -> None:
    first, second = a_reply(1, ["a \0 surrogate \ud800", float("inf"), {"b": None, "a": 1.0}]), a_reply(2)
    await storage.replies().put([(first, uuid4()), (second, uuid4())])
    assert [await storage.replies().find(each.key) for each in (first, second, a_reply(3))] == [first, second, None]


async def test_a_later_reply_takes_the_place_of_an_earlier_one(storage: EntityStorage) -> None:
    later = a_reply(1, "No.", at=NOW + timedelta(seconds=1))
    for each in (a_reply(1), later):
        await storage.replies().put([(each, uuid4())])
    assert await storage.replies().find(later.key) == later
    assert await storage.replies().size() == CacheSize(1, later.created_at, later.created_at)


async def test_replies_are_cleared_all_or_by_age(storage: EntityStorage) -> None:
    assert (await storage.replies().size(), await storage.replies().clear()) == (CacheSize(0, None, None), 0)
    times = [NOW + timedelta(seconds=number) for number in range(4)]
    await storage.replies().put([(a_reply(number, at=at), uuid4()) for number, at in enumerate(times)])
    assert await storage.replies().clear(times[2]) == 2
    assert await storage.replies().size() == CacheSize(2, times[2], times[3])
    assert await storage.replies().clear() == 2
    assert await storage.replies().find(a_reply(3).key) is None


async def test_what_an_erased_lineage_holds_is_not_kept(storage: EntityStorage) -> None:
    thread = a_thread("Wintermute")
    await storage.register(thread)
    await storage.erase(thread, reason="asked to", scrub=False)
    await storage.replies().put([(a_reply(1), thread.history[0].lineage_id), (a_reply(2), uuid4())])
    assert [await storage.replies().find(a_reply(number).key) for number in (1, 2)] == [None, a_reply(2)]


async def test_another_process_finds_what_was_put(sql_url: str) -> None:
    async with open_storage(sql_url) as storage, open_storage(sql_url) as other:
        await storage.replies().put([(a_reply(1), uuid4())])
        assert await other.replies().find(a_reply(1).key) == a_reply(1)
        assert await storage.check() == []
    with pytest.raises(StorageClosed):
        other.replies()
