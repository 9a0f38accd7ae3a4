"""Named runs: a work list that every process sees, and that one process works on."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from minference.ecs.identity import utc_now
from minference.errors import RunBusy, RunNotFound, StorageClosed
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.runs import Began, Ended, EntryState, LetGo, Regained, RunEntry, Step
from tests.storage.erasures import a_thread

pending, running, done, failed = EntryState
MINUTE = 60.0


async def a_run(storage: EntityStorage, threads: int, name: str = "nightly") -> list[UUID]:
    """A run with so many threads that nobody has begun with."""
    lineages = [uuid4() for _ in range(threads)]
    await storage.runs().take(name, "me", MINUTE, settings={"max_turns": 3, "what": "\ud83d\0 NaN"})
    await storage.runs().add(name, lineages)
    return lineages


def shown(entry: RunEntry) -> tuple[object, ...]:
    return entry.state, entry.starts, entry.error, entry.replies, entry.tokens, entry.cost_usd


async def test_a_work_list_keeps_its_order_and_takes_each_thread_once(storage: EntityStorage) -> None:
    lineages = await a_run(storage, 5)
    more = [uuid4(), uuid4()]
    await storage.runs().add("nightly", [lineages[3], *more, more[0]])
    entries = await storage.runs().entries("nightly")
    assert [(entry.position, entry.lineage_id) for entry in entries] == list(enumerate([*lineages, *more]))
    assert {shown(entry) for entry in entries} == {(pending, 0, None, 0, 0, 0.0)}
    assert [entry.position for entry in await storage.runs().entries("nightly", after=1, limit=2)] == [2, 3]


async def test_all_entries_of_a_long_work_list_are_given_unless_a_limit_is(storage: EntityStorage) -> None:
    lineages = await a_run(storage, 2_001)
    entries = storage.runs().entries
    assert [entry.lineage_id for entry in await entries("nightly")] == lineages
    assert [entry.lineage_id for entry in await entries("nightly", limit=1_500)] == lineages[:1_500]
    assert [entry.lineage_id for entry in await entries("nightly", after=999)] == lineages[1_000:]
    await storage.runs().note("nightly", [Began(each) for each in lineages[::2]])
    assert [entry.lineage_id for entry in await entries("nightly", [running])] == lineages[::2]
    assert await entries("nightly", limit=0) == await entries("nightly", [done]) == []


async def test_steps_are_written_in_order_and_summed_up(storage: EntityStorage) -> None:
    one, two, three, four = await a_run(storage, 4)
    error = "a \0 surrogate \ud800"
    steps: list[Step] = [
        Began(one),
        Ended(one, None, 2, 30, 0.25),
        Began(two),
        Ended(two, error, 1, 5, 0.5),
        Began(two),
        Ended(two, None, 1, 7, 0.5),
    ]
    await storage.runs().note("nightly", [*steps, Began(three), Ended(three, error, 1, 1, None), Began(three)])
    entries = await storage.runs().entries("nightly")
    assert [shown(entry) for entry in entries] == [
        (done, 1, None, 2, 30, 0.25), (done, 2, None, 2, 12, 1.0), (running, 2, None, 1, 1, None), (pending, 0, None, 0, 0, 0.0),
    ]  # fmt: skip
    await storage.runs().note("nightly", [Ended(three, error, 0, 0, 1.0), Ended(three, None, 9, 9, 9.0), Ended(four, None, 9, 9, 9.0)])
    assert [shown(entry) for entry in await storage.runs().entries("nightly", [failed])] == [(failed, 2, error, 1, 1, None)]
    run = await storage.runs().get("nightly")
    assert (run.counts, run.total) == ({done: 2, failed: 1, pending: 1}, 4)
    assert (run.replies, run.tokens, run.cost_usd, run.unpriced) == (5, 43, 1.25, 1)


async def test_what_came_of_a_thread_that_was_let_go_of_counts_once_and_it_stays_as_far_as_it_is(storage: EntityStorage) -> None:
    one, two, three = await a_run(storage, 3)
    before = utc_now()
    await storage.runs().note("nightly", [Began(one), Began(two), Ended(two, None, 1, 7, 0.5)])
    at = utc_now() + timedelta(seconds=1)
    late: list[Step] = [LetGo(one, before, 9, 9, 9.0), LetGo(two, at, 9, 9, 9.0), LetGo(three, at, 9, 9, 9.0)]
    for _ in range(2):
        await storage.runs().note("nightly", [LetGo(one, at, 1, 5, 0.25), *late])
    assert [shown(entry) for entry in await storage.runs().entries("nightly")] == [
        (running, 1, None, 1, 5, 0.25), (done, 1, None, 1, 7, 0.5), (pending, 0, None, 0, 0, 0.0),
    ]  # fmt: skip
    await storage.runs().note("nightly", [Began(one), Ended(one, None, 2, 10, None)])
    assert shown((await storage.runs().entries("nightly"))[0]) == (done, 2, None, 3, 15, None)


async def test_what_is_regained_of_a_thread_counts_once_up_to_a_version(storage: EntityStorage) -> None:
    one, two, three = await a_run(storage, 3)
    begun, later, other = uuid4(), uuid4(), uuid4()
    await storage.runs().note("nightly", [Began(one, begun), Began(two, begun), Ended(two, None, 1, 7, 0.5), Began(three)])
    assert [entry.counted_to for entry in await storage.runs().entries("nightly")] == [begun, None, None]
    steps: list[Step] = [Regained(each, begun, later, 2, 5, 0.25) for each in (one, two, three)]
    for _ in range(2):
        await storage.runs().note("nightly", [*steps, Began(one)])
    assert [(*shown(entry), entry.counted_to) for entry in await storage.runs().entries("nightly")] == [
        (running, 3, None, 2, 5, 0.25, later), (done, 1, None, 1, 7, 0.5, None), (running, 1, None, 0, 0, 0.0, None),
    ]  # fmt: skip
    at = utc_now() + timedelta(seconds=1)
    await storage.runs().note("nightly", [Began(one, begun), LetGo(one, at, 1, 1, None, other), *steps])
    [entry] = await storage.runs().of("nightly", [one])
    assert (*shown(entry), entry.counted_to) == (running, 4, None, 3, 6, None, other)


async def test_settings_are_kept_until_others_are_given(storage: EntityStorage) -> None:
    await a_run(storage, 0)
    runs = storage.runs()
    assert (await runs.get("nightly")).settings == {"max_turns": 3, "what": "\ud83d\0 NaN"}
    assert (await runs.take("nightly", "me", MINUTE, settings=None)).settings["max_turns"] == 3
    assert (await runs.take("nightly", "me", MINUTE, settings={})).settings == {}
    assert (await runs.get("nightly")).counts == {}


async def test_a_run_belongs_to_one_process_until_it_lets_go_or_is_silent_for_too_long(storage: EntityStorage) -> None:
    await a_run(storage, 1)
    runs = storage.runs()
    with pytest.raises(RunBusy, match="worked on by 'me'") as caught:
        await runs.take("nightly", "you", MINUTE, settings={})
    assert (await runs.get("nightly")).settings["max_turns"] == 3
    assert caught.value.holder == "me"
    assert await runs.hold("nightly", "me", MINUTE)
    assert not await runs.hold("nightly", "you", MINUTE)
    await runs.release("nightly", "you")
    assert (await runs.get("nightly")).holder == "me"
    await runs.release("nightly", "me")
    assert (await runs.take("nightly", "you", 0.0, settings=None)).holder == "you"
    assert (await runs.take("nightly", "me", MINUTE, settings=None)).holder == "me"
    assert (await runs.take("nightly", "you", MINUTE, settings=None, instead_of="me")).holder == "you"
    with pytest.raises(RunBusy):
        await runs.take("nightly", "us", MINUTE, settings=None, instead_of="me")


async def test_a_run_that_nobody_made_is_not_found(storage: EntityStorage) -> None:
    await a_run(storage, 1, "weekly")
    for attempt in (storage.runs().get("nightly"), storage.runs().take("nightly", "me", MINUTE, settings=None)):
        with pytest.raises(RunNotFound, match="no run is called 'nightly': the runs here are 'weekly'"):
            await attempt
    assert await storage.runs().entries("nightly") == []


async def test_runs_are_listed_the_last_one_worked_on_first(storage: EntityStorage) -> None:
    [one] = await a_run(storage, 1, "a")
    await a_run(storage, 2, "b")
    assert [(run.name, run.total) for run in await storage.runs().all()] == [("b", 2), ("a", 1)]
    await storage.runs().note("a", [Began(one)])
    assert [(run.name, run.total) for run in await storage.runs().all()] == [("a", 1), ("b", 2)]


async def test_another_process_sees_how_far_a_run_is(sql_url: str) -> None:
    async with open_storage(sql_url) as storage, open_storage(sql_url) as other:
        [one, _two] = await a_run(storage, 2)
        await storage.runs().note("nightly", [Began(one)])
        assert (await other.runs().get("nightly")).counts == {running: 1, pending: 1}
        assert await storage.check() == []
    with pytest.raises(StorageClosed):
        other.runs()


async def test_erasing_a_thread_forgets_why_it_failed(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread, other = a_thread("Wintermute"), a_thread("Neuromancer")
        await storage.register(thread, other)
        await storage.runs().take("nightly", "me", MINUTE, settings={})
        await storage.runs().add("nightly", [thread.lineage_id, other.lineage_id])
        await storage.runs().note(
            "nightly",
            [
                step
                for each in (thread, other)
                for step in (Began(each.lineage_id), Ended(each.lineage_id, "it said Wintermute", 0, 0, None))
            ],
        )
        await storage.erase(thread, reason="asked to")
        assert [entry.error for entry in await storage.runs().entries("nightly")] == [None, "it said Wintermute"]


async def test_threads_are_found_by_their_lineages_and_wait_again_once_they_have_ended(storage: EntityStorage) -> None:
    one, two, three, four = await a_run(storage, 4)
    runs = storage.runs()
    await runs.note("nightly", [Began(one), Ended(one, None, 1, 2, 0.5), Began(two), Ended(two, "error", 1, 2, 0.5), Began(three)])
    await runs.again("nightly", [three, two, one, four, uuid4()])
    assert [(each.lineage_id, *shown(each)) for each in await runs.of("nightly", [four, uuid4(), one, two, three])] == [
        (one, pending, 1, None, 1, 2, 0.5), (two, pending, 1, None, 1, 2, 0.5), (three, running, 1, None, 0, 0, 0.0),
        (four, pending, 0, None, 0, 0, 0.0),
    ]  # fmt: skip
    assert await runs.of("nightly", []) == await runs.of("another", [one]) == []


async def test_whoever_shares_a_name_leaves_the_run_only_when_no_thread_is_under_way(storage: EntityStorage) -> None:
    one, _ = await a_run(storage, 2)
    runs = storage.runs()
    await runs.note("nightly", [Began(one)])
    await runs.leave("nightly", "me")
    assert (await runs.get("nightly")).holder == "me"
    await runs.note("nightly", [Ended(one, None, 1, 1, 0.0)])
    await runs.leave("nightly", "you")
    assert (await runs.get("nightly")).holder == "me"
    await runs.leave("nightly", "me")
    assert (await runs.get("nightly")).holder is None


async def test_who_is_cancelled_while_a_transaction_begins_leaves_none_open(tmp_path: Path) -> None:
    async with open_storage(f"sqlite:///{tmp_path / 'runs.db'}") as storage:
        runs, other = storage.runs(), sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
        await runs.take("first", "me", MINUTE, settings={})
        for turns in range(20):
            other.execute("BEGIN IMMEDIATE")
            taking = asyncio.create_task(runs.take(f"run {turns}", "me", MINUTE, settings={}))
            for _ in range(turns):
                await asyncio.sleep(0)
            taking.cancel()
            other.execute("ROLLBACK")
            await asyncio.wait([taking])
            assert (await runs.take("first", "me", MINUTE, settings={})).name == "first"
        other.close()
