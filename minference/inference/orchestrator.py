"""`InferenceOrchestrator`: many threads at once, each to its own end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Self

from minference.clients.base import Client
from minference.ecs.registry import CurrentStorage, current_storage
from minference.errors import OrchestratorClosed, ThreadBusy
from minference.inference.calls import Line
from minference.inference.events import Event, Finished, Saved
from minference.inference.limits import Limits, RateLimiter
from minference.inference.outcomes import Completed, Failed, Outcome
from minference.inference.progress import (
    Progress,
    ProgressEvent,
    RunEnded,
    RunStarted,
    ThreadCompleted,
    ThreadFailed,
    ThreadStarted,
    TokensUsed,
)
from minference.inference.requests import ClientPool, Renderer
from minference.inference.retries import Retrier, RetryPolicy
from minference.inference.thread_run import Setup, ThreadRun
from minference.threads.thread import ChatThread


class InferenceOrchestrator:
    """Runs threads in parallel, within limits, and saves every step before the next.

    ```python
    async with open_storage("sqlite:///chats.db") as storage, InferenceOrchestrator(storage=storage) as orchestrator:
        [outcome] = await orchestrator.run_parallel_ai_completion([thread])
    ```

    One thread that fails is a `Failed` in the result and disturbs no other. A bug, in a progress callback for example,
    ends the call. When a call is cancelled or ends so, replies that are on their way are waited for and saved first.
    """

    def __init__(
        self,
        storage: CurrentStorage | None = None,
        *,
        limits: Limits | RateLimiter = None,
        clients: Mapping[str, Client] | None = None,
        retry: RetryPolicy | Retrier | None = None,
        structured_attempts: int = 2,
        tool_concurrency: int = 8,
        drain_seconds: float = 30.0,
        progress: Progress | None = None,
        author: str | None = None,
    ) -> None:
        """Set up; nothing is opened.

        Args:
            storage: Where threads are saved; `None` for the current storage at the moment of entering.
            limits: What the providers allow; or a limiter, to share one between orchestrators.
            clients: Clients to use under these names before those of the catalog. They stay open: their owner closes them.
            retry: How often and how long a call is tried.
            structured_attempts: Replies that one structured output may take, until one fits its schema.
            tool_concurrency: Tool calls of one reply that may run at once.
            drain_seconds: How long replies on their way may still come after a cancellation.
            progress: Is told what happens; see `RichProgress`.
            author: Who the commits say it was; `None` for the name of the method.
        """
        if structured_attempts < 1:
            raise ValueError(f"structured_attempts is {structured_attempts}: at least one reply is needed")
        self._storage = storage
        self._limiter = limits if isinstance(limits, RateLimiter) else RateLimiter(limits)
        self._clients = dict(clients or {})
        self._retrier = retry if isinstance(retry, Retrier) else Retrier(retry or RetryPolicy())
        self._structured_attempts = structured_attempts
        self._tool_concurrency = tool_concurrency
        self._drain_seconds = drain_seconds
        self._progress = progress
        self._author = author
        self._pool: ClientPool | None = None
        self._setup: Setup | None = None
        self._busy: set[int] = set()

    async def __aenter__(self) -> Self:
        storage = self._storage if self._storage is not None else current_storage()
        self._pool = ClientPool(self._clients)
        line = Line(Renderer(self._pool, self._limiter), self._limiter, self._retrier, storage, self._drain_seconds)
        self._setup = Setup(line, storage, "inference", "done", 1, self._structured_attempts, self._tool_concurrency)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._setup = None
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    async def run_parallel_ai_completion(self, threads: Sequence[ChatThread]) -> list[Outcome]:
        """One reply for each thread, and the results of the tools that it calls. Outcomes in the order of the threads.

        Raises:
            ThreadBusy: One object was passed twice, or is being run already; nothing was sent.
            OrchestratorClosed: Outside of `async with`.
        """
        return await self._run_all(threads, replace(self._opened("run_parallel_ai_completion"), until="turn"))

    async def run(self, threads: Sequence[ChatThread], *, max_turns: int = 10) -> list[Outcome]:
        """Each thread until it is done: model, tools, model, ... Outcomes in the order of the threads.

        A thread that was ended in the middle goes on from what is saved; one that is done is `Completed` without a call.

        Raises:
            ThreadBusy: One object was passed twice, or is being run already; nothing was sent.
            OrchestratorClosed: Outside of `async with`.
        """
        return await self._run_all(threads, replace(self._opened("run"), max_turns=max_turns))

    async def stream(self, thread: ChatThread, *, max_turns: int = 10) -> AsyncGenerator[Event, None]:
        """Like `run` for one thread, telling every step and the text as it comes; the last event is `Finished`.

        If a stream breaks off in the middle of a text, or is closed there, what was received is saved as an assistant
        message without a finish reason; the outcome is then `Failed`. Close it early with `contextlib.aclosing`.

        Raises:
            ThreadBusy: The object is being run already; nothing was sent.
            OrchestratorClosed: Outside of `async with`.
        """
        setup = replace(self._opened("stream"), max_turns=max_turns, streaming=True)
        with self._claimed([thread]), self._shown([thread]):
            async with aclosing(self._events(thread, setup)) as events:
                async for event in events:
                    yield event

    async def _run_all(self, threads: Sequence[ChatThread], setup: Setup) -> list[Outcome]:
        with self._claimed(threads), self._shown(threads):
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._outcome(thread, setup)) for thread in threads]
            except BaseExceptionGroup as bugs:
                if len(bugs.exceptions) > 1:
                    raise
                raise bugs.exceptions[0] from bugs.exceptions[0].__cause__
        return [task.result() for task in tasks]

    async def _outcome(self, thread: ChatThread, setup: Setup) -> Outcome:
        async with aclosing(self._events(thread, setup)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.outcome
        raise AssertionError("the last event is Finished")

    async def _events(self, thread: ChatThread, setup: Setup) -> AsyncGenerator[Event, None]:
        self._tell(ThreadStarted(thread))
        async with aclosing(ThreadRun(thread, setup).events()) as events:
            async for event in events:
                match event:
                    case Saved(message=message) if message.usage is not None:
                        self._tell(TokensUsed(thread, message.usage))
                    case Finished(Completed() as completed):
                        self._tell(ThreadCompleted(completed))
                    case Finished(Failed() as failed):
                        self._tell(ThreadFailed(failed))
                yield event

    def _opened(self, method: str) -> Setup:
        if self._setup is None:
            raise OrchestratorClosed
        return replace(self._setup, author=self._author or method)

    @contextmanager
    def _claimed(self, threads: Sequence[ChatThread]) -> Iterator[None]:
        """Hold the threads for one call: two runs of one object would both change it."""
        claimed: set[int] = set()
        for thread in threads:
            if id(thread) in self._busy or id(thread) in claimed:
                raise ThreadBusy(thread.ecs_id, thread.name)
            claimed.add(id(thread))
        self._busy |= claimed
        try:
            yield
        finally:
            self._busy -= claimed

    @contextmanager
    def _shown(self, threads: Sequence[ChatThread]) -> Iterator[None]:
        self._tell(RunStarted(len(threads)))
        try:
            yield
        finally:
            self._tell(RunEnded())

    def _tell(self, event: ProgressEvent) -> None:
        if self._progress is not None:
            self._progress(event)
