"""`in_parallel`: work on the items of any iterable, so many at once, with the results as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Generator, Iterable, Sequence, Sized
from contextlib import aclosing
from typing import Any, NoReturn, TypeVar

from minference.inference.arguments import a_count
from minference.inference.deadlines import Deadline
from minference.inference.garbage import collected_less_often
from minference.waiting import ended

T = TypeVar("T")
R = TypeVar("R")


class End:
    """Comes after the last item, and after the last result."""


END = End()


def check_concurrency(concurrency: int) -> None:
    """Return if something could be worked on.

    Raises:
        UnusableValue: Nothing could.
        WrongArgument: It is no number.
    """
    a_count("concurrency", concurrency, "at least one must be worked on at once")


async def in_parallel(
    items: Iterable[T] | AsyncIterable[T],
    work: Callable[[T], Coroutine[Any, Any, R]],
    concurrency: int,
    check: Callable[[T], None] = lambda _: None,
    deadline: Deadline | None = None,
    over: Callable[[], bool] = lambda: False,
) -> AsyncGenerator[R, None]:
    """What `work` returns for each item, in the order in which it is done.

    An item is taken when there is room to work on it, and work stops while nobody takes results: at most `concurrency`
    items are held, and one result more. What `work` raises ends everything. What the iterable raises, or `check` of an item, ends the
    taking: it is raised once what was taken before is done, and its results are. Close it early with `contextlib.aclosing`: work
    under way is cancelled, and has ended when it is closed or a cancellation of the caller goes on. Each further cancellation is
    passed on to the work.

    When it is `over`, no more is taken. At the deadline, an iterable without a length has come to its end, also if it is being
    waited for. In every case a generator is closed when no more is taken from it.

    Raises:
        UnusableValue: Nothing could be worked on.
    """
    check_concurrency(concurrency)
    workers = concurrency
    if isinstance(items, Sized):
        workers, deadline = min(concurrency, max(len(items), 1)), None
    results: asyncio.Queue[R | End] = asyncio.Queue(maxsize=1)
    crew: list[asyncio.Task[None]] = []
    whole = asyncio.create_task(_all(_each(items, check), work, workers, results, deadline, over, crew))
    try:
        with collected_less_often():
            while not isinstance(result := await results.get(), End):
                yield result
            await whole
    finally:
        whole.cancel()
        await ended([whole], told=crew)


async def _all(
    items: AsyncGenerator[T, None],
    work: Callable[[T], Coroutine[Any, Any, R]],
    workers: int,
    results: asyncio.Queue[Any],
    deadline: Deadline | None,
    over: Callable[[], bool],
    crew: list[asyncio.Task[None]],
) -> None:
    """Work on all items; whoever does is put into `crew`."""
    turn = asyncio.Lock()
    broken: list[Exception] = []

    async def worker() -> None:
        while True:
            async with turn:
                try:
                    item = await _next(items, deadline, over)
                except Exception as error:  # noqa: BLE001 - the iterable's own; whoever is at work goes on
                    broken.append(error)
                    return
            if isinstance(item, End):
                return
            await results.put(await work(item))

    try:
        async with aclosing(items), asyncio.TaskGroup() as group:
            crew.extend(group.create_task(worker()) for _ in range(workers))
    except BaseExceptionGroup as bugs:
        await results.put(END)
        _raise([*bugs.exceptions, *broken])
    await results.put(END)
    if any(each.cancelled() for each in crew):  # by nobody who waits for it
        raise RuntimeError("work was cancelled by something that it called: its result is missing")
    if broken:
        _raise(broken)


def _raise(errors: Sequence[BaseException]) -> NoReturn:
    """Raise one error as it is, and several together."""
    if len(errors) > 1:
        raise BaseExceptionGroup("several things went wrong at once", errors)
    raise errors[0] from errors[0].__cause__


async def _next(items: AsyncGenerator[T, None], deadline: Deadline | None, over: Callable[[], bool]) -> T | End:
    """The next item; the end if it is over, or there is none until the deadline."""
    if over():
        return END
    if deadline is None:
        return await anext(items, END)
    if asyncio.get_running_loop().time() >= deadline.moment:
        return END
    try:
        async with asyncio.timeout_at(deadline.moment) as limit:
            return await anext(items, END)
    except TimeoutError:
        if not limit.expired():
            raise  # it is the iterable's own
        return END


async def _each(items: Iterable[T] | AsyncIterable[T], check: Callable[[T], None]) -> AsyncGenerator[T, None]:
    try:
        if isinstance(items, AsyncIterable):
            async for item in items:
                check(item)
                yield item
        else:
            for item in items:
                check(item)
                yield item
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()
        elif isinstance(items, Generator):
            items.close()
