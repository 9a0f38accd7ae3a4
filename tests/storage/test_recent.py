"""A long thread that was read lately is read again from memory: never what is no longer so, and no object is given out twice."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

import pytest
from pydantic import create_model
from sqlalchemy.orm import Mapped, mapped_column

from minference.ecs.blobs import Blob
from minference.ecs.entity import Entity
from minference.ecs.plan import BackRef
from minference.errors import FrozenSnapshot, TableMismatch
from minference.storage.base import Record
from minference.storage.open import open_storage
from minference.storage.sql import reader, recent
from minference.storage.sql.backend import SqlBackend
from minference.storage.sql.recent import Recent
from minference.storage.sql.tables import EntityTable
from minference.storage.sql.types import ExactText
from minference.storage.versioned import VersionedStorage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, Usage
from minference.threads.thread import ChatThread

LENGTH = 2 * recent.FEWEST_ROWS


class Part(Entity, kind="recent_part"):
    """A value that can change in place."""

    words: list[str]


class Whole(Entity, kind="recent_whole"):
    """Many parts."""

    parts: list[Part]


class Book(Entity, kind="recent_book"):
    title: str
    shelf: Annotated[Shelf | None, BackRef("books")] = None


class Shelf(Entity, kind="recent_shelf"):
    books: list[Book]


class Library(Entity, kind="recent_library"):
    shelves: list[Shelf]


class Desk(Entity, kind="recent_desk"):
    books: list[Book]

    def model_post_init(self, _context: Any) -> None:
        for number, book in enumerate(self.books, start=1):
            book.title = f"{number} of {len(self.books)}"


class Picture(Entity, kind="recent_picture"):
    data: Blob


class Album(Entity, kind="recent_album"):
    pictures: list[Picture]


class Leaflet(Entity, kind="recent_leaflet"):
    """Another leaf."""


class Shown(Entity, kind="recent_shown"):
    title: str = ""


class ShownTable(EntityTable, entity=Shown):
    __tablename__ = "recent_shown"
    title: Mapped[str] = mapped_column(ExactText)


def defined_below(base: type[Entity], **fields: Any) -> type[Any]:
    """A subclass of `base` with these fields, in the place of the one that there was."""
    return create_model("Below", __base__=base, __module__=__name__, __cls_kwargs__={"kind": "recent_below"}, **fields)


class Tree(Entity, kind="recent_tree"):
    leaves: list[Entity]


def long_thread(said: str = "Said") -> ChatThread:
    thread = ChatThread(llm_config=LLMConfig(client="scripted", model="m"))
    thread.history.extend(ChatMessage(role=MessageRole.user, content=f"{said} {number}") for number in range(LENGTH))
    return thread


def contents(thread: ChatThread) -> list[str]:
    return [message.content for message in thread.history]


def remembered(backend: SqlBackend) -> Recent:
    assert backend._reader is not None
    return backend._reader.parts.recent


async def test_another_version_is_the_same_whether_or_not_it_is_remembered(sql_url: str) -> None:
    backend = SqlBackend(sql_url, durability="full", migrate="auto")
    async with VersionedStorage(backend) as storage:
        thread = long_thread()
        versions = []
        for step in range(3):
            thread.history[step].content = f"Edited {step}"
            thread.add_user_message(f"And {step}")
            await storage.register(thread)
            versions.append(thread.ecs_id)
        fresh = []
        for version in versions:
            async with open_storage(sql_url) as other:
                fresh.append(_without_live_ids((await other.get(ChatThread, version)).model_dump()))
        for _ in range(2):
            loaded = [await storage.get(ChatThread, version) for version in versions]
            assert [_without_live_ids(each.model_dump()) for each in loaded] == fresh
        assert len(remembered(backend)) >= LENGTH


def _without_live_ids(data: object) -> object:
    match data:
        case dict():
            return {name: _without_live_ids(value) for name, value in data.items() if name != "live_id"}
        case list() | tuple():
            return [_without_live_ids(each) for each in data]
        case _:
            return data


@pytest.mark.parametrize("most", [1, 1000])
async def test_what_somebody_erased_since_is_not_remembered(sql_url: str, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(reader, "MOST_ERASURES", most)
    async with open_storage(sql_url) as storage, open_storage(sql_url) as eraser:
        for _ in range(2):
            gone = await eraser.register(ChatMessage(role=MessageRole.user, content="Gone"))
            await eraser.erase(gone, reason="asked to", scrub=False)
        thread = long_thread()
        await storage.register(thread)
        assert contents(await storage.get(ChatThread, thread.ecs_id)) == contents(thread)
        await eraser.erase(thread.history[7], reason="asked to", scrub=False)
        for _ in range(2):
            loaded = await storage.get(ChatThread, thread.ecs_id)
            assert (loaded.history[7].content, loaded.history[7].erased) == ("", True)
            assert contents(loaded)[8:] == contents(thread)[8:]


async def test_an_edit_of_one_loaded_thread_is_not_seen_in_the_next(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = long_thread()
        await storage.register(thread)
        first, second = [await storage.get(ChatThread, thread.ecs_id) for _ in range(2)]
        assert not {id(message) for message in first.history} & {id(message) for message in second.history}
        first.history[3].content = "Edited"
        await storage.register(first)
        assert contents(second) == contents(thread) == contents(await storage.get(ChatThread, thread.ecs_id))
        assert (await storage.get(ChatThread, first.ecs_id)).history[3].content == "Edited"


async def test_objects_of_one_version_differ_in_their_live_ids_and_holders(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        shelf = Shelf(books=[Book(title=str(number)) for number in range(LENGTH)])
        await storage.register(shelf)
        loaded = [await storage.get(Shelf, shelf.ecs_id) for _ in range(4)]
        for each in loaded:
            assert [book.title for book in each.books] == [str(number) for number in range(LENGTH)]
            assert all(book.shelf is each for book in each.books)
        assert len({book.live_id for each in loaded for book in each.books}) == 4 * LENGTH
        loaded[0].books[3].title = "Edited"
        commits = [await storage.submit(each) for each in loaded]
        assert [len(commit.versions) for commit in commits] == [2, 0, 0, 0]


async def test_what_a_remembered_version_refers_to_is_there_each_time(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread = long_thread()
        for number, message in enumerate(thread.history):
            if number % 2:
                message.usage = Usage(model="m", prompt_tokens=number, completion_tokens=1, total_tokens=number + 1)
        await storage.register(thread)
        used = [message.usage.prompt_tokens if message.usage else None for message in thread.history]
        for load in (storage.get, storage.get, storage.get, storage.get_cold_snapshot):
            loaded = await load(ChatThread, thread.ecs_id)
            assert [message.usage.prompt_tokens if message.usage else None for message in loaded.history] == used
            assert len({id(message.usage) for message in loaded.history}) == LENGTH // 2 + 1
        again = await storage.get(ChatThread, thread.ecs_id)
        assert (await storage.submit(again)).versions == ()
        usage = again.history[1].usage
        assert usage is not None
        usage.prompt_tokens = 7
        assert len((await storage.submit(again)).versions) == 3


def defined(**fields: Any) -> type[Any]:
    """The class `Leaf` with these fields, in the place of the one that there was."""
    return create_model("Leaf", __base__=Entity, __module__=__name__, __cls_kwargs__={"kind": "recent_leaf"}, **fields)


async def test_a_class_that_was_defined_anew_is_read_anew(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        leaf = defined(name=(str, ""))
        tree = Tree(leaves=[leaf(name=str(number)) for number in range(LENGTH)])
        await storage.register(tree)
        for more in ({}, {"colour": (str, "green")}, {}):
            now = defined(name=(str, ""), **more)
            for _ in range(3):
                loaded = await storage.get(Tree, tree.ecs_id)
                assert {type(each) for each in loaded.leaves} == {now}
                assert [each.model_dump(include={"name", "colour"}) for each in loaded.leaves] == [
                    {"name": str(number)} | ({"colour": "green"} if more else {}) for number in range(LENGTH)
                ]


async def test_a_class_that_is_defined_anew_during_a_read_is_not_taken_for_what_was_read(
    sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach, late = reader.Reader._attach_members, list[type[Any]]()

    async def redefine(self: Any, fetch: Any, records: dict[int, Any], wanted: Any) -> None:
        if len(records) == LENGTH and not late:  # another task has its turn while this one waits for the database
            late.append(defined(name=(str, ""), colour=(str, "green")))
        await attach(self, fetch, records, wanted)

    monkeypatch.setattr(reader.Reader, "_attach_members", redefine)
    async with open_storage(sql_url) as storage:
        leaf = defined(name=(str, ""))
        tree = Tree(leaves=[leaf(name=str(number)) for number in range(LENGTH)])
        await storage.register(tree)
        assert {type(each) for each in (await storage.get(Tree, tree.ecs_id)).leaves} == {leaf}
        for _ in range(2):
            assert {type(each) for each in (await storage.get(Tree, tree.ecs_id)).leaves} == set(late)


async def test_a_class_that_cannot_be_read_any_more_is_in_the_way_of_no_other(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        reads = defined_below(Shown)
        two = [Tree(leaves=[reads(title=str(number)) for number in range(LENGTH)]), Tree(leaves=[Leaflet() for _ in range(LENGTH)])]
        await storage.register(*two)
        for each in two:
            await storage.get(Tree, each.ecs_id)
        defined_below(Shown, more=(int, 0))  # the table has no column for it
        assert len((await storage.get(Tree, two[1].ecs_id)).leaves) == LENGTH
        with pytest.raises(TableMismatch):
            await storage.get(Tree, two[0].ecs_id)


async def test_what_a_holder_does_to_its_members_when_it_is_made_is_no_change_of_theirs(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        desk = Desk(books=[Book(title="One"), Book(title="Two")])
        desk.books[0].title = "Three"
        await storage.register(desk)
        loaded = await storage.get(Desk, desk.ecs_id)
        assert [book.title for book in loaded.books] == ["1 of 2", "2 of 2"]
        assert (await storage.submit(loaded)).versions == ()
        cold = await storage.get_cold_snapshot(Desk, desk.ecs_id)
        assert [book.title for book in cold.books] == ["1 of 2", "2 of 2"]
        with pytest.raises(FrozenSnapshot):
            cold.books[0].title = "Mine"


async def test_versions_that_hold_many_others_are_not_remembered_nor_what_was_erased(sql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_ERASURES", 1)
    backend = SqlBackend(sql_url, durability="full", migrate="auto")
    async with VersionedStorage(backend) as storage:
        library = Library(shelves=[Shelf(books=[Book(title="One")] if number % 2 else []) for number in range(2 * LENGTH)])
        await storage.register(library)
        await storage.get(Library, library.ecs_id)
        assert LENGTH <= len(remembered(backend)) <= 2 * LENGTH + LENGTH
        assert not any(any(record.members.values()) for record in all_of(remembered(backend)))
        await storage.erase(library.shelves[1].books[0], reason="asked to", scrub=False)
        await storage.get(Library, library.ecs_id)
        await storage.erase(library.shelves[3].books[0], reason="asked to", scrub=False)
        await storage.get(Library, library.ecs_id)
        gone = {library.shelves[number].books[0].ecs_id for number in (1, 3)}
        assert not gone & {record.version.ecs_id for record in all_of(remembered(backend))}


def all_of(recent: Recent) -> list[Record]:
    return [record for shelf in recent._shelves.values() for record in shelf.records.values()]


async def test_bytes_that_one_object_loads_are_not_held_by_what_is_remembered(sql_url: str) -> None:
    backend = SqlBackend(sql_url, durability="full", migrate="auto")
    async with VersionedStorage(backend) as storage:
        album = Album(pictures=[Picture(data=Blob.of(bytes([number]))) for number in range(LENGTH)])
        await storage.register(album)
        one, other = [await storage.get(Album, album.ecs_id) for _ in range(2)]
        await storage.load_blobs(one)
        assert one.pictures[0].data.is_loaded
        assert not other.pictures[0].data.is_loaded
        assert len(remembered(backend)) == 0


async def test_values_that_change_in_place_are_those_of_one_object(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        whole = Whole(parts=[Part(words=[str(number)]) for number in range(LENGTH)])
        await storage.register(whole)
        for _ in range(2):
            loaded = await storage.get(Whole, whole.ecs_id)
            assert [part.words for part in loaded.parts] == [[str(number)] for number in range(LENGTH)]
            loaded.parts[0].words.append("more")


@pytest.mark.parametrize("bound", ["MOST_ROWS", "MOST_CHARACTERS"])
async def test_only_so_much_is_remembered(sql_url: str, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    backend = SqlBackend(sql_url, durability="full", migrate="auto")
    async with VersionedStorage(backend) as storage:
        threads = [long_thread(f"In thread {number},") for number in range(4)]
        for thread in threads:
            await storage.register(thread)
        await storage.get(ChatThread, threads[0].ecs_id)
        one = len(remembered(backend)) if bound == "MOST_ROWS" else remembered(backend).characters
        monkeypatch.setattr(recent, bound, 2 * one + 1)
        for thread, other in pairwise(threads * 2):
            assert contents(await storage.get(ChatThread, thread.ecs_id)) == contents(thread)
            assert contents(await storage.get(ChatThread, other.ecs_id)) == contents(other)
            assert LENGTH <= len(remembered(backend)) <= 2 * LENGTH
