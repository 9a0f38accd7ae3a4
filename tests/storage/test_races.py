"""Two storages that are open on one database at once, as two processes are: the keys of the tables decide."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from minference.errors import StaleVersion
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.thread import ChatThread
from tests.storage.edits import Thing
from tests.storage.lineage_samples import a_thread, said, say
from tests.storage.tables import broken_rules


@pytest.fixture
async def both(sql_url: str) -> AsyncIterator[tuple[EntityStorage, EntityStorage]]:
    """Two storages on one database."""
    async with open_storage(sql_url) as one, open_storage(sql_url) as other:
        yield one, other
    assert await broken_rules(sql_url) == []


async def two_copies(one: EntityStorage, other: EntityStorage) -> tuple[ChatThread, ChatThread]:
    """One version, loaded by each before either knows of a version after it."""
    thread = a_thread("base")
    await one.register(thread)
    return await one.get(ChatThread, thread.ecs_id), await other.get(ChatThread, thread.ecs_id)


async def test_the_second_who_continues_a_version_branches(both: tuple[EntityStorage, EntityStorage]) -> None:
    one, other = both
    mine, yours = await two_copies(one, other)
    base = mine.ecs_id
    mine.name, yours.name = "mine", "yours"
    assert not (await one.submit(mine)).branched
    [branch] = (await other.submit(yours)).branches
    assert (branch.parent, branch.sibling, branch.version) == (base, mine.ecs_id, yours.ecs_id)
    for storage in both:
        assert {head.ecs_id for head in await storage.heads(mine.lineage_id)} == {mine.ecs_id, yours.ecs_id}
        assert [(await storage.get(ChatThread, each)).name for each in (mine.ecs_id, yours.ecs_id)] == ["mine", "yours"]


async def test_the_second_who_does_not_want_to_branch_is_refused(both: tuple[EntityStorage, EntityStorage]) -> None:
    one, other = both
    mine, yours = await two_copies(one, other)
    base = mine.ecs_id
    mine.name, yours.name = "mine", "yours"
    await one.register(mine, on_conflict="raise")
    with pytest.raises(StaleVersion) as raised:
        await other.register(yours, on_conflict="raise")
    assert (raised.value.base, raised.value.head) == (base, mine.ecs_id)
    assert (yours.ecs_id, yours.name) == (base, "yours")
    assert [info.ecs_id for info in await other.lineage(mine.lineage_id)] == [base, mine.ecs_id]


async def test_a_race_for_a_member_is_found_as_one_for_the_root_is(both: tuple[EntityStorage, EntityStorage]) -> None:
    one, other = both
    mine, yours = await two_copies(one, other)
    mine.history[0].content, yours.history[0].content = "mine", "yours"
    await one.register(mine.history[0], on_conflict="raise")
    with pytest.raises(StaleVersion) as raised:
        await other.register(yours, on_conflict="raise")
    assert raised.value.lineage_id == mine.history[0].lineage_id
    assert len(await other.lineage(mine.lineage_id)) == 1


async def test_each_who_appends_keeps_its_message(both: tuple[EntityStorage, EntityStorage]) -> None:
    one, other = both
    mine, yours = await two_copies(one, other)
    for number in range(3):
        say(mine, f"m{number}")
        say(yours, f"y{number}")
        await one.register(mine)
        await other.register(yours)
    for storage in both:
        assert said(await storage.get(ChatThread, mine.ecs_id)) == "base m0 m1 m2"
        assert said(await storage.get(ChatThread, yours.ecs_id)) == "base y0 y1 y2"


async def test_a_stale_version_says_how_both_who_appended_keep_their_messages(both: tuple[EntityStorage, EntityStorage]) -> None:
    one, other = both
    mine, yours = await two_copies(one, other)
    say(mine, "m")
    say(yours, "y")
    await one.register(mine)
    with pytest.raises(
        StaleVersion, match=r"call rebase\(\) .* strategy='append', .* look at the conflicts that it returns, .* save again"
    ):
        await other.register(yours, on_conflict="raise")
    assert (await other.rebase(yours, strategy="append")).conflicts == ()
    await other.register(yours, on_conflict="raise")
    assert said(await one.get(ChatThread, yours.ecs_id)) == "base m y"
    assert len(await one.heads(yours.lineage_id)) == 1


async def test_keys_are_never_given_out_twice(both: tuple[EntityStorage, EntityStorage]) -> None:
    things = [Thing(name=str(number), items=[Thing() for _ in range(number % 3)]) for number in range(12)]
    for number, thing in enumerate(things):
        await both[number % 2].register(thing)
    for thing in things:
        copy = await both[0].get(Thing, thing.ecs_id)
        assert (copy.name, len(copy.items)) == (thing.name, len(thing.items))
