"""Many threads, killed twice at random and resumed: the small version of `tests/benchmarks/soak.py`."""

from __future__ import annotations

import pytest

import minference.threads.tables  # noqa: F401 - the tables that the soak reads
from minference.storage.runs import EntryState
from tests.benchmarks.soak import soak


@pytest.mark.parametrize("client", ["openai", "anthropic"])
async def test_killed_twice_a_run_ends_as_undisturbed_and_asks_for_nothing_that_is_saved(sql_url: str, client: str) -> None:
    if (client == "anthropic") != sql_url.startswith("postgresql"):
        pytest.skip("each SDK with one of the databases: what they do has nothing to do with each other")
    report = await soak(sql_url, 24, client=client, seed=len(sql_url), concurrency=4)
    assert (report.threads, report.wrong, report.repeated) == (24, [], [])
    assert report.counts == {EntryState.done: 24}
    assert report.lost <= 2 * 4
