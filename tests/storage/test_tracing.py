"""What a traced call leaves in the storage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from pydantic import BaseModel

from minference.ecs.registry import EntityRegistry, use_storage
from minference.ecs.severity import TraceSeverity
from minference.ecs.tracer import entities_in, entity_tracer
from minference.errors import NoStorage, UntraceableFunction, WriteFailed
from minference.storage.base import EntityStorage
from minference.storage.memory import MemoryBackend
from minference.storage.versioned import VersionedStorage
from tests.storage.books import Book, Page, a_book, commits, version_count


@entity_tracer
async def rename(book: Book, title: str) -> Book:
    book.title = title
    await asyncio.sleep(0)
    return book


@entity_tracer
def rename_now(book: Book, title: str) -> Book:
    book.title = title
    return book


@entity_tracer
async def add_page(book: Book, text: str) -> Page:
    page = Page(text=text)
    book.pages.append(page)
    return page


@entity_tracer
async def rewrite(book: Book) -> None:
    await rename(book, "rewritten")
    await add_page(book, "more")
    rename_now(book, "rewritten again")


async def test_a_call_that_changes_an_argument_makes_one_commit_in_its_name(storage: EntityStorage) -> None:
    book = await storage.register(a_book("one"))
    before = book.ecs_id
    assert await rename(book, "new") is book
    assert (book.title, book.parent_id) == ("new", before)
    assert await commits(storage, book, *book.pages) == [(None, None), ("rename", None)]
    assert (await storage.get(Book, book.ecs_id)).title == "new"


async def test_a_call_that_changes_nothing_makes_no_version(storage: EntityStorage) -> None:
    book = await storage.register(a_book("one"))
    await rename(book, "old")
    assert await version_count(storage, book, *book.pages) == [1, 1]


async def test_what_was_modified_before_the_call_is_saved_first(storage: EntityStorage) -> None:
    book = await storage.register(a_book("one"))
    book.title = "by hand"
    await rename(book, "new")
    titles = [(await storage.get(Book, version.ecs_id)).title for version in await storage.lineage(book.lineage_id)]
    assert titles == ["old", "by hand", "new"]
    assert await commits(storage, book) == [(None, None), ("rename", "as it was before the call"), ("rename", None)]


async def test_what_was_modified_before_a_plain_call_is_saved_first(storage: EntityStorage) -> None:
    book = await storage.register(a_book("one"))
    book.title = "by hand"
    rename_now(book, "new")
    titles = [(await storage.get(Book, version.ecs_id)).title for version in await storage.lineage(book.lineage_id)]
    assert titles == ["old", "by hand", "new"]


async def test_what_only_the_result_reaches_is_saved(storage: EntityStorage) -> None:
    @entity_tracer
    async def write() -> list[Book]:
        return [a_book("one")]

    [book] = await write()
    assert await version_count(storage, book, *book.pages) == [1, 1]


async def test_new_entities_are_saved_with_whatever_reaches_them(storage: EntityStorage) -> None:
    @entity_tracer
    async def make(pages: list[Page]) -> dict[str, tuple[Book, ...]]:
        pages.append(Page(text="appended"))
        return {"made": (Book(title="made", pages=pages),)}

    pages: list[Page] = []
    result = await make(pages)
    [book] = result["made"]
    assert await version_count(storage, book, pages[0]) == [1, 1]
    assert len(set(await commits(storage, book, pages[0]))) == 1


async def test_a_list_that_the_call_fills_is_saved_though_nothing_is_returned(storage: EntityStorage) -> None:
    @entity_tracer
    async def fill(pages: list[Page], by_name: dict[str, Page]) -> None:
        pages.append(Page(text="listed"))
        by_name["x"] = Page(text="named")

    pages: list[Page] = []
    by_name: dict[str, Page] = {}
    await fill(pages, by_name)
    assert await version_count(storage, *pages, by_name["x"]) == [1, 1]


async def test_entities_inside_containers_and_plain_models_are_found(storage: EntityStorage) -> None:
    class Request(BaseModel):
        books: dict[str, list[Book]]

    @entity_tracer
    async def rename_all(request: Request, *more: set[Book]) -> None:
        for book in [*request.books["x"], *(book for books in more for book in books)]:
            book.title = "new"

    first, second = await storage.register(a_book()), await storage.register(a_book())
    await rename_all(Request(books={"x": [first]}), {second})
    assert await version_count(storage, first, second) == [2, 2]
    assert first.ecs_id != second.ecs_id


async def test_a_thing_and_its_part_passed_together_are_one_commit(storage: EntityStorage) -> None:
    @entity_tracer
    async def correct(page: Page, book: Book, *, again: Page) -> None:
        page.text = "corrected"

    book = await storage.register(a_book("one", "two"))
    await correct(book.pages[0], book, again=book.pages[0])
    assert await version_count(storage, book, *book.pages) == [2, 2, 1]
    assert len(await commits(storage, book, *book.pages)) == 2


async def test_nested_calls_join_the_outermost(storage: EntityStorage) -> None:
    book = await storage.register(a_book("one"))
    await rewrite(book)
    assert (book.title, [page.text for page in book.pages]) == ("rewritten again", ["one", "more"])
    assert await version_count(storage, book, *book.pages) == [2, 1, 1]
    assert await commits(storage, book) == [(None, None), ("rewrite", None)]


async def test_tasks_started_inside_join_the_call_that_waits_for_them(storage: EntityStorage) -> None:
    @entity_tracer
    async def together(*books: Book) -> None:
        await asyncio.gather(*(rename(book, "together") for book in books))

    books = [await storage.register(a_book()) for _ in range(3)]
    await together(*books)
    assert [author for author, _ in await commits(storage, *books)] == [None, None, None, together.__qualname__]


async def test_a_task_that_outlives_the_call_saves_for_itself(storage: EntityStorage) -> None:
    started, late = asyncio.Event(), asyncio.Event()

    @entity_tracer
    async def finish_late(book: Book) -> None:
        started.set()
        await late.wait()
        book.title = "late"

    @entity_tracer
    async def start(book: Book) -> asyncio.Task[None]:
        task = asyncio.create_task(finish_late(book))
        await started.wait()
        return task

    book = await storage.register(a_book())
    task = await start(book)
    late.set()
    await task
    assert (await storage.latest(Book, book.lineage_id)).title == "late"


async def _branched(storage: EntityStorage) -> tuple[Book, Book]:
    """Two objects on two branches of one lineage."""
    book = await storage.register(a_book("one"))
    other = await storage.get(Book, book.ecs_id)
    book.title, other.cover = "new", Page()
    await storage.register(book, other)
    return book, other


async def _save(storage: EntityStorage, book: Book, other: Book, how: str) -> None:
    """Make a version in one of the ways that there are."""
    match how:
        case "register":
            book.title = "registered"
            await storage.register(book)
        case "submit":
            book.title = "submitted"
            await storage.submit(book)
        case "fork":
            book.title = "forked"
            book.fork()
            await storage.flush()
        case "revert":
            assert book.parent_id is not None
            await storage.revert(book, book.parent_id)
        case "merge":
            await storage.merge(book, other)


@pytest.mark.parametrize("how", ["register", "submit", "fork", "revert", "merge"])
async def test_what_a_traced_call_saves_itself_is_by_the_author_of_the_call(storage: EntityStorage, how: str) -> None:
    @entity_tracer
    async def inner(book: Book, other: Book) -> None:
        await _save(storage, book, other, how)

    @entity_tracer
    async def outer(book: Book, other: Book) -> None:
        await inner(book, other)

    async def author_of(call: Callable[[Book, Book], Awaitable[None]]) -> str | None:
        book, other = await _branched(storage)
        before = book.ecs_id
        await call(book, other)
        assert book.parent_id == before
        return (await storage.info(book.ecs_id)).commit.author

    async def in_a_block(book: Book, other: Book) -> None:
        async with storage.recording(author="ann"):
            await inner(book, other)

    async def untraced(book: Book, other: Book) -> None:
        await _save(storage, book, other, how)

    assert await author_of(inner) == inner.__qualname__
    assert await author_of(outer) == outer.__qualname__
    assert await author_of(in_a_block) == "ann"
    assert await author_of(untraced) is None


async def test_an_author_who_is_named_goes_before_the_traced_call(storage: EntityStorage) -> None:
    @entity_tracer
    async def work(book: Book) -> None:
        book.title = "registered"
        await storage.register(book, author="bob")
        book.title = "submitted"
        await storage.submit(book, author="eve")
        book.title = "left to the call"

    @entity_tracer
    def fork(book: Book) -> Book:
        book.title = "forked"
        return book.fork()

    book = await storage.register(a_book("one"))
    await work(book)
    fork(book)
    await storage.flush()
    assert [author for author, _ in await commits(storage, book)] == [None, "bob", "eve", work.__qualname__, fork.__qualname__]


async def test_a_task_that_outlives_the_call_is_not_the_call(storage: EntityStorage) -> None:
    late = asyncio.Event()

    async def register_late(book: Book) -> None:
        await late.wait()
        book.title = "late"
        await storage.register(book)

    @entity_tracer
    async def start(book: Book) -> asyncio.Task[None]:
        return asyncio.create_task(register_late(book))

    book = await storage.register(a_book())
    task = await start(book)
    late.set()
    await task
    assert [author for author, _ in await commits(storage, book)] == [None, None]


async def test_what_a_failed_call_changed_is_not_saved_and_what_was_before_can_be_loaded(storage: EntityStorage) -> None:
    @entity_tracer
    async def fail(book: Book) -> None:
        book.title = "half done"
        book.pages.append(Page(text="half"))
        raise ValueError("on purpose")

    book = a_book("one", title="never saved")
    with pytest.raises(ValueError, match="on purpose"):
        await fail(book)
    assert (book.title, len(book.pages)) == ("half done", 2)
    before = await storage.get(Book, book.ecs_id)
    assert (before.title, [page.text for page in before.pages]) == ("never saved", ["one"])
    assert await version_count(storage, book) == [1]
    await storage.register(book)
    assert (await storage.get(Book, book.ecs_id)).title == "half done"


async def test_a_failed_call_inside_another_adds_nothing_new(storage: EntityStorage) -> None:
    made: list[Page] = []

    @entity_tracer
    async def fail() -> None:
        made.append(Page())
        await add_page(book, "by the inner call")
        made.extend(book.pages)
        raise ValueError("on purpose")

    @entity_tracer
    async def outer(page: Page) -> None:
        with pytest.raises(ValueError, match="on purpose"):
            await fail()
        page.text = "kept"

    book, page = await storage.register(a_book(title="other")), await storage.register(Page())
    await outer(page)
    assert await version_count(storage, page, book, *made) == [2, 1, 0, 0]


async def test_a_plain_function_takes_its_snapshot_at_once(storage: EntityStorage) -> None:
    book = await storage.register(a_book("one"))
    before = book.ecs_id
    assert rename_now(book, "at once") is book
    assert (book.parent_id, book.title) == (before, "at once")
    book.title = "after the call"
    await storage.flush()
    assert (await storage.get(Book, book.ecs_id)).title == "at once"
    assert await commits(storage, book) == [(None, None), ("rename_now", None)]


async def test_methods_and_keyword_arguments_are_traced(storage: EntityStorage) -> None:
    class Shelf(Book, kind="traced_shelf"):
        @entity_tracer
        async def take(self, *, page: Page) -> int:
            self.pages.append(page)
            return len(self.pages)

    shelf = await storage.register(Shelf())
    assert await shelf.take(page=Page(text="x")) == 1
    assert await version_count(storage, shelf, shelf.pages[0]) == [2, 1]
    assert (await commits(storage, shelf))[-1] == (Shelf.take.__qualname__, None)


class Library:
    @entity_tracer
    @classmethod
    async def lend(cls, book: Book) -> type[Library]:
        await asyncio.sleep(0)
        book.title = "lent"
        return cls

    @entity_tracer(severity=TraceSeverity.NORMAL)
    @classmethod
    def take_back(cls, book: Book) -> type[Library]:
        book.title = "back"
        return cls

    @entity_tracer
    @staticmethod
    async def stamp(book: Book) -> None:
        await asyncio.sleep(0)
        book.title = "stamped"

    @entity_tracer
    @staticmethod
    def shelve(book: Book) -> None:
        book.title = "shelved"


class Branch(Library):
    pass


async def test_methods_of_classes_and_static_ones_are_traced_from_above(storage: EntityStorage) -> None:
    book = await storage.register(a_book("one"))
    assert (await Branch.lend(book), Branch().take_back(book)) == (Branch, Branch)
    await Branch().stamp(book)
    Library.shelve(book)
    await storage.flush()
    made_by = [None, "Library.lend", "Library.take_back", "Library.stamp", "Library.shelve"]
    assert [version.commit.author for version in await storage.lineage(book.lineage_id)] == made_by


def test_a_class_method_that_is_a_generator_is_refused_when_decorated() -> None:
    with pytest.raises(UntraceableFunction, match="pages is a generator"):

        class Shelf:
            @entity_tracer
            @classmethod
            def pages(cls) -> Iterator[Page]:
                yield Page()


async def test_an_object_with_an_async_call_is_traced_like_a_function(storage: EntityStorage) -> None:
    class Renamer:
        async def __call__(self, book: Book) -> None:
            book.title = "called"

    book = await storage.register(a_book())
    await entity_tracer(Renamer())(book)
    assert (await storage.get(Book, book.ecs_id)).title == "called"


async def test_generators_are_refused_when_decorated(storage: EntityStorage) -> None:
    def pages() -> Iterator[Page]:
        yield Page()

    async def later() -> AsyncIterator[Page]:
        yield Page()

    with pytest.raises(UntraceableFunction, match=r"pages is a generator and cannot be traced"):
        entity_tracer(pages)
    with pytest.raises(UntraceableFunction, match=r"later is a generator"):
        entity_tracer(severity=TraceSeverity.NORMAL)(later)


async def test_without_a_storage_the_function_does_not_run() -> None:
    book = a_book()
    with pytest.raises(NoStorage):
        rename_now(book, "new")
    assert book.title == "old"


async def test_a_cold_snapshot_is_read_and_not_saved(storage: EntityStorage) -> None:
    @entity_tracer
    async def title_of(book: Book) -> str:
        return book.title

    book = await storage.register(a_book("one"))
    cold = await storage.get_cold_snapshot(Book, book.ecs_id)
    assert await title_of(cold) == "old"
    assert entities_in([cold, cold.pages]) == []


def test_looking_for_entities_goes_through_containers_that_hold_themselves() -> None:
    page, book = Page(), a_book("inside")
    loop: list[object] = [page]
    loop.append({"again": loop, "book": (book, page, 3, "text", None)})
    assert entities_in(loop) == [page, book]


async def test_many_arguments_are_saved_as_one(storage: EntityStorage) -> None:
    @entity_tracer
    async def number(books: list[Book], pages: list[Page]) -> None:
        for count, page in enumerate(pages):
            page.text = str(count)

    books = [await storage.register(a_book("a", "b", "c")) for _ in range(5)]
    await number(books, [page for book in books for page in book.pages])
    assert await version_count(storage, *books, *books[0].pages) == [2, 2, 2, 2, 2, 2, 2, 2]
    assert len({version.commit.id for book in books for version in [(await storage.lineage(book.lineage_id))[-1]]}) == 1


async def test_a_call_that_cannot_be_written_says_so_and_can_be_repeated() -> None:
    class Refusing(MemoryBackend):
        """Refuses the second commit."""

        async def write(self, units):  # type: ignore[no-untyped-def]  # as the backend
            if any(unit.author == "rename" for unit in units) and not self.refused:
                self.refused = True
                raise WriteFailed("on purpose")
            return await super().write(units)

        refused = False

    async with VersionedStorage(Refusing()) as storage:
        book = await storage.register(a_book())
        with pytest.raises(WriteFailed, match="on purpose"):
            await rename(book, "new")
        assert await version_count(storage, book) == [1]
        await rename(book, "new")
        assert (await storage.get(Book, book.ecs_id)).title == "new"


@pytest.fixture
def normal_again() -> Iterator[None]:
    yield
    EntityRegistry.set_trace_severity(TraceSeverity.NORMAL)


@pytest.mark.usefixtures("normal_again")
async def test_severity_none_runs_the_bare_function(storage: EntityStorage) -> None:
    book = await storage.register(a_book())
    assert EntityRegistry.set_trace_severity(TraceSeverity.NONE) is TraceSeverity.NORMAL
    await rename(book, "new")
    rename_now(book, "newer")
    assert await version_count(storage, book) == [1]
    before = use_storage(None)
    assert (await rename(book, "newest")).title == "newest"
    use_storage(before)


@pytest.mark.usefixtures("normal_again")
async def test_severity_critical_looks_at_roots_only(storage: EntityStorage) -> None:
    @entity_tracer(severity=TraceSeverity.CRITICAL)
    async def edit(book: Book, *, title: str | None = None) -> None:
        book.pages[0].text += "!"
        if title:
            book.title = title

    book = await storage.register(a_book("one"))
    await edit(book)
    assert await version_count(storage, book, book.pages[0]) == [1, 1]
    await edit(book, title="new")
    assert await version_count(storage, book, book.pages[0]) == [2, 2]
    assert (await storage.get(Book, book.ecs_id)).pages[0].text == "one!!"


@pytest.mark.usefixtures("normal_again")
async def test_severity_verbose_logs_calls_that_change_nothing_too(storage: EntityStorage, caplog: pytest.LogCaptureFixture) -> None:
    book = await storage.register(a_book())
    with caplog.at_level(logging.INFO, logger="minference.ecs.tracer"):
        await rename(book, "seen by nobody")
        EntityRegistry.set_trace_severity(TraceSeverity.VERBOSE)
        await rename(book, "new")
        await rename(book, "new")
    assert [record.getMessage() for record in caplog.records] == ["rename made 1 new version", "rename made 0 new versions"]


@pytest.mark.usefixtures("normal_again")
async def test_the_severity_of_a_context_is_not_that_of_another(storage: EntityStorage) -> None:
    async def untraced(book: Book) -> None:
        EntityRegistry.set_trace_severity(TraceSeverity.NONE)
        await rename(book, "new")

    first, second = await storage.register(a_book()), await storage.register(a_book())
    await asyncio.create_task(untraced(first))
    await rename(second, "new")
    assert await version_count(storage, first, second) == [1, 2]
