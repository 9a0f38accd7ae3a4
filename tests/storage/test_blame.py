"""Who wrote what, and how much there is."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from minference.ecs.entity import Entity
from minference.ecs.lineage import Blame, KindCount
from minference.ecs.registry import EntityRegistry
from minference.errors import NoSuchCollection, VersionNotFound
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from tests.storage.books import Book, Page, a_book
from tests.storage.edits import THREAD_EDITS, edit_thread, numbers, pick, some_talks


def a_thread(*texts: str) -> ChatThread:
    messages = [ChatMessage(role=MessageRole.user, content=text) for text in texts]
    return ChatThread(llm_config=LLMConfig(client="scripted", model="m"), history=messages)


def who(lines: list[Blame]) -> list[tuple[str | None, str | None]]:
    """(who added it, who wrote it as it is)."""
    return [(line.added.author, line.written.author) for line in lines]


async def test_blame_tells_of_each_message_who_added_it_and_who_wrote_its_present_text(storage: EntityStorage) -> None:
    thread = await storage.register(a_thread("a", "b", "c"), author="ann")
    thread.history.append(ChatMessage(role=MessageRole.assistant, content="d"))
    await storage.register(thread, author="bob", note="answer")
    thread.history[1].content = "B"
    await storage.register(thread, author="cyd")
    thread.history[1].content = "BB"
    await storage.register(thread, author="dan")
    lines = await storage.blame(thread)
    assert who(lines) == [("ann", "ann"), ("ann", "dan"), ("ann", "ann"), ("bob", "bob")]
    assert [line.version.ecs_id for line in lines] == [message.ecs_id for message in thread.history]
    assert (lines[3].added.note, lines[3].added.created_at) == ("answer", lines[3].version.commit.created_at)


async def test_blame_of_an_old_version_knows_nothing_of_what_came_after(storage: EntityStorage) -> None:
    thread = await storage.register(a_thread("a", "b"), author="ann")
    old = thread.ecs_id
    thread.history[0].content = "A"
    await storage.register(thread, author="bob")
    assert who(await storage.blame(old)) == [("ann", "ann"), ("ann", "ann")]


async def test_blame_of_a_branch_counts_only_what_led_to_it(storage: EntityStorage) -> None:
    thread = await storage.register(a_thread("a"), author="ann")
    branch = await storage.get(ChatThread, thread.ecs_id)
    shared = await storage.register(ChatMessage(role=MessageRole.user, content="shared"), author="eve")
    thread.history.append(shared)
    await storage.register(thread, author="bob")
    branch.history.append(await storage.get(ChatMessage, shared.ecs_id))
    await storage.register(branch, author="cyd")
    assert who(await storage.blame(thread)) == [("ann", "ann"), ("bob", "eve")]
    assert who(await storage.blame(branch)) == [("ann", "ann"), ("cyd", "eve")]


async def test_blame_survives_moves_removals_and_hundreds_of_edits(storage: EntityStorage) -> None:
    thread = await storage.register(a_thread(*"abcdef"), author="ann")
    for number in range(70):
        thread.history[number % 5].content = str(number)
        await storage.register(thread, author=f"edit {number}")
    last = thread.history.pop()
    del thread.history[0]
    await storage.register(thread, author="remover")
    thread.history.insert(0, last)
    thread.history.append(thread.history[0])
    await storage.register(thread, author="mover")
    assert who(await storage.blame(thread)) == [
        ("ann", "ann"), ("ann", "edit 66"), ("ann", "edit 67"), ("ann", "edit 68"), ("ann", "edit 69"), ("ann", "ann"),
    ]  # fmt: skip


async def test_blame_of_a_part_is_a_part_of_the_blame(storage: EntityStorage) -> None:
    thread = await storage.register(a_thread(*"abcdef"), author="ann")
    thread.history[4].content = "E"
    await storage.register(thread, author="bob")
    lines = await storage.blame(thread)
    for window in (slice(-2, None), slice(1, 5, 2), slice(3), slice(9, 12), slice(None)):
        assert await storage.blame(thread, window=window) == lines[window]


STEPS = st.lists(st.tuples(st.sampled_from([*THREAD_EDITS, "save", "branch", "apart"]), numbers, numbers), min_size=1, max_size=30)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_blame_is_what_one_finds_by_looking_through_all_versions(storage: EntityStorage, steps: list[tuple[str, int, int]]) -> None:
    thread, other = (each for each in some_talks() if isinstance(each, ChatThread))
    await storage.register(thread, author="0")
    for number, (kind, one, two) in enumerate(steps, 1):
        match kind:
            case "save":
                await storage.register(thread, author=str(number))
            case "branch":
                await storage.register(thread, author=str(number))
                thread = await storage.get(ChatThread, pick(await storage.lineage(thread.lineage_id), one).ecs_id)
            case "apart":  # a message that was saved before anybody holds it
                thread.history.append(await storage.register(ChatMessage(role=MessageRole.user, content=str(one)), author="apart"))
            case _:
                edit_thread(thread, kind, [*thread.history, *other.history], one, two)
    await storage.register(thread, author="end")
    line = [*reversed(await storage.ancestors(thread.ecs_id)), await storage.info(thread.ecs_id)]
    held = {each.ecs_id: {member.lineage_id for member in (await storage.get(ChatThread, each.ecs_id)).history} for each in line}
    firsts = [next(each.commit for each in line if message.lineage_id in held[each.ecs_id]) for message in thread.history]
    lines = await storage.blame(thread)
    assert [(each.version.ecs_id, each.added) for each in lines] == list(zip([each.ecs_id for each in thread.history], firsts, strict=True))


async def test_blame_takes_any_collection_of_any_class(storage: EntityStorage) -> None:
    class Album(Entity, kind="blamed_album"):
        pair: tuple[Page, ...] = ()
        named: dict[str, Page] = Field(default_factory=dict)

    album = await storage.register(Album(pair=(Page(),), named={"x": Page()}), author="ann")
    album.named["y"] = Page()
    await storage.register(album, author="bob")
    assert who(await storage.blame(album)) == [("ann", "ann")]
    assert who(await storage.blame(album, "named")) == [("ann", "ann"), ("bob", "bob")]
    assert await storage.blame(await storage.register(Album())) == []


async def test_blame_says_what_it_cannot_tell(storage: EntityStorage) -> None:
    book = a_book()
    with pytest.raises(VersionNotFound):
        await storage.blame(book)
    await storage.register(book)
    with pytest.raises(NoSuchCollection, match=r"Book has no collection of entities called 'chapters': it has 'pages'"):
        await storage.blame(book, "chapters")
    page = await storage.register(Page())
    with pytest.raises(NoSuchCollection, match=r"Page has no collection of entities: it has none"):
        await storage.blame(page)


async def test_the_status_counts_versions_and_lineages_of_each_kind(storage: EntityStorage) -> None:
    book = await storage.register(a_book("one", "two"))
    book.pages[0].text = "edited"
    await storage.register(book)
    status = await EntityRegistry.get_registry_status()
    assert status.url == storage.url
    assert dict(status.kinds) == {"traced_book": KindCount(2, 1), "traced_page": KindCount(3, 2)}
    assert (status.versions, status.lineages) == (5, 3)


async def test_the_sorted_lineage_has_parents_before_children(storage: EntityStorage) -> None:
    book = await storage.register(Book(title="1"))
    first = await storage.get(Book, book.ecs_id)
    book.title = "2"
    await storage.register(book)
    first.title = "branch"
    await storage.register(first)
    ordered = await EntityRegistry.get_lineage_tree_sorted(book.lineage_id)
    assert [version.ecs_id for version in ordered] == [book.parent_id, book.ecs_id, first.ecs_id]


async def test_the_mermaid_graph_says_at_each_edge_what_changed(storage: EntityStorage) -> None:
    book = await storage.register(a_book("one", "two"))
    book.title = "new"
    book.pages[1].text = "edited"
    book.pages.append(Page())
    await storage.register(book, note='a "note"')
    del book.pages[0]
    book.pages.reverse()
    await storage.register(book)
    graph = await EntityRegistry.get_lineage_mermaid(book.lineage_id)
    assert graph.splitlines()[4:] == ['    v0 -->|"title, pages #43;1 #126;1"| v1', '    v1 -->|"pages -1 #62;1"| v2']
    plain = await EntityRegistry.get_lineage_mermaid(book.lineage_id, changes=False)
    assert plain.splitlines()[4:] == ["    v0 --> v1", "    v1 --> v2"]
