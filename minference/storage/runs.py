"""What every storage keeps of named runs: which threads are to be done, and how far each of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol
from uuid import UUID

from pydantic import JsonValue

FOR_WORKERS = "queue"
"""Under which a run that was left to workers remembers, in its settings, what they need to know."""


class EntryState(StrEnum):
    """How far a thread of a run is."""

    pending = "pending"
    """Nobody has begun with it."""
    running = "running"
    """Somebody has begun with it, and has not said how it ended: it is under way, or its process was killed."""
    done = "done"
    """It has its answer."""
    failed = "failed"
    """It could not go on."""


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One thread of a run."""

    position: int
    """Its place in the work list."""
    lineage_id: UUID
    """The thread."""
    state: EntryState
    starts: int
    """How often somebody has begun with it."""
    error: str | None
    """Why it failed, if it did; further lines tell of each attempt."""
    replies: int
    tokens: int
    cost_usd: float | None
    """Of its replies in this run; `None` if the price of one is unknown."""
    updated_at: datetime
    counted_to: UUID | None = None
    """While it is running: the version of the thread up to which its replies are counted. What a process had saved that was killed is
    counted when the thread is gone on with."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run as a whole."""

    name: str
    created_at: datetime
    updated_at: datetime
    """When it was last begun or continued, or something of it ended."""
    settings: Mapping[str, JsonValue]
    """What whoever continues it needs to know."""
    holder: str | None
    """The process that works on it, if one does; or that was killed while it did."""
    held_until: datetime | None
    """Until when that process keeps others out, unless it says again that it is alive."""
    counts: Mapping[EntryState, int] = field(default_factory=dict)
    """Threads by state; states of none are left out."""
    replies: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    """Of all replies whose price is known."""
    unpriced: int = 0
    """Threads that have replies whose price is unknown."""

    @property
    def total(self) -> int:
        """How many threads it has."""
        return sum(self.counts.values())

    @property
    def left(self) -> int:
        """How many threads are neither done nor failed."""
        return self.counts.get(EntryState.pending, 0) + self.counts.get(EntryState.running, 0)

    def status(self, now: datetime) -> Literal["running", "queued", "interrupted", "failed", "done"]:
        """Whether somebody works on it; else whether something was left, for workers or for whoever resumes it, or has failed."""
        if self.holder is not None and self.held_until is not None and self.held_until > now:
            return "running"
        if self.left:
            return "queued" if FOR_WORKERS in self.settings else "interrupted"
        return "failed" if self.counts.get(EntryState.failed) else "done"


@dataclass(frozen=True, slots=True)
class Began:
    """Somebody begins with a thread."""

    lineage_id: UUID
    version: UUID | None = None
    """With this version of it; `None` to leave open from where on its replies count."""


@dataclass(frozen=True, slots=True)
class Regained:
    """What is saved of a thread that somebody had begun with who was killed. It counts if nothing has been counted meanwhile."""

    lineage_id: UUID
    since: UUID
    """The version up to which its replies are counted."""
    version: UUID
    """That up to which they are now."""
    replies: int
    """That came in between, like tokens and cost."""
    tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A thread is done or failed, for now."""

    lineage_id: UUID
    error: str | None
    """Why it failed; `None` if it is done."""
    replies: int
    """That came since it began, like tokens and cost."""
    tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class LetGo:
    """Whoever began with a thread stops in the middle: it stays as far as it is, and what came of it counts."""

    lineage_id: UUID
    at: datetime
    """When; nothing of the thread was noted since, or this is no news."""
    replies: int
    """That came since it began, like tokens and cost."""
    tokens: int
    cost_usd: float | None
    version: UUID | None = None
    """The version of the thread that holds them; `None` to leave open from where on its replies count."""


Step = Began | Regained | LetGo | Ended


class Runs(Protocol):
    """Named runs in a storage. Everything is durable when it returns, and may be said again without harm."""

    async def take(
        self, name: str, holder: str, seconds: float, *, settings: Mapping[str, JsonValue] | None, instead_of: str | None = None
    ) -> RunInfo:
        """Make the run if it is new, and keep others out of it for so long.

        Args:
            holder: A name of the process that nobody else has.
            settings: What is to be known of the run from now on; `None` to leave that as it is.
            instead_of: A holder to take it from, if it is still that one's.

        Raises:
            RunBusy: Another process holds it.
            RunNotFound: There is no such run, and no settings for a new one.
        """
        ...

    async def hold(self, name: str, holder: str, seconds: float) -> bool:
        """Keep others out for so long from now on; whether it is still this holder's."""
        ...

    async def release(self, name: str, holder: str) -> None:
        """Let others in, if it is this holder's."""
        ...

    async def leave(self, name: str, holder: str) -> None:
        """Let others in, if it is this holder's and nobody who works under the same name has begun with a thread."""
        ...

    async def add(self, name: str, lineages: Sequence[UUID]) -> None:
        """Put these threads at the end of the work list, those excepted that are in it already."""
        ...

    async def again(self, name: str, lineages: Sequence[UUID]) -> None:
        """Have those of these threads that are done or failed wait for somebody once more."""
        ...

    async def note(self, name: str, steps: Sequence[Step]) -> None:
        """Write down how far threads are, in order. Nothing ends that was not begun, so that nothing is counted twice."""
        ...

    async def entries(
        self, name: str, states: Sequence[EntryState] = tuple(EntryState), *, after: int = -1, limit: int | None = None
    ) -> list[RunEntry]:
        """Threads in these states behind a place in the work list, in its order: all of them, or the first `limit`.

        Of a run that goes on while it is read, later ones may be further than the first were when those were.
        """
        ...

    async def of(self, name: str, lineages: Sequence[UUID]) -> list[RunEntry]:
        """Those of these threads that are in the work list, in its order."""
        ...

    async def get(self, name: str) -> RunInfo:
        """One run.

        Raises:
            RunNotFound: There is none of this name.
        """
        ...

    async def all(self) -> list[RunInfo]:
        """Every run, the one that was worked on last first."""
        ...


class KeepsRuns(Protocol):
    """A part of `EntityStorage`."""

    def runs(self) -> Runs:
        """Named runs: which threads are to be done, and how far each of them is."""
        ...
