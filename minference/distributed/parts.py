"""A part of a run: what a job carries, and what doing it comes to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from minference.clients.base import Client
from minference.errors import ConfigurationError, StorageError, ThreadsElsewhere
from minference.inference.budgets import Budget
from minference.inference.caching import ResponseCache
from minference.inference.limits import RateLimiter, RequestLimits
from minference.inference.options import RunOptions
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.redis_limits import RedisQuotas
from minference.inference.settings import clients_of
from minference.inference.uncounted import regained_if_readable
from minference.storage.base import EntityStorage
from minference.storage.runs import FOR_WORKERS, Began, Ended, EntryState, RunEntry, Step

LIMITS: TypeAdapter[dict[str, RequestLimits] | RequestLimits | None] = TypeAdapter(dict[str, RequestLimits] | RequestLimits | None)


class QueueSettings(BaseModel):
    """What is the same for every part of a run."""

    model_config = ConfigDict(frozen=True)

    limits: dict[str, RequestLimits] | RequestLimits | None = None
    cache: bool = False
    cache_max_age: float | None = None
    thread_deadline: float | None = None


class Part(BaseModel):
    """What a job carries: no content, only which threads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    threads: tuple[UUID, ...] = Field(min_length=1)
    max_cost: float | None = None
    """The share of the run's budget, in US dollars."""
    max_tokens: int | None = None

    def budget(self) -> Budget | None:
        """What its calls may use."""
        if self.max_cost is None and self.max_tokens is None:
            return None
        return Budget(max_cost=self.max_cost, max_tokens=self.max_tokens)


@dataclass(frozen=True, slots=True)
class PartDone:
    """How a job ended."""

    job: int
    run: str
    done: int
    """Threads that have their answer; those that had it before among them."""
    failed: int
    left: int
    """Threads that are still to be done, by this job when it is done again."""
    seconds: float
    error: str | None
    """Why the job ended before its threads did; `None` if it did not."""
    again: bool
    """Whether it is done again."""


class Desk:
    """What a worker does parts with."""

    def __init__(self, storage: EntityStorage, clients: Mapping[str, Client] | None, redis: str | None) -> None:
        """Set up; nothing is connected.

        Raises:
            MissingExtra: Redis is asked for, and its package is not installed.
            ConfigurationError: It has no such address.
        """
        if redis is not None:
            try:
                RedisQuotas(redis)  # raises now what each job would
            except ValueError as error:
                raise ConfigurationError(f"{redis!r} is no URL of Redis: {error}") from error
        self.storage = storage
        self._clients = clients_of(clients)
        self._redis = redis
        self._limiters: dict[bytes, RateLimiter] = {}

    async def do(self, part: Part, held: tuple[UUID, ...]) -> None:
        """Go on with those threads of a part that have neither their answer nor have failed since they were submitted.

        Raises:
            RunNotFound: There is no such run.
            RunBusy: A process that is no worker works on it.
        """
        info = await self.storage.runs().get(part.run)
        settings = QueueSettings.model_validate(info.settings.get(FOR_WORKERS, {}))
        entries = await self.storage.runs().of(part.run, held)
        left = [entry.lineage_id for entry in entries if not _has_ended(entry)]
        if not left:
            return
        options = RunOptions(budget=part.budget(), thread_deadline=settings.thread_deadline)
        async with (
            self._orchestrator(part.run, settings) as orchestrator,
            aclosing(orchestrator.resume(part.run, part=left, concurrency=len(left), **options)) as outcomes,
        ):
            async for _ in outcomes:
                continue

    async def give_up(self, part: Part, held: tuple[UUID, ...], error: Exception) -> None:
        """Note why those threads of a part that have not ended will not be gone on with, so that the run says it, if it can be written."""
        why = f"{type(error).__name__}: {error}"
        with suppress(StorageError):  # the error that ended the job goes on
            steps: list[Step] = []
            for entry in await self.storage.runs().of(part.run, held):
                if not _has_ended(entry):
                    before = await regained_if_readable(self.storage, entry)
                    steps += [*([before] if before else []), Began(entry.lineage_id), Ended(entry.lineage_id, why, 0, 0, 0.0)]
            if steps:
                await self.storage.runs().note(part.run, steps)

    async def report(self, part: Part, job: int, began: float, error: BaseException | None, *, again: bool) -> PartDone:
        """How a part has ended, as the run says; if that cannot be read, as if it had no threads."""
        states: list[EntryState] = []
        with suppress(StorageError):  # what broke the job, or as good as that
            states = [entry.state for entry in await self.storage.runs().of(part.run, part.threads)]
        done, failed = states.count(EntryState.done), states.count(EntryState.failed)
        told = None if error is None else f"{type(error).__name__}: {error}"
        return PartDone(job, part.run, done, failed, len(states) - done - failed, time.monotonic() - began, told, again)

    async def aclose(self) -> None:
        """Let go of what is shared with other processes."""
        for limiter in self._limiters.values():
            await limiter.aclose()

    def _orchestrator(self, run: str, settings: QueueSettings) -> InferenceOrchestrator:
        return InferenceOrchestrator(
            self.storage,
            limits=self._limiter(settings),
            clients=self._clients,
            cache=ResponseCache(max_age=settings.cache_max_age) if settings.cache else False,
            author=f"run {run}",
        )

    def _limiter(self, settings: QueueSettings) -> RateLimiter:
        """One for all jobs whose runs say the same of limits: they share what there is."""
        key = LIMITS.dump_json(settings.limits)
        if key not in self._limiters:
            shared = RedisQuotas(self._redis) if self._redis is not None else None
            self._limiters[key] = RateLimiter(settings.limits, shared=shared)
        return self._limiters[key]


def require_all(part: Part, elsewhere: tuple[UUID, ...]) -> None:
    """Return if nobody else is at threads of the part.

    Raises:
        ThreadsElsewhere: Somebody is.
    """
    if elsewhere:
        raise ThreadsElsewhere(part.run, elsewhere)


def remembered(settings: QueueSettings) -> dict[str, JsonValue]:
    """What a run that is done by workers remembers."""
    return {FOR_WORKERS: settings.model_dump(mode="json", exclude_none=True)}


def _has_ended(entry: RunEntry) -> bool:
    return entry.state in (EntryState.done, EntryState.failed)
