"""The pages of named runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from minference.storage.base import EntityStorage
from minference.storage.runs import EntryState
from tests.ui.conftest import work_on
from tests.ui.samples import a_run, a_thread
from tests.ui.test_pages import links, text_of

Visit = Callable[[str], TestClient]
NAME = "100% of <tea> & cake/é"


async def six_threads(storage: EntityStorage) -> None:
    threads = [a_thread(f"thread {number}") for number in range(6)]
    await storage.register(*threads)
    await a_run(storage, NAME, "the oven is cold\nattempt 1: timed out", [thread.lineage_id for thread in threads])


def test_a_run_tells_how_far_it_is_and_why_threads_failed(sql_url: str, visit: Visit) -> None:
    work_on(sql_url, six_threads)
    pages = visit(sql_url)
    listed = pages.get("/runs").text
    assert f"{NAME} interrupted 2 of 6 2 failed $0.50 + unknown" in text_of(listed)
    [address] = links(listed, "^/run[?]")
    page = pages.get(address).text
    seen = text_of(page)
    assert "Threads 6 pending 1 running 1 done 2 failed 2 Replies 4 Tokens 400 Cost $0.50 + unknown" in seen
    assert 'aria-label="2 done, 2 failed, 1 running, 1 pending"' in page
    assert "1 the oven is cold 1 Unable: the oven is cold" in seen
    assert f"minference resume {NAME} goes on" in seen
    assert len(links(page, "^/threads/")) == 6
    assert pages.get(links(page, "^/threads/")[0]).status_code == 200


@pytest.mark.parametrize("state", list(EntryState))
def test_the_threads_of_a_run_are_shown_by_state(sqlite_url: str, visit: Visit, state: EntryState) -> None:
    work_on(sqlite_url, six_threads)
    pages = visit(sqlite_url)
    [address] = links(pages.get(links(pages.get("/runs").text, "^/run[?]")[0]).text, f"state={state.value}")
    expected = {EntryState.pending: 1, EntryState.running: 1, EntryState.done: 2, EntryState.failed: 2}
    assert len(links(pages.get(address).text, "^/threads/")) == expected[state]


def test_a_long_run_is_read_a_page_at_a_time(sqlite_url: str, visit: Visit) -> None:
    async def many(storage: EntityStorage) -> None:
        threads = [a_thread() for _ in range(130)]
        await storage.register(*threads)
        await a_run(storage, "many", "no", [thread.lineage_id for thread in threads])

    work_on(sqlite_url, many)
    pages = visit(sqlite_url)
    first = pages.get("/run?name=many").text
    [following] = links(first, "after=")
    second = pages.get(following).text
    assert [len(links(page, "^/threads/")) for page in (first, second)] == [100, 30]
    assert len(set(links(first + second, "^/threads/"))) == 130


def test_what_is_no_run_is_said_plainly(sqlite_url: str, visit: Visit) -> None:
    async def nothing(_storage: EntityStorage) -> None:
        """Only make the tables."""

    work_on(sqlite_url, nothing)
    pages = visit(sqlite_url)
    assert "No runs yet" in pages.get("/runs").text
    gone = pages.get("/run?name=<b>")
    assert (gone.status_code, "there is no run &#39;&lt;b&gt;&#39;" in gone.text) == (404, True)
    assert pages.get("/mark?run=x").json() == {"mark": "unreadable"}
