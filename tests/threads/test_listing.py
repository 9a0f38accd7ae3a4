"""Lists of threads, and what replies took, on both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from minference.errors import ConfigurationError
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.listing import (
    ThreadFilter,
    list_threads,
    models_in_use,
    newest_commit,
    newest_versions,
    place_of_message,
)
from minference.threads.outputs import ProcessedOutput
from minference.threads.statistics import ModelDay, outputs_of, usage_by_model_and_day
from minference.threads.thread import ChatThread
from tests.ui.samples import a_thread, answer, ask

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def named(storage: EntityStorage, *names: str, author: str = "ann", model: str = "m") -> list[ChatThread]:
    threads = []
    for name in names:
        threads.append(a_thread(name, model=model))
        await storage.register(threads[-1], author=author)
    return threads


async def test_threads_are_listed_by_their_newest_versions(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        one, two, three = await named(storage, "one", "two", "three")
        ask(one, "again")
        await storage.register(one, author="bob", note="more")
        page = await list_threads(storage, ThreadFilter(), limit=2)
        assert (page.count, [each.lineage_id for each in page.threads]) == (3, [one.lineage_id, three.lineage_id])
        first = page.threads[0]
        assert (first.version, first.versions, first.author, first.note, first.erased) == (one.ecs_id, 2, "bob", "more", False)
        rest = await list_threads(storage, ThreadFilter(), limit=2, skip=2)
        assert [each.lineage_id for each in rest.threads] == [two.lineage_id]
        assert await newest_versions(storage, [one.lineage_id, one.history[0].lineage_id]) == {one.lineage_id: one.ecs_id}


async def test_filters_look_at_newest_versions_only_and_take_signs_as_they_are(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        one, _ = await named(storage, "100% Blue", "100 reds")
        [other] = await named(storage, "blue_moon", author="Bob", model="other")
        one.name = "100% green"
        await storage.register(one)

        async def found(**wanted: object) -> list[str | None]:
            page = await list_threads(storage, ThreadFilter(**wanted), limit=9)  # type: ignore[arg-type]
            return [(await storage.get(ChatThread, each.version)).name for each in page.threads]

        assert await found(name="BLUE") == ["blue_moon"]
        assert await found(name="0%") == ["100% green"]
        assert await found(name="e_m") == ["blue_moon"]
        assert await found(model="other", author="BOB") == ["blue_moon"]
        assert await found(model="m", author="bob") == []
        assert await found(since=other.created_at) == ["100% green", "blue_moon"]
        assert await models_in_use(storage) == ["m", "other"]


async def test_a_message_is_found_in_a_version_by_its_lineage_or_version(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        [thread] = await named(storage, "t")
        for word in ("a", "b", "c"):
            ask(thread, word)
        await storage.register(thread)
        message = thread.history[1]
        assert await place_of_message(storage, thread.ecs_id, message.lineage_id) == 1
        assert await place_of_message(storage, thread.ecs_id, message.ecs_id) == 1
        assert thread.parent_id is not None
        assert await place_of_message(storage, thread.parent_id, message.lineage_id) is None


async def test_the_newest_commit_is_another_after_each_save(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        seen = [await newest_commit(storage)]
        for name in ("a", "b"):
            await named(storage, name)
            seen.append(await newest_commit(storage))
        assert seen[0] == (0, 0)
        assert len(set(seen)) == 3


async def test_replies_are_counted_by_model_and_day(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = a_thread(model="m", client="c")
        for number in range(20):
            ask(thread, "?")
            seconds = float(20 - number)
            failed = ("HTTP 429", "timed out") if number == 3 else ()
            error = "no object" if number == 4 else None
            cost = 0.25 if number < 8 else None
            await answer(storage, thread, "!", ended=NOON, seconds=seconds, tokens=(10, 2), attempts=failed, error=error, cost=cost)
        reply = await answer(storage, thread, "!", ended=NOON + timedelta(hours=12), seconds=1.0, tokens=(5, 1))
        early = await answer(storage, thread, "!", ended=NOON - timedelta(days=3))
        found = await usage_by_model_and_day(storage, NOON - timedelta(days=1))
        assert found == [
            ModelDay(date(2026, 3, 1), "c", "m", 20, 200, 40, 0, 10.0, 19.0, 2, 1, 2.0, 12),
            ModelDay(date(2026, 3, 2), "c", "m", 1, 5, 1, 0, 1.0, 1.0, 0, 0, None, 1),
        ]
        assert len(await usage_by_model_and_day(storage)) == 3
        lines = await outputs_of(storage, [reply.lineage_id, early.lineage_id, thread.history[0].lineage_id])
        assert [(lines[each.lineage_id][0].seconds, len(lines[each.lineage_id])) for each in (reply, early)] == [(1.0, 1), (1.4, 1)]
        assert thread.history[0].lineage_id not in lines


async def test_a_reply_that_is_saved_again_is_counted_once(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = a_thread(model="m")
        reply = await answer(storage, thread, "!", ended=NOON)
        [line] = (await outputs_of(storage, [reply.lineage_id]))[reply.lineage_id]
        output = await storage.get(ProcessedOutput, line.version)
        output.content = "corrected"
        await storage.register(output)
        assert [day.replies for day in await usage_by_model_and_day(storage)] == [1]


async def test_in_memory_there_are_no_tables_to_list() -> None:
    async with open_storage("memory:") as storage:
        with pytest.raises(ConfigurationError, match="tables"):
            await list_threads(storage, ThreadFilter(), limit=1)
