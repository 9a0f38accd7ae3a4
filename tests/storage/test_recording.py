"""What a block of `storage.recording()` leaves in the storage."""

from __future__ import annotations

import asyncio
import gc
import weakref
from copy import deepcopy

import pytest
from pydantic import ValidationError, model_validator

from minference.ecs.entity import Entity
from minference.ecs.tracer import entity_tracer
from minference.errors import StaleVersion
from minference.storage.base import EntityStorage
from minference.storage.memory import MemoryBackend
from minference.storage.versioned import VersionedStorage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread
from tests.storage.books import Book, Page, a_book, commits, version_count


class Small(Entity, kind="recorded_small"):
    size: int = 0

    @model_validator(mode="after")
    def small(self) -> Small:
        if self.size > 9:
            raise ValueError("too large")
        return self


class Greeted(Entity, kind="recorded_greeted"):
    name: str = ""

    def model_post_init(self, _context: object) -> None:
        self.name = f"hello {self.name}"


async def test_everything_registered_inside_is_one_commit_with_author_and_note(storage: EntityStorage) -> None:
    first, second = await storage.register(a_book("one")), await storage.register(a_book())
    async with storage.recording(author="ann", note="spring cleaning") as block:
        first.title = "first"
        assert await storage.register(first) is first
        second.title = "second"
        await storage.register(second)
        assert await version_count(storage, first, second) == [1, 1]
    assert await version_count(storage, first, second, *first.pages) == [2, 2, 1]
    assert await commits(storage, first, second) == [(None, None), (None, None), ("ann", "spring cleaning")]
    assert block.commit is not None
    assert sorted(block.commit.versions) == sorted([first.ecs_id, second.ecs_id])


async def test_entities_constructed_inside_are_saved_whether_anybody_holds_them_or_not(storage: EntityStorage) -> None:
    made: list[Entity] = []
    before = Page(text="from before")
    async with storage.recording() as block:
        made.append(Page(text="called"))
        made.append(Page.model_validate({"text": "from data"}))
        made.append(Page.model_validate_json('{"text": "from JSON"}'))
        made.append(Page.model_construct(text="as it is"))
        made.append(deepcopy(before))
        made.append(before.model_copy(update={"text": "copied"}))
        made.append(Greeted(name="you"))
        made.append(Book.model_validate({"pages": [{"text": "below"}]}))
        assert Page.model_validate(before) is before
        Page(text="held by nobody")
    assert await version_count(storage, before, *made) == [0, *[1] * len(made)]
    assert (await storage.status()).kinds["traced_page"].lineages == 8
    assert block.commit is not None
    assert len(block.commit.versions) == 10


async def test_nothing_is_recorded_outside_of_a_block(storage: EntityStorage) -> None:
    async with storage.recording():
        pass
    page = Page()
    assert await version_count(storage, page) == [0]
    assert (await storage.status()).kinds == {}


async def test_an_entity_that_is_not_valid_is_not_recorded(storage: EntityStorage) -> None:
    async with storage.recording() as block:
        with pytest.raises(ValidationError, match="too large"):
            Small(size=10)
        kept = Small(size=1)
    assert block.commit is not None
    assert block.commit.versions == (kept.ecs_id,)


async def test_only_one_of_the_classes_that_data_could_be_is_recorded(storage: EntityStorage) -> None:
    class Other(Entity, kind="recorded_other"):
        text: str = ""

    class Either(Entity, kind="recorded_either"):
        one: Page | Other

    async with storage.recording() as block:
        either = Either.model_validate({"one": {"text": "both would do"}})
    assert block.commit is not None
    assert block.commit.versions == (either.one.ecs_id, either.ecs_id)


async def test_an_exception_inside_saves_nothing(storage: EntityStorage) -> None:
    book = await storage.register(a_book())
    made: list[Page] = []

    async def block_that_fails() -> None:
        async with storage.recording() as block:
            book.title = "half done"
            await storage.register(book)
            made.append(Page())
            block.add(a_book())
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await block_that_fails()
    assert await version_count(storage, book, *made) == [1, 0]
    await storage.register(book)
    assert (await storage.get(Book, book.ecs_id)).title == "half done"


async def test_what_is_added_is_saved_with_everything_below(storage: EntityStorage) -> None:
    book = a_book("one", "two")
    async with storage.recording() as block:
        block.add(book)
    assert await version_count(storage, book, *book.pages) == [1, 1, 1]
    with pytest.raises(RuntimeError, match="this recording is not running"):
        block.add(book)


async def test_blocks_and_traced_calls_inside_join_the_outermost(storage: EntityStorage) -> None:
    @entity_tracer
    async def rename(book: Book) -> None:
        book.title = "by a call"

    book = await storage.register(a_book())
    async with storage.recording(author="ann") as outer:
        await rename(book)
        async with storage.recording(author="bob", note="inner") as inner:
            page = Page(text="inner")
        assert inner.commit is None
        assert await version_count(storage, book, page) == [1, 0]
    assert await commits(storage, book, page) == [(None, None), ("ann", "inner")]
    assert outer.commit is not None
    assert outer.commit.versions == (book.ecs_id, page.ecs_id)


async def test_a_block_inside_a_traced_call_joins_it(storage: EntityStorage) -> None:
    made: list[Page] = []

    @entity_tracer
    async def collect(book: Book) -> None:
        book.title = "collected"
        async with storage.recording(note="with pages"):
            made.append(Page(text="reachable from nowhere"))
        made.append(Page(text="outside of the block, and so not saved"))

    book = await storage.register(a_book())
    await collect(book)
    assert await version_count(storage, book, *made) == [2, 1, 0]
    assert (await commits(storage, book, *made))[1:] == [(collect.__qualname__, "with pages")]


async def test_a_failed_block_inside_another_leaves_nothing_of_its_own(storage: EntityStorage) -> None:
    async def fail() -> None:
        async with storage.recording():
            made.append(Page())
            await storage.register(made[-1])
            raise ValueError("on purpose")

    made: list[Page] = []
    async with storage.recording():
        with pytest.raises(ValueError, match="on purpose"):
            await fail()
        made.append(Page())
    assert await version_count(storage, *made) == [0, 1]


async def test_a_register_inside_a_traced_call_is_a_commit_of_its_own(storage: EntityStorage) -> None:
    @entity_tracer
    async def answer(book: Book) -> None:
        book.title = "paid for"
        await storage.register(book, note="as soon as it is there")
        book.title = "polished"

    book = await storage.register(a_book())
    await answer(book)
    assert [note for _, note in await commits(storage, book)] == [None, "as soon as it is there", None]


async def test_a_fork_inside_is_made_at_once(storage: EntityStorage) -> None:
    book = await storage.register(a_book())
    async with storage.recording():
        before, book.title = book.ecs_id, "forked"
        assert book.fork().parent_id == before
        await storage.flush()
        assert await version_count(storage, book) == [2]
    assert await version_count(storage, book) == [2]


async def test_a_task_that_outlives_the_block_saves_for_itself(storage: EntityStorage) -> None:
    started, late = asyncio.Event(), asyncio.Event()

    async def record_late() -> None:
        async with storage.recording(author="late"):
            started.set()
            await late.wait()
            made.append(Page())

    async def register_late(book: Book) -> None:
        await late.wait()
        book.title = "late"
        await storage.register(book)

    made: list[Page] = []
    book = await storage.register(a_book())
    async with storage.recording(), asyncio.TaskGroup() as tasks:
        async with storage.recording():
            tasks.create_task(register_late(book))
            outliving = asyncio.create_task(record_late())
            await started.wait()
        assert await version_count(storage, book) == [1]
        late.set()
    await outliving
    assert await version_count(storage, book, *made) == [2, 1]


async def test_what_a_task_makes_after_its_block_belongs_to_the_block_around(storage: EntityStorage) -> None:
    late = asyncio.Event()

    async def make_late() -> Page:
        await late.wait()
        return Page()

    async with storage.recording():
        async with storage.recording():
            task = asyncio.create_task(make_late())
        late.set()
        page = await task
    assert await version_count(storage, page) == [1]


async def test_a_block_that_is_over_keeps_nothing_alive(storage: EntityStorage) -> None:
    async def record() -> weakref.ref[Page]:
        async with storage.recording():
            return weakref.ref(Page())

    made = await record()
    await storage.flush()
    gc.collect()
    assert made() is None


async def test_other_tasks_record_nothing_in_a_block_that_is_not_theirs(storage: EntityStorage) -> None:
    opened, done = asyncio.Event(), asyncio.Event()

    async def elsewhere() -> Page:
        await opened.wait()
        page = Page()
        done.set()
        return page

    task = asyncio.create_task(elsewhere())
    async with storage.recording():
        opened.set()
        await done.wait()
    assert await version_count(storage, await task) == [0]


async def test_one_wish_to_be_told_of_a_race_counts_for_the_whole_block(storage: EntityStorage) -> None:
    book, page = await storage.register(a_book()), Page()
    other = await storage.get(Book, book.ecs_id)
    other.title = "first"
    await storage.register(other)

    async def race() -> None:
        async with storage.recording():
            await storage.register(page)
            book.title = "second"
            await storage.register(book, on_conflict="raise")

    with pytest.raises(StaleVersion):
        await race()
    assert await version_count(storage, book, page) == [2, 0]


async def test_a_block_of_another_storage_collects_only_what_is_registered_there() -> None:
    async with VersionedStorage(MemoryBackend()) as one, VersionedStorage(MemoryBackend()) as two:
        first, second = a_book(), a_book()
        async with one.recording(), two.recording(author="two"):
            await one.register(first)
            await two.register(second)
        assert await version_count(one, first, second) == [1, 0]
        assert await version_count(two, first, second) == [0, 1]


async def test_a_block_is_entered_once(storage: EntityStorage) -> None:
    async with storage.recording() as block:
        with pytest.raises(RuntimeError, match="entered once"):
            await block.__aenter__()


async def test_a_thread_made_inside_is_saved_once_with_its_thousand_messages(storage: EntityStorage) -> None:
    async with storage.recording() as block:
        thread = ChatThread(llm_config=LLMConfig(client="scripted", model="m"))
        for number in range(1000):
            thread.history.append(ChatMessage.model_validate({"role": "user", "content": str(number)}))
    assert block.commit is not None
    assert len(block.commit.versions) == 1002
    assert await version_count(storage, thread, thread.llm_config, thread.history[500]) == [1, 1, 1]
