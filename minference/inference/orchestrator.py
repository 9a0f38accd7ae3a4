"""`InferenceOrchestrator`: many threads at once, each to its own end."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Self, Unpack
from uuid import UUID

from minference.clients.base import Client
from minference.ecs.registry import CurrentStorage, current_storage
from minference.errors import AlreadyOpen, MinferenceError, NotAWorkflow, OrchestratorClosed, ThreadBusy
from minference.inference.caching import OpenCache, ResponseCache, opened
from minference.inference.calls import Line
from minference.inference.claims import CLAIMS
from minference.inference.closing import UnderWay, close_all
from minference.inference.crowd import check_concurrency, in_parallel
from minference.inference.entering import begun, entered, journal_of, keeping_runs
from minference.inference.events import Event, Finished
from minference.inference.holders import Crew
from minference.inference.limits import Limits, RateLimiter
from minference.inference.observing import observed
from minference.inference.options import RunOptions, check_options, check_thread, how_many, listed, setup_with, with_settings
from minference.inference.outcomes import Failed, Outcome
from minference.inference.prices import Price, PriceList
from minference.inference.progress import (
    Progress,
    ProgressEvent,
    RunEnded,
    RunStarted,
    ThreadFailed,
)
from minference.inference.requests import ClientPool, Renderer
from minference.inference.resuming import to_resume
from minference.inference.retries import Retrier, RetryPolicy
from minference.inference.sandbox import SourceTools, sandbox_of
from minference.inference.settings import check_settings, clients_of, retrier_of
from minference.inference.telemetry import Telemetry
from minference.inference.thread_run import Setup, ThreadRun
from minference.inference.tool_places import ToolConcurrency, ToolPlaces, tool_concurrency_of
from minference.inference.workshop import Workshop
from minference.logs import context
from minference.threads.config import ResponseFormat
from minference.threads.thread import ChatThread
from minference.waiting import to_the_end

logger = logging.getLogger(__name__)


class InferenceOrchestrator:
    """Runs threads in parallel, within limits, and saves every step before the next.

    ```python
    async with open_storage("sqlite:///chats.db") as storage, InferenceOrchestrator(storage=storage) as orchestrator:
        [outcome] = await orchestrator.run_parallel_ai_completion([thread])
    ```

    One thread that fails is a `Failed` in the result and disturbs no other. A bug, in a progress callback for example,
    ends the call. When a call is cancelled or ends so, replies that are on their way are waited for and saved first. So it is when
    the block is left while calls go on in other tasks: each of their threads is `Failed(OrchestratorClosed)`, and can be run again.
    """

    def __init__(
        self,
        storage: CurrentStorage | None = None,
        *,
        limits: Limits | RateLimiter = None,
        clients: Mapping[str, Client] | None = None,
        retry: RetryPolicy | Retrier | None = None,
        prices: Mapping[str, Price] | None = None,
        structured_attempts: int = 2,
        tool_concurrency: int | ToolConcurrency = 8,
        source_tools: SourceTools = "refuse",
        drain_seconds: float = 30.0,
        cache: bool | ResponseCache = False,
        progress: Progress | None = None,
        author: str | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Set up; nothing is opened.

        Args:
            storage: Where threads are saved; `None` for the current storage at the moment of entering.
            limits: What the providers allow; or a limiter, to share one between orchestrators, or processes. Its owner closes it.
            clients: Clients to use under these names before those of the catalog. They stay open: their owner closes them.
            retry: How often and how long a call is tried.
            prices: What models cost, by `client/model` or `client`, before the price lists of `genai-prices`.
            structured_attempts: Replies that one structured output, or one step of a workflow, may take until one is as it should be.
            tool_concurrency: Tool calls of one reply that may run at once; a `ToolConcurrency` also bounds those of one tool, and of all.
            source_tools: Whether tools that are program text run: `"refuse"`, `"sandbox"`, or a `Sandbox` with limits. The texts
                that the application vouches for (`tool.trust()`) run in any case, as plain Python.
            drain_seconds: How long replies on their way may still come after a cancellation.
            cache: Whether a request that was made before, by any program on this storage, is answered with the reply that it got
                then; a `ResponseCache` says how old that may be. See docs/running.md.
            progress: Is told what happens; see `RichProgress`.
            author: Who the commits say it was; `None` for the name of the method.
            telemetry: Where spans and metrics go; `None` for where OpenTelemetry is set up to send them, if it is.
        """
        check_settings(storage, structured_attempts, drain_seconds, cache, progress, author, telemetry)
        self._storage = storage
        self._limiter = limits if isinstance(limits, RateLimiter) else RateLimiter(limits)
        self._clients = clients_of(clients)
        self._retrier = retrier_of(retry)
        self._prices = PriceList(prices)
        self._structured_attempts = structured_attempts
        self._tool_concurrency = tool_concurrency_of(tool_concurrency)
        self._source_tools = source_tools
        self._sandbox = sandbox_of(source_tools)  # refuses what could not be opened later
        self._drain_seconds = drain_seconds
        self._cache_settings = cache
        self._cache: OpenCache | None = None
        self._progress = progress
        self._author = author
        self._telemetry = telemetry
        self._pool: ClientPool | None = None
        self._setup: Setup | None = None
        self._under_way = UnderWay()

    async def __aenter__(self) -> Self:
        if self._setup is not None:
            raise AlreadyOpen("the orchestrator")
        storage = self._storage if self._storage is not None else current_storage()
        self._sandbox = sandbox_of(self._source_tools)
        self._cache = opened(self._cache_settings, storage)
        self._pool = ClientPool(self._clients)
        telemetry = self._telemetry or Telemetry()
        renderer = Renderer(self._pool, self._limiter)
        line = Line(renderer, self._limiter, self._retrier, storage, self._drain_seconds, self._prices, telemetry, cache=self._cache)
        workshop = Workshop(storage=storage, sandbox=self._sandbox, telemetry=telemetry, places=ToolPlaces(self._tool_concurrency))
        self._under_way = UnderWay()
        self._setup = Setup(line, storage, "inference", "done", 1, self._structured_attempts, self._tool_concurrency.per_turn, workshop)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._setup = None
        pool, self._pool = self._pool, None
        sandbox, self._sandbox = self._sandbox, None
        cache, self._cache = self._cache, None
        try:
            await self._under_way.close()
        finally:
            await to_the_end(close_all(cache, sandbox, pool))

    async def run_parallel_ai_completion(self, threads: Sequence[ChatThread]) -> list[Outcome]:
        """One reply for each thread, and the results of the tools that it calls. Outcomes in the order of the threads.

        Raises:
            ThreadBusy: One object was passed twice, or is being run already; nothing was sent.
            OrchestratorClosed: Outside of `async with`.
        """
        return await self._run_all(threads, replace(self._opened("run_parallel_ai_completion"), until="turn"))

    async def run(
        self,
        threads: Sequence[ChatThread],
        *,
        concurrency: int | None = None,
        run_id: str | None = None,
        **options: Unpack[RunOptions],
    ) -> list[Outcome]:
        """Each thread until it is done: model, tools, model, ... Outcomes in the order of the threads.

        A thread that was ended in the middle goes on from what is saved; one that is done is `Completed` without a call.

        Args:
            concurrency: Threads that may be under way at once; `None` for all.
            run_id: A name under which the storage keeps which threads are to be done and how far each is: see `resume`. All
                threads are saved and in the work list before the first is asked anything.
            options: See `RunOptions`.

        Raises:
            ThreadBusy: One object was passed twice, or is being run already; nothing was sent.
            InvalidRunName: No run can be called so; nothing was sent.
            RunBusy: Another process works on the run of this name; nothing was sent.
            StorageError: The work list cannot be written; nothing was sent.
            OrchestratorClosed: Outside of `async with`.
        """
        setup = setup_with(self._opened("run"), options, "concurrency", "run_id")
        if concurrency is not None:
            check_concurrency(concurrency)
        with CLAIMS.on(threads := listed(threads)), self._under_way.call():
            async with entered(run_id, setup, options, threads) as named:
                return await self._run_claimed(threads, named, concurrency)

    async def run_workflow(self, thread: ChatThread, **options: Unpack[RunOptions]) -> Outcome:
        """A thread through the steps of its workflow that are left: its tools in order, each forced until it has given a result.

        Raises:
            NotAWorkflow: Its response format is another, or it has no tools; nothing was sent.
            ThreadBusy: The object is being run already; nothing was sent.
            OrchestratorClosed: Outside of `async with`.
        """
        setup = self._opened("run_workflow")
        check_thread(thread)
        if (found := thread.llm_config.response_format) is not ResponseFormat.workflow:
            raise NotAWorkflow(thread.ecs_id, f"its response format is {found.value!r}: set llm_config.response_format to 'workflow'")
        if not thread.tools:
            raise NotAWorkflow(thread.ecs_id, "it has no tools: put the tool of each step into `tools`, in order")
        options.setdefault("max_turns", max(2 * len(thread.tools), 10))
        [outcome] = await self._run_all([thread], setup_with(setup, options))
        return outcome

    async def as_completed(
        self,
        threads: Iterable[ChatThread] | AsyncIterable[ChatThread],
        *,
        concurrency: int = 256,
        run_id: str | None = None,
        **options: Unpack[RunOptions],
    ) -> AsyncGenerator[Outcome, None]:
        """Like `run` for any iterable or async iterable, however long: the outcome of each thread as soon as there is one.

        A thread is taken when there is room for it, and forgotten with its outcome, whose `thread_id` says whose it is. While
        nobody takes outcomes, no further thread begins. Leave the loop early with `contextlib.aclosing`: replies on their way are
        waited for and saved. An object that is being run already is `Failed(ThreadBusy)`. What the iterable raises is raised once
        each thread that was taken before has its outcome.

        Args:
            concurrency: Threads that may be under way at once.
            run_id: As in `run`. Threads of a collection are held, and are all in the work list before the first is asked
                anything; those of an iterable without a length are in it once they are taken.
            options: See `RunOptions`.

        Raises:
            InvalidRunName: No run can be called so; nothing was sent.
            RunBusy: Another process works on the run of this name; nothing was sent.
            OrchestratorClosed: Outside of `async with`.
        """
        setup = setup_with(self._opened("as_completed"), options, "concurrency", "run_id")
        total = how_many(threads)
        known: list[ChatThread] = []
        if run_id is not None and isinstance(threads, Collection):
            threads = known = listed(threads)
        check_concurrency(concurrency)
        idle = [each for each in known if each not in CLAIMS]
        async with (
            entered(run_id, setup, options, idle) as named,
            aclosing(self._as_completed(threads, named, concurrency, total)) as outcomes,
        ):
            async for outcome in outcomes:
                yield outcome

    async def resume(
        self,
        run_id: str,
        *,
        retry_failed: bool = True,
        part: Sequence[UUID] | None = None,
        concurrency: int = 256,
        **options: Unpack[RunOptions],
    ) -> AsyncGenerator[Outcome, None]:
        """The threads of a named run that are not done, each from where it is saved; outcomes as they come.

        What the run was told of turns counts again, unless `options` say otherwise; deadlines and budgets begin anew. Tools are
        found by their names: the modules that define them must have been imported.

        Args:
            run_id: The name that `run` or `as_completed` was given, by whichever process.
            retry_failed: Whether threads that have failed are tried again.
            part: Only the threads of these lineages, whatever became of them before, side by side with other processes that do other
                parts: what a worker does (`minference.distributed`). One that cannot be begun with is noted as failed.
            concurrency: Threads that may be under way at once.
            options: See `RunOptions`.

        Raises:
            RunNotFound: There is no such run.
            RunBusy: Another process works on it; nothing was sent. One of this machine that was killed does not count.
            OrchestratorClosed: Outside of `async with`.
        """
        check_options(options, "retry_failed", "part", "concurrency")
        setup = self._opened("resume") if part is None else replace(self._opened("resume"), holder=Crew())
        async with journal_of(setup, run_id, None) as journal:
            setup = replace(setup_with(setup, with_settings(journal.info.settings, options)), journal=journal)
            total, threads = to_resume(keeping_runs(setup), journal, part, retry_failed=retry_failed)
            async with aclosing(self._as_completed(threads, setup, concurrency, total)) as outcomes:
                async for outcome in outcomes:
                    yield outcome

    async def stream(self, thread: ChatThread, **options: Unpack[RunOptions]) -> AsyncGenerator[Event, None]:
        """Like `run` for one thread, telling every step and the text as it comes; the last event is `Finished`.

        If a stream breaks off in the middle of a text, or is closed there (do so with `contextlib.aclosing`), what was received is
        saved with the finish reason `broken_off`, and the outcome is `Failed`. Running the thread again asks for the whole reply.

        Raises:
            ThreadBusy: The object is being run already; nothing was sent.
            OrchestratorClosed: Outside of `async with`.
        """
        setup = replace(setup_with(self._opened("stream"), options), streaming=True)
        with CLAIMS.on([thread]), self._shown(1, setup):
            async with aclosing(self._events(thread, setup)) as made:
                async for event in self._under_way.each(made, lambda closed: Finished(self._failed(thread, closed))):
                    yield event

    async def _as_completed(
        self, threads: Iterable[ChatThread] | AsyncIterable[ChatThread], setup: Setup, concurrency: int, total: int | None
    ) -> AsyncGenerator[Outcome, None]:
        closed, given = self._under_way.is_closed, 0
        with self._shown(total, setup):
            working = in_parallel(threads, lambda one: self._claimed_outcome(one, setup), concurrency, check_thread, setup.deadline, closed)
            async with aclosing(working) as outcomes:
                async for outcome in outcomes:
                    given += 1
                    yield outcome
        if closed() and given != total:
            raise OrchestratorClosed(midway=True)

    async def _run_all(self, threads: Sequence[ChatThread], setup: Setup) -> list[Outcome]:
        with CLAIMS.on(threads := listed(threads)), self._under_way.call():
            return await self._run_claimed(threads, setup, None)

    async def _run_claimed(self, threads: Sequence[ChatThread], setup: Setup, concurrency: int | None) -> list[Outcome]:
        async def work(place: int) -> tuple[int, Outcome]:
            return place, await self._outcome(threads[place], setup)

        with self._shown(len(threads), setup):
            async with aclosing(in_parallel(range(len(threads)), work, concurrency or max(len(threads), 1))) as outcomes:
                found = {place: outcome async for place, outcome in outcomes}
        return [found[place] for place in range(len(threads))]

    async def _claimed_outcome(self, thread: ChatThread, setup: Setup) -> Outcome:
        try:
            with CLAIMS.on([thread]):
                return await self._outcome(thread, setup)
        except ThreadBusy as busy:
            return self._failed(thread, busy)

    async def _outcome(self, thread: ChatThread, setup: Setup) -> Outcome:
        if (journal := setup.journal) is None:
            return await self._run_one(thread, setup)
        try:
            await begun(thread, setup, journal)
        except MinferenceError as error:
            return self._failed(thread, error)
        outcome = await self._run_one(thread, setup)
        if not (isinstance(outcome, Failed) and isinstance(outcome.error, OrchestratorClosed)):  # whoever resumes the run goes on with it
            await journal.end(outcome)
        return outcome

    def _failed(self, thread: ChatThread, error: MinferenceError) -> Failed:
        failed = Failed(thread, error)
        self._tell(ThreadFailed(failed))
        return failed

    async def _run_one(self, thread: ChatThread, setup: Setup) -> Outcome:
        try:
            with self._under_way.block():
                async with aclosing(self._events(thread, setup)) as events:
                    async for event in events:
                        if isinstance(event, Finished):
                            return event.outcome
        except OrchestratorClosed as closed:
            return self._failed(thread, closed)
        raise AssertionError("the last event is Finished")

    def _events(self, thread: ChatThread, setup: Setup) -> AsyncGenerator[Event, None]:
        return observed(thread, ThreadRun(thread, setup).events(), setup.line.telemetry, setup.run, self._tell)

    def _opened(self, method: str) -> Setup:
        if self._setup is None:
            raise OrchestratorClosed
        return replace(self._setup, author=self._author or method)

    @contextmanager
    def _shown(self, threads: int | None, setup: Setup) -> Iterator[None]:
        began = time.perf_counter()
        with context(run=setup.run):
            logger.info("run started", extra={"method": setup.author, "threads": threads})
        self._tell(RunStarted(threads))
        try:
            yield
        finally:
            with context(run=setup.run):
                logger.info("run finished", extra={"seconds": round(time.perf_counter() - began, 3)})
            self._tell(RunEnded())

    def _tell(self, event: ProgressEvent) -> None:
        if self._progress is not None:
            self._progress(event)
