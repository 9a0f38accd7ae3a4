"""`minference usage`: what the replies in a database used and cost."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from minference.cli.database import existing
from minference.cli.output import print_json, stdout
from minference.cli.tables import table
from minference.inference.spending import UsageOfDay, usage_by_day


def usage(database: str, as_json: bool) -> None:
    """Print tokens and dollars by day and model.

    Raises:
        StorageError: The database cannot be used.
    """
    rows = asyncio.run(_rows(database))
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    if not rows:
        stdout().print("no replies yet")
        return
    headings = ("day", "model", "replies", "from cache", "input", "cached", "output", "cost")
    stdout().print(table(headings, [*map(_cells, rows), *([_total(rows)] if len(rows) > 1 else [])]), soft_wrap=True)


async def _rows(database: str) -> list[UsageOfDay]:
    async with existing(database) as storage:
        return await usage_by_day(storage)


def dollars(cost: float | None, unpriced: int) -> str:
    """An amount for people; `?` for what nobody knows the price of."""
    if cost is None:
        return "?" if unpriced else "$0.00"
    amount = f"${cost:,.2f}" if cost >= 1 or cost == 0 else f"${cost:.4f}"
    return f"{amount} + ? ({unpriced:,} without a price)" if unpriced else amount


def _cells(row: UsageOfDay) -> tuple[str, ...]:
    return (row.day.isoformat(), row.model, *(f"{number:,}" for number in _numbers(row)), dollars(row.cost_usd, row.unpriced))


def _numbers(row: UsageOfDay) -> tuple[int, ...]:
    return (row.replies, row.from_cache, row.prompt_tokens, row.cached_tokens, row.completion_tokens)


def _total(rows: list[UsageOfDay]) -> tuple[str, ...]:
    known = [row.cost_usd for row in rows if row.cost_usd is not None]
    sums = [sum(column) for column in zip(*map(_numbers, rows), strict=True)]
    cost = dollars(sum(known) if known else None, sum(row.unpriced for row in rows))
    return ("total", "", *(f"{number:,}" for number in sums), cost)
