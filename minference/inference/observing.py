"""Watching a thread on its way: its span, its lines in the log, and the context of everything that happens inside."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from minference.inference.events import Event, Finished, Saved
from minference.inference.outcomes import Completed, Outcome
from minference.inference.progress import ProgressEvent, ThreadCompleted, ThreadFailed, ThreadStarted, TokensUsed
from minference.inference.telemetry import INACTIVE, Telemetry, error_type
from minference.logs import context
from minference.threads.thread import ChatThread

T = TypeVar("T")

logger = logging.getLogger(__name__)


async def within(inside: Callable[[], AbstractContextManager[object]], items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The items, each made inside the context. Whoever takes them is outside of it: a generator shares its caller's variables."""
    try:
        while True:
            with inside():
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
            yield item
    finally:
        with inside():
            await items.aclose()


async def observed(
    thread: ChatThread, events: AsyncGenerator[Event, None], telemetry: Telemetry, run: str | None, tell: Callable[[ProgressEvent], None]
) -> AsyncGenerator[Event, None]:
    """The events of a thread, watched; `run` is the name of its run, if it has one. What `tell` is told happens outside of the context."""
    # One generator that does what several could: each of them is passed by everything that a thread waits for.

    lineage_id = thread.lineage_id

    def inside() -> AbstractContextManager[object]:
        said = context(thread=lineage_id, version=thread.ecs_id, run=run, attempt=None)
        active = operation.active()
        return said if active is INACTIVE else _both(said, active)

    tell(ThreadStarted(thread))
    with context(run=run):
        operation = telemetry.thread(thread)
    try:
        try:
            while True:
                with inside():
                    try:
                        event = await anext(events)
                    except StopAsyncIteration:
                        return
                    if isinstance(event, Finished):
                        _say(event.outcome)
                if isinstance(event, Finished):
                    operation.finished(event.outcome)
                    tell(ThreadCompleted(event.outcome) if isinstance(event.outcome, Completed) else ThreadFailed(event.outcome))
                elif isinstance(event, Saved) and event.message.usage is not None:
                    tell(TokensUsed(thread, event.message.usage))
                yield event
        finally:
            with inside():
                await events.aclose()
    except BaseException as error:
        operation.end(error)
        raise


@contextmanager
def _both(one: AbstractContextManager[object], other: AbstractContextManager[object]) -> Iterator[None]:
    with one, other:
        yield


def _say(outcome: Outcome) -> None:
    """Log how a thread ended. What an error says may hold what was said in the thread, so only its kind is for everybody."""
    counts = {"failed_attempts": len(outcome.attempts), "tokens": outcome.spent.tokens}
    if isinstance(outcome, Completed):
        logger.debug("thread completed", extra=counts)
        return
    kind = type(outcome.error).__name__
    facts = kind if error_type(outcome.error) == kind else f"{kind} ({error_type(outcome.error)})"
    logger.warning("thread failed: %s", facts, extra={**counts, "error_type": kind})
    logger.debug("the error of the thread says: %s", outcome.error)
