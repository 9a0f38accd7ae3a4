"""Named runs in their two tables. Each change is one transaction, tried again while the database is busy or away."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, assert_never
from uuid import UUID

from pydantic import JsonValue, TypeAdapter

from minference.ecs.identity import utc_now
from minference.errors import RunBusy, RunNotFound
from minference.storage.runs import Began, Ended, EntryState, LetGo, Regained, RunEntry, RunInfo, Step
from minference.storage.sql.among import text_parameter, uuid_parameter
from minference.storage.sql.beside import TableBeside
from minference.storage.sql.driver import Rows, Transaction
from minference.storage.sql.reader import Reader
from minference.storage.sql.types import escape_json, escape_text, json_document, unescape_json, unescape_text

_SET_UP = """
    INSERT INTO run (name, created_at, updated_at, settings) VALUES ({0:text}, {1:timestamptz}, {1:timestamptz}, {2:json})
    ON CONFLICT (name) DO NOTHING"""
_TAKE = """
    UPDATE run SET holder = {1:text}, held_until = {3:timestamptz}, updated_at = {2:timestamptz}, settings = COALESCE({4:json}, settings)
    WHERE name = {0:text} AND (holder IS NULL OR holder = {1:text} OR holder = {5:text} OR held_until <= {2:timestamptz})"""
_HOLD = "UPDATE run SET held_until = {2:timestamptz} WHERE name = {0:text} AND holder = {1:text} RETURNING name"
_RELEASE = "UPDATE run SET holder = NULL, held_until = NULL WHERE name = {0:text} AND holder = {1:text}"
_LEAVE = """
    UPDATE run SET holder = NULL, held_until = NULL WHERE name = {0:text} AND holder = {1:text}
    AND NOT EXISTS (SELECT 1 FROM run_entry WHERE run_name = {0:text} AND state = 'running')"""
_AGAIN = """
    UPDATE run_entry SET state = 'pending', error = NULL, updated_at = {2:timestamptz}
    WHERE run_name = {0:text} AND lineage_id = {1:uuid} AND state IN ('done', 'failed')"""
_ADD = """
    INSERT INTO run_entry (run_name, position, lineage_id, state, starts, replies, tokens, cost_usd, updated_at)
    SELECT {0:text}, COALESCE((SELECT MAX(position) + 1 FROM run_entry WHERE run_name = {0:text}), 0),
           {1:uuid}, 'pending', 0, 0, 0, 0.0, {2:timestamptz}
    WHERE NOT EXISTS (SELECT 1 FROM run_entry WHERE run_name = {0:text} AND lineage_id = {1:uuid})"""
_BEGAN = """
    UPDATE run_entry SET state = 'running', starts = starts + 1, error = NULL, updated_at = {2:timestamptz},
        counted_to = COALESCE({3:uuid}, counted_to)
    WHERE run_name = {0:text} AND lineage_id = {1:uuid}"""
_REGAINED = """
    UPDATE run_entry SET replies = replies + {4:bigint}, tokens = tokens + {5:bigint}, cost_usd = cost_usd + {6:double precision},
        counted_to = {3:uuid}
    WHERE run_name = {0:text} AND lineage_id = {1:uuid} AND state = 'running' AND counted_to = {2:uuid}"""
_LET_GO = """
    UPDATE run_entry SET replies = replies + {3:bigint}, tokens = tokens + {4:bigint}, cost_usd = cost_usd + {5:double precision},
        updated_at = {2:timestamptz}, counted_to = COALESCE({6:uuid}, counted_to)
    WHERE run_name = {0:text} AND lineage_id = {1:uuid} AND state = 'running' AND updated_at < {2:timestamptz}"""
_ENDED = """
    UPDATE run_entry SET state = {6:text}, error = {7:text}, replies = replies + {3:bigint}, tokens = tokens + {4:bigint},
        cost_usd = cost_usd + {5:double precision}, updated_at = {2:timestamptz}, counted_to = NULL
    WHERE run_name = {0:text} AND lineage_id = {1:uuid} AND state = 'running'"""
_TOUCH = "UPDATE run SET updated_at = {1:timestamptz} WHERE name = {0:text}"
_ENTRY = "SELECT position, lineage_id, state, starts, error, replies, tokens, cost_usd, updated_at, counted_to FROM run_entry"
_ENTRIES = f"""
    {_ENTRY} WHERE run_name = {{0:text}} AND position > {{1:integer}} AND state {{states}} ORDER BY position LIMIT {{3:integer}}"""
_OF = f"{_ENTRY} WHERE run_name = {{0:text}} AND lineage_id {{lineages}} ORDER BY position"
_RUNS = "SELECT name, created_at, updated_at, CAST(settings AS text), holder, held_until FROM run"
_SUMS = """
    SELECT run_name, state, COUNT(*), SUM(replies), SUM(tokens), COALESCE(SUM(cost_usd), 0.0), COUNT(*) - COUNT(cost_usd)
    FROM run_entry"""

_PAGE = 1000
"""Entries that are read at once: the rows of a long work list are not held beside what is made of them."""
_ENTRY_ROWS = TypeAdapter(list[tuple[int, UUID, EntryState, int, str | None, int, int, float | None, datetime, UUID | None]])
_RUN_ROWS = TypeAdapter(list[tuple[str, datetime, datetime, str, str | None, datetime | None]])
_SUM_ROWS = TypeAdapter(list[tuple[str, EntryState, int, int, int, float, int]])


class SqlRuns(TableBeside):
    """See `Runs`."""

    async def take(
        self, name: str, holder: str, seconds: float, *, settings: Mapping[str, JsonValue] | None, instead_of: str | None = None
    ) -> RunInfo:
        """See `Runs.take`."""
        document = None if settings is None else escape_json(json_document(dict(settings)))

        async def work(transaction: Transaction) -> RunInfo:
            now = utc_now()
            if document is not None:
                await transaction.execute(self._sql(_SET_UP), [(escape_text(name), self._time(now), document)])
            until = self._time(now + timedelta(seconds=seconds))
            await transaction.execute(self._sql(_TAKE), [(escape_text(name), holder, self._time(now), until, document, instead_of)])
            taken = await self._get(transaction.fetch, name)
            if taken.holder != holder:
                raise RunBusy(name, str(taken.holder), taken.held_until or now)
            return taken

        return await self._write(work)

    async def hold(self, name: str, holder: str, seconds: float) -> bool:
        """See `Runs.hold`."""
        until = self._time(utc_now() + timedelta(seconds=seconds))

        async def work(transaction: Transaction) -> bool:
            return bool(await transaction.fetch(self._sql(_HOLD), escape_text(name), holder, until))

        return await self._write(work)

    async def release(self, name: str, holder: str) -> None:
        """See `Runs.release`."""
        await self._write(lambda transaction: transaction.execute(self._sql(_RELEASE), [(escape_text(name), holder)]))

    async def leave(self, name: str, holder: str) -> None:
        """See `Runs.leave`."""
        await self._write(lambda transaction: transaction.execute(self._sql(_LEAVE), [(escape_text(name), holder)]))

    async def add(self, name: str, lineages: Sequence[UUID]) -> None:
        """See `Runs.add`."""
        await self._of_each(_ADD, name, lineages)

    async def again(self, name: str, lineages: Sequence[UUID]) -> None:
        """See `Runs.again`."""
        await self._of_each(_AGAIN, name, lineages)

    async def note(self, name: str, steps: Sequence[Step]) -> None:
        """See `Runs.note`."""
        now = self._time(utc_now())

        async def work(transaction: Transaction) -> None:
            for step in steps:
                key = (escape_text(name), self._uuid(step.lineage_id))
                match step:
                    case Began():
                        await transaction.execute(self._sql(_BEGAN), [(*key, now, self._version(step))])
                    case Regained():
                        spent = step.replies, step.tokens, step.cost_usd
                        await transaction.execute(self._sql(_REGAINED), [(*key, self._uuid(step.since), self._version(step), *spent)])
                    case LetGo():
                        spent = step.replies, step.tokens, step.cost_usd
                        await transaction.execute(self._sql(_LET_GO), [(*key, self._time(step.at), *spent, self._version(step))])
                    case Ended():
                        state = EntryState.done if step.error is None else EntryState.failed
                        error = None if step.error is None else escape_text(step.error)
                        spent = step.replies, step.tokens, step.cost_usd
                        await transaction.execute(self._sql(_ENDED), [(*key, now, *spent, state.value, error)])
                    case unknown:
                        assert_never(unknown)
            await transaction.execute(self._sql(_TOUCH), [(escape_text(name), now)])

        await self._write(work)

    async def entries(
        self, name: str, states: Sequence[EntryState] = tuple(EntryState), *, after: int = -1, limit: int | None = None
    ) -> list[RunEntry]:
        """See `Runs.entries`."""
        among = "= ANY({2:text[]})" if self._dialect == "postgresql" else "IN (SELECT value FROM json_each({2:text}))"
        wanted = text_parameter(self._dialect, [state.value for state in states])
        found: list[RunEntry] = []
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(limit - len(found), _PAGE)
            page = _entries(await self._fetch(_ENTRIES.replace("{states}", among), escape_text(name), after, wanted, size))
            found += page
            if len(page) < size:
                break
            after = page[-1].position
        return found

    async def of(self, name: str, lineages: Sequence[UUID]) -> list[RunEntry]:
        """See `Runs.of`."""
        among = "= ANY({1:text[]}::uuid[])" if self._dialect == "postgresql" else "IN (SELECT value FROM json_each({1:text}))"
        wanted = uuid_parameter(self._dialect, lineages)
        return _entries(await self._fetch(_OF.replace("{lineages}", among), escape_text(name), wanted))

    async def get(self, name: str) -> RunInfo:
        """See `Runs.get`."""

        async def answer(_reader: Reader) -> RunInfo:
            async with self._driver.reading() as fetch:
                return await self._get(fetch, name)

        found: RunInfo = await self._ask(answer)
        return found

    async def all(self) -> list[RunInfo]:
        """See `Runs.all`."""

        async def answer(_reader: Reader) -> list[RunInfo]:
            async with self._driver.reading() as fetch:
                return await self._infos(fetch, None)

        found: list[RunInfo] = await self._ask(answer)
        return sorted(found, key=lambda each: each.updated_at, reverse=True)

    async def _get(self, fetch: Callable[..., Awaitable[Rows]], name: str) -> RunInfo:
        if found := await self._infos(fetch, name):
            return found[0]
        raise RunNotFound(name, sorted(unescape_text(known) for (known,) in await fetch("SELECT name FROM run")))

    async def _infos(self, fetch: Callable[..., Awaitable[Rows]], name: str | None) -> list[RunInfo]:
        """One run, or all of them."""
        given = () if name is None else (escape_text(name),)
        of_one, entries_of_one = (" WHERE name = {0:text}", " WHERE run_name = {0:text}") if given else ("", "")
        runs = _RUN_ROWS.validate_python(await fetch(self._sql(_RUNS + of_one), *given))
        sums = _SUM_ROWS.validate_python(await fetch(self._sql(f"{_SUMS}{entries_of_one} GROUP BY run_name, state"), *given))
        of_run: dict[str, list[tuple[str, EntryState, int, int, int, float, int]]] = defaultdict(list)
        for row in sums:
            of_run[row[0]].append(row)
        return [
            RunInfo(
                unescape_text(stored), created, updated, json.loads(unescape_json(settings)), holder, until,
                {row[1]: row[2] for row in own}, sum(row[3] for row in own), sum(row[4] for row in own),
                sum(row[5] for row in own), sum(row[6] for row in own),
            )
            for stored, created, updated, settings, holder, until in runs
            for own in [of_run[stored]]
        ]  # fmt: skip

    def _version(self, step: Began | Regained | LetGo) -> Any:
        return None if step.version is None else self._uuid(step.version)

    async def _of_each(self, statement: str, name: str, lineages: Sequence[UUID]) -> None:
        """Do the same to each of these threads, in one transaction."""
        now = self._time(utc_now())
        if rows := [(escape_text(name), self._uuid(each), now) for each in lineages]:
            await self._write(lambda transaction: transaction.execute(self._sql(statement), rows))


def _entries(rows: Rows) -> list[RunEntry]:
    return [
        RunEntry(position, lineage, state, starts, None if error is None else unescape_text(error), replies, tokens, cost, at, to)
        for position, lineage, state, starts, error, replies, tokens, cost, at, to in _ENTRY_ROWS.validate_python(rows)
    ]
