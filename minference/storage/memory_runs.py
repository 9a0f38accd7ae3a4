"""Named runs in this process's memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from pydantic import JsonValue

from minference.ecs.identity import utc_now
from minference.errors import RunBusy, RunNotFound
from minference.storage.runs import Began, Ended, EntryState, LetGo, Regained, RunEntry, RunInfo, Step


class MemoryRuns:
    """See `Runs`."""

    def __init__(self) -> None:
        self._runs: dict[str, RunInfo] = {}
        self._entries: dict[str, dict[UUID, RunEntry]] = {}

    async def take(
        self, name: str, holder: str, seconds: float, *, settings: Mapping[str, JsonValue] | None, instead_of: str | None = None
    ) -> RunInfo:
        """See `Runs.take`."""
        now = utc_now()
        known = self._runs.get(name)
        if known is None:
            if settings is None:
                raise RunNotFound(name, sorted(self._runs))
            known = RunInfo(name, now, now, {}, None, None)
            self._entries[name] = {}
        elif known.holder not in (None, holder, instead_of) and known.held_until is not None and known.held_until > now:
            raise RunBusy(name, str(known.holder), known.held_until)
        kept = known.settings if settings is None else dict(settings)
        self._runs[name] = replace(known, holder=holder, held_until=now + timedelta(seconds=seconds), settings=kept, updated_at=now)
        return await self.get(name)

    async def hold(self, name: str, holder: str, seconds: float) -> bool:
        """See `Runs.hold`."""
        if (known := self._runs[name]).holder != holder:
            return False
        self._runs[name] = replace(known, held_until=utc_now() + timedelta(seconds=seconds))
        return True

    async def release(self, name: str, holder: str) -> None:
        """See `Runs.release`."""
        if (known := self._runs[name]).holder == holder:
            self._runs[name] = replace(known, holder=None, held_until=None)

    async def leave(self, name: str, holder: str) -> None:
        """See `Runs.leave`."""
        if not any(each.state is EntryState.running for each in self._entries[name].values()):
            await self.release(name, holder)

    async def add(self, name: str, lineages: Sequence[UUID]) -> None:
        """See `Runs.add`."""
        entries = self._entries[name]
        for lineage_id in lineages:
            if lineage_id not in entries:
                entries[lineage_id] = RunEntry(len(entries), lineage_id, EntryState.pending, 0, None, 0, 0, 0.0, utc_now())

    async def again(self, name: str, lineages: Sequence[UUID]) -> None:
        """See `Runs.again`."""
        for entry in await self.of(name, lineages):
            if entry.state in (EntryState.done, EntryState.failed):
                waiting = replace(entry, state=EntryState.pending, error=None, updated_at=utc_now())
                self._entries[name][entry.lineage_id] = waiting

    async def note(self, name: str, steps: Sequence[Step]) -> None:
        """See `Runs.note`."""
        now = utc_now()
        for step in steps:
            entry = self._entries[name][step.lineage_id]
            match step:
                case Began():
                    to = step.version or entry.counted_to
                    changed = replace(entry, state=EntryState.running, starts=entry.starts + 1, error=None, updated_at=now, counted_to=to)
                case Regained() if entry.state is EntryState.running and entry.counted_to == step.since:
                    changed = replace(_with_spent(entry, step), counted_to=step.version)
                case LetGo() if entry.state is EntryState.running and entry.updated_at < step.at:
                    changed = replace(_with_spent(entry, step), updated_at=step.at, counted_to=step.version or entry.counted_to)
                case Ended() if entry.state is EntryState.running:
                    state = EntryState.done if step.error is None else EntryState.failed
                    changed = replace(_with_spent(entry, step), state=state, error=step.error, updated_at=now, counted_to=None)
                case _:
                    continue
            self._entries[name][step.lineage_id] = changed
        self._runs[name] = replace(self._runs[name], updated_at=now)

    async def entries(
        self, name: str, states: Sequence[EntryState] = tuple(EntryState), *, after: int = -1, limit: int | None = None
    ) -> list[RunEntry]:
        """See `Runs.entries`."""
        found = (each for each in self._entries.get(name, {}).values() if each.position > after and each.state in states)
        return sorted(found, key=lambda each: each.position)[:limit]

    async def of(self, name: str, lineages: Sequence[UUID]) -> list[RunEntry]:
        """See `Runs.of`."""
        wanted, entries = set(lineages), self._entries.get(name, {}).values()
        return sorted((each for each in entries if each.lineage_id in wanted), key=lambda each: each.position)

    async def get(self, name: str) -> RunInfo:
        """See `Runs.get`."""
        if (known := self._runs.get(name)) is None:
            raise RunNotFound(name, sorted(self._runs))
        entries = list(self._entries[name].values())
        return replace(
            known,
            counts=dict(Counter(each.state for each in entries)),
            replies=sum(each.replies for each in entries),
            tokens=sum(each.tokens for each in entries),
            cost_usd=sum(each.cost_usd or 0.0 for each in entries),
            unpriced=sum(each.cost_usd is None for each in entries),
        )

    async def all(self) -> list[RunInfo]:
        """See `Runs.all`."""
        found = [await self.get(name) for name in self._runs]
        return sorted(found, key=lambda each: each.updated_at, reverse=True)


def _with_spent(entry: RunEntry, step: Regained | LetGo | Ended) -> RunEntry:
    unknown = entry.cost_usd is None or step.cost_usd is None
    cost = None if unknown else (entry.cost_usd or 0.0) + (step.cost_usd or 0.0)
    return replace(entry, replies=entry.replies + step.replies, tokens=entry.tokens + step.tokens, cost_usd=cost)
