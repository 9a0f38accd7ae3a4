"""Erasing from SQLite and PostgreSQL: one transaction, while nobody else writes versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from pydantic import TypeAdapter

from minference.ecs.lineage import KindCount
from minference.errors import LineageNotFound
from minference.storage.erasing import Erasure, ErasureScope, Shared, version_hint
from minference.storage.holdings import belongings, in_order
from minference.storage.sql.among import among_uuids, uuid_parameter
from minference.storage.sql.archive import Ask
from minference.storage.sql.blanking import Blanker
from minference.storage.sql.driver import Fetch, Transaction
from minference.storage.sql.holdings import SqlHoldings, Stored
from minference.storage.sql.kinds import Form
from minference.storage.sql.mapping import TableInsert
from minference.storage.sql.reader import Reader
from minference.storage.sql.replies import forget
from minference.storage.sql.retrying import Work, patiently
from minference.storage.sql.schema import ErasureRow
from minference.storage.sql.scrubbing import scrub
from minference.storage.sql.searching import forbid_new_indexes
from minference.storage.sql.types import encoder, unescape_text

T = TypeVar("T")

_COLUMNS = ("lineage_id", "erased_at", "reason", "author", "because_of")
_INSERT = TableInsert(ErasureRow.__table__, _COLUMNS)  # type: ignore[arg-type]  # declarative models say FromClause
_ROWS = TypeAdapter(list[tuple[UUID, datetime, str, str | None, UUID]])
_ALL = f"SELECT {', '.join(_COLUMNS)} FROM erasure"


@dataclass(frozen=True, slots=True)
class Unnumbered:
    """Shapes in which something is to be written, and that have no number yet: they get it outside of the transaction."""

    forms: set[Form]


class SqlEraser:
    """See `Eraser`."""

    def __init__(self, ask: Ask, reader: Reader) -> None:
        self._ask = ask
        self._reader = reader
        self._driver, self._kinds = reader.parts.driver, reader.parts.kinds
        self._dialect = self._driver.dialect

    async def scope(self, lineage_id: UUID, shared: Shared) -> ErasureScope:
        """See `Eraser.scope`."""

        async def answer(reader: Reader) -> ErasureScope:
            async with self._driver.reading() as fetch:
                return await _scope(SqlHoldings(fetch, reader), lineage_id, shared)

        found: ErasureScope = await self._ask(answer)
        return found

    async def erase(self, erasure: Erasure, shared: Shared) -> ErasureScope:
        """See `Eraser.erase`."""
        tried: list[ErasureScope] = []

        async def work(transaction: Transaction) -> ErasureScope | Unnumbered:
            holdings = SqlHoldings(transaction.fetch, self._reader)
            scope = await _scope(holdings, erasure.lineage_id, shared)
            if not scope.lineages and tried and await self._is_there(transaction, replace(erasure, lineage_id=tried[0].lineages[0])):
                return tried[0]  # it was committed, and the connection broke before the database could say so
            if scope.lineages:
                tried[:] = [scope]
            missing = await self._bury(transaction, holdings, [replace(erasure, lineage_id=each) for each in scope.lineages])
            return missing or scope

        return await self._write(work)

    async def bury(self, erasures: Sequence[Erasure], *, spare: bool = False) -> list[UUID]:
        """See `Eraser.bury`."""

        async def work(transaction: Transaction) -> list[UUID] | Unnumbered:
            known = {each.lineage_id for each in await self._erasures(transaction.fetch, [each.lineage_id for each in erasures])}
            new = {each.lineage_id: each for each in erasures if each.lineage_id not in known}
            holdings = SqlHoldings(transaction.fetch, self._reader)
            stored = {version.lineage_id for version in await holdings.versions(new)}
            buried = [each for each in new.values() if not spare or each.lineage_id not in stored]
            missing = await self._bury(transaction, holdings, buried)
            return missing or ([] if spare else sorted(stored))

        return await self._write(work)

    async def _bury(self, transaction: Transaction, holdings: SqlHoldings, erasures: Sequence[Erasure]) -> Unnumbered | None:
        """Erase these lineages; or say what is missing for that, and change nothing."""
        if not erasures:
            return None
        blanker = Blanker(transaction, self._reader)
        moments = {each.lineage_id: each.erased_at for each in erasures}
        versions = [version for version in await holdings.versions(moments) if not version.erased]
        if forms := await blanker.unnumbered(versions):
            return Unnumbered(forms)
        by_moment: dict[datetime, list[Stored]] = {moment: [] for moment in moments.values()}
        for version in versions:
            by_moment[moments[version.lineage_id]].append(version)
        for moment, those in by_moment.items():
            await blanker.blank(those, moment)
        encoders = [encoder(ErasureRow.__table__.c[name].type, self._dialect) for name in _COLUMNS]
        rows = [
            tuple(
                value if encode is None or value is None else encode(value)
                for encode, value in zip(encoders, (getattr(each, name) for name in _COLUMNS), strict=True)
            )
            for each in erasures
        ]
        await transaction.execute(_INSERT.sql(self._dialect), rows)
        causes = f"UPDATE run_entry SET error = NULL WHERE error IS NOT NULL AND lineage_id {among_uuids(self._dialect)}"
        await transaction.fetch(causes, uuid_parameter(self._dialect, list(moments)))
        await forget(transaction, self._dialect, blanker.digests)
        return None

    async def _is_there(self, transaction: Transaction, erasure: Erasure) -> bool:
        return erasure in await self._erasures(transaction.fetch, [erasure.lineage_id])

    async def _write(self, work: Work[T | Unnumbered]) -> T:
        """What `work` gives, once its transaction is durable; tried again for a while if the database is busy or away."""

        async def attempt() -> T:
            while True:
                async with self._driver.transaction() as transaction:
                    if self._dialect == "postgresql":
                        # Whoever is about to add a version waits, so that nothing that belongs here can be missed.
                        await transaction.execute("LOCK TABLE entity_version IN SHARE ROW EXCLUSIVE MODE")
                    await forbid_new_indexes(transaction, self._dialect)
                    result = await work(transaction)
                if not isinstance(result, Unnumbered):
                    return result
                await self._kinds.ensure(result.forms)

        return await patiently(attempt)

    async def erasures(self, lineages: Sequence[UUID] | None) -> list[Erasure]:
        """See `Eraser.erasures`."""

        async def answer(_reader: Reader) -> list[Erasure]:
            async with self._driver.reading() as fetch:
                return await self._erasures(fetch, lineages)

        found: list[Erasure] = await self._ask(answer)
        return found

    async def _erasures(self, fetch: Fetch, lineages: Sequence[UUID] | None) -> list[Erasure]:
        if lineages is None:
            rows = await fetch(_ALL)
        else:
            rows = await fetch(f"{_ALL} WHERE lineage_id {among_uuids(self._dialect)}", uuid_parameter(self._dialect, lineages))
        found = [
            Erasure(lineage_id, erased_at, unescape_text(reason), None if author is None else unescape_text(author), because_of)
            for lineage_id, erased_at, reason, author, because_of in _ROWS.validate_python(rows)
        ]
        return sorted(found, key=lambda each: (each.erased_at, each.lineage_id))

    async def scrub(self) -> tuple[str, ...]:
        """See `Eraser.scrub`."""
        return await scrub(self._driver)


async def _scope(holdings: SqlHoldings, lineage_id: UUID, shared: Shared) -> ErasureScope:
    if not await holdings.versions([lineage_id]):
        lineage = await holdings.lineage_of(lineage_id)
        raise LineageNotFound(lineage_id, version_hint(lineage) if lineage is not None else "")
    found = await belongings(holdings, lineage_id, shared)
    versions = [version for version in await holdings.versions(found.erased) if not version.erased]
    kinds = Counter(version.kind for version in versions)
    lineages = Counter({version.lineage_id: version.kind for version in versions}.values())
    return ErasureScope(
        lineage_id,
        in_order(lineage_id, {version.lineage_id for version in versions}),
        {kind: KindCount(kinds[kind], lineages[kind]) for kind in sorted(kinds)},
        tuple(sorted(found.affected)),
        tuple(sorted(found.kept)),
    )
