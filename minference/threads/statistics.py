"""What replies took: tokens, seconds and failed attempts, by model and day. Needs a storage that has tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Label, Select, SQLColumnExpression, Text, case, cast, func, select

from minference.storage.base import EntityStorage
from minference.storage.sql.schema import EntityVersion
from minference.threads.reading import reading
from minference.threads.tables import ProcessedOutputSQL, RawOutputSQL, UsageSQL


@dataclass(frozen=True, slots=True)
class ModelDay:
    """The replies of one model on one day, in UTC."""

    day: date
    client: str
    model: str
    """As its provider names it; the client's name, if the reply does not say."""
    replies: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Of the prompt tokens: read from the provider's cache."""
    median_seconds: float
    slow_seconds: float
    """19 of 20 replies took no longer."""
    failed_attempts: int
    """Calls that failed before one of these replies came."""
    invalid: int
    """Replies that are no valid object, although one was asked for."""
    cost_usd: float | None
    """US dollars for the replies whose price is known; `None` if there are none."""
    unpriced: int
    """Replies whose price is unknown."""


@dataclass(frozen=True, slots=True)
class OutputLine:
    """What is known of one reply without loading it."""

    version: UUID
    """Of the `ProcessedOutput`."""
    seconds: float
    failed_attempts: int
    error: str | None


_Key = tuple[str, str, str]


async def usage_by_model_and_day(storage: EntityStorage, since: datetime | None = None) -> list[ModelDay]:
    """What was answered since then, the oldest day first.

    Raises:
        ConfigurationError: The storage has no tables.
    """
    async with reading(storage) as session:
        days = _day(session.get_bind().dialect.name)
        rows = (await session.execute(_summed(days, since))).all()
        troubled = (await session.execute(_troubled(days, since))).all()
    failed, invalid = Counter[_Key](), Counter[_Key]()
    for day, client, model, attempts, error in troubled:
        failed[day, client, model] += len(attempts)
        invalid[day, client, model] += error is not None
    return [
        ModelDay(
            day=date.fromisoformat(row.day),
            client=row.client,
            model=row.model,
            replies=row.replies,
            prompt_tokens=row.prompt,
            completion_tokens=row.completion,
            cached_tokens=row.cached,
            median_seconds=row.median,
            slow_seconds=row.slow,
            failed_attempts=failed[row.day, row.client, row.model],
            invalid=invalid[row.day, row.client, row.model],
            cost_usd=row.cost,
            unpriced=row.replies - row.priced,
        )
        for row in rows
    ]


async def outputs_of(storage: EntityStorage, messages: Sequence[UUID]) -> dict[UUID, list[OutputLine]]:
    """The replies that became these messages, given by their lineages; the oldest first."""
    if not messages:
        return {}
    columns = (ProcessedOutputSQL.message_uuid, EntityVersion.ecs_id, ProcessedOutputSQL.time_taken, ProcessedOutputSQL.error)
    found = select(*columns, RawOutputSQL.attempts).join(EntityVersion, EntityVersion.id == ProcessedOutputSQL.id)
    found = found.join(RawOutputSQL, RawOutputSQL.id == ProcessedOutputSQL.raw_output_id)
    lines: dict[UUID, list[OutputLine]] = {}
    async with reading(storage) as session:
        rows = await session.execute(found.where(ProcessedOutputSQL.message_uuid.in_(messages)).order_by(EntityVersion.id))
        for message, version, seconds, error, attempts in rows:
            lines.setdefault(message, []).append(OutputLine(version, seconds, len(attempts), error))
    return lines


def _day(dialect: str) -> SQLColumnExpression[Any]:
    """The day on which a reply was complete, as text. SQLite holds times as text in UTC."""
    ended = RawOutputSQL.end_time
    if dialect == "postgresql":
        return func.to_char(func.timezone("UTC", ended), "YYYY-MM-DD")
    return func.substr(cast(ended, Text), 1, 10)


def _replies(since: datetime | None, *columns: SQLColumnExpression[Any]) -> Select[Any]:
    """Each reply once, whatever became of it later."""
    replies = select(*columns).select_from(ProcessedOutputSQL).join(RawOutputSQL, RawOutputSQL.id == ProcessedOutputSQL.raw_output_id)
    replies = replies.join(EntityVersion, EntityVersion.id == ProcessedOutputSQL.id).where(EntityVersion.parent_id.is_(None))
    replies = replies.outerjoin(UsageSQL, UsageSQL.id == ProcessedOutputSQL.usage_id)
    return replies if since is None else replies.where(RawOutputSQL.end_time >= since)


def _model() -> SQLColumnExpression[Any]:
    return func.coalesce(UsageSQL.model, ProcessedOutputSQL.llm_client)


def _summed(days: SQLColumnExpression[Any], since: datetime | None) -> Select[Any]:
    client: Label[str] = ProcessedOutputSQL.llm_client.label("client")
    model: Label[str] = _model().label("model")
    cached = func.coalesce(UsageSQL.cached_tokens, UsageSQL.cache_read_input_tokens, 0).label("cached")
    tokens = (UsageSQL.prompt_tokens.label("prompt"), UsageSQL.completion_tokens.label("completion"), cached)
    taken = (ProcessedOutputSQL.time_taken.label("seconds"), UsageSQL.cost_usd.label("cost"))
    replies = _replies(since, days.label("day"), client, model, *tokens, *taken).subquery()
    key = (replies.c.day, replies.c.client, replies.c.model)
    rank = func.row_number().over(partition_by=key, order_by=replies.c.seconds).label("rank")
    each = select(replies, rank, func.count().over(partition_by=key).label("size")).subquery().c
    # The least value that so many are not above: rank <= ceil(share * size), in whole numbers.
    half, most = each.rank * 2 < each.size + 2, each.rank * 20 < each.size * 19 + 20
    sums = [
        cast(func.coalesce(func.sum(column), 0), BigInteger).label(column.key) for column in (each.prompt, each.completion, each.cached)
    ]
    times = [func.max(case((part, each.seconds))).label(name) for name, part in (("median", half), ("slow", most))]
    costs = (func.sum(each.cost).label("cost"), func.count(each.cost).label("priced"))
    summed = select(each.day, each.client, each.model, func.count().label("replies"), *sums, *times, *costs)
    return summed.group_by(each.day, each.client, each.model).order_by(each.day, each.client, each.model)


def _troubled(days: SQLColumnExpression[Any], since: datetime | None) -> Select[Any]:
    """The few replies that did not come at once, or not as asked for."""
    replies = _replies(since, days, ProcessedOutputSQL.llm_client, _model(), RawOutputSQL.attempts, ProcessedOutputSQL.error)
    return replies.where((cast(RawOutputSQL.attempts, Text) != "[]") | ProcessedOutputSQL.error.is_not(None))
