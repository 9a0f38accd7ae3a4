"""What all the replies in a storage used and cost, by model and day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from minference.storage.base import EntityStorage
from minference.threads.messages import Usage
from minference.threads.reading import reading

_ROWS = """
    SELECT {day} AS day, u.model, COUNT(*), SUM({used} u.prompt_tokens END), SUM({used} u.completion_tokens END),
           SUM({used} COALESCE(u.cached_tokens, u.cache_read_input_tokens, 0) END), SUM(u.cost_usd), COUNT(*) - COUNT(u.cost_usd),
           SUM(CASE WHEN u.from_cache THEN 1 ELSE 0 END)
    FROM usage u JOIN entity_version v ON v.id = u.id
    WHERE v.parent_id IS NULL GROUP BY 1, 2 ORDER BY 1, 2"""
_USED = "CASE WHEN u.from_cache THEN 0 ELSE"
_DAY = {"sqlite": "substr(v.created_at, 1, 10)", "postgresql": "to_char(v.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"}


@dataclass(frozen=True, slots=True)
class UsageOfDay:
    """The replies of one model on one day in UTC."""

    day: date
    model: str
    replies: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Of the requests: read from the provider's cache."""
    cost_usd: float | None
    """US dollars for the replies whose price is known; `None` if there are none."""
    unpriced: int
    """Replies whose price is unknown."""
    from_cache: int = 0
    """Replies that came from the response cache: they used no tokens, and cost nothing."""


async def usage_by_day(storage: EntityStorage) -> list[UsageOfDay]:
    """Every reply in the storage once, however many versions and threads hold it; the first day first.

    Raises:
        StorageError: The storage cannot be read.
    """
    await storage.flush()
    if storage.url.startswith("memory:"):
        return await _from_memory(storage)
    async with reading(storage) as session:
        connection = await session.connection()
        sql = _ROWS.format(day=_DAY[connection.dialect.name], used=_USED)
        rows: list[tuple[Any, ...]] = [*map(tuple, await connection.exec_driver_sql(sql))]
    return [_row(date.fromisoformat(row[0]), row[1], row[2:]) for row in rows]


def _row(day: date, model: str, numbers: Iterable[Any]) -> UsageOfDay:
    replies, prompt, completion, cached, cost, unpriced, again = numbers
    dollars = None if cost is None else float(cost)
    return UsageOfDay(day, model, replies, int(prompt), int(completion), int(cached), dollars, unpriced, int(again))


async def _from_memory(storage: EntityStorage) -> list[UsageOfDay]:
    found: dict[tuple[date, str], list[Usage]] = defaultdict(list)
    for head in await storage.list_by_type(Usage):
        usage = await storage.get_cold_snapshot(Usage, (await storage.lineage(head.lineage_id))[0].ecs_id)
        found[_day(usage.created_at), usage.model].append(usage)
    return [_sum(day, model, usages) for (day, model), usages in sorted(found.items())]


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def _sum(day: date, model: str, usages: list[Usage]) -> UsageOfDay:
    asked = [usage for usage in usages if not usage.from_cache]
    prices = [usage.cost_usd for usage in usages if usage.cost_usd is not None]
    return UsageOfDay(
        day,
        model,
        len(usages),
        sum(usage.prompt_tokens for usage in asked),
        sum(usage.completion_tokens for usage in asked),
        sum(usage.cached_tokens or usage.cache_read_input_tokens or 0 for usage in asked),
        sum(prices) if prices else None,
        len(usages) - len(prices),
        len(usages) - len(asked),
    )
