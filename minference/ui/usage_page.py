"""What replies took, by model and day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from operator import add

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from minference.ecs.identity import utc_now
from minference.threads.statistics import ModelDay, usage_by_model_and_day
from minference.ui.charts import bars, days_between, lines
from minference.ui.costs import short_money, sum_of
from minference.ui.inspector import opened
from minference.ui.marks import list_mark
from minference.ui.templating import compact, seconds

RANGES = {"7": 7, "30": 30, "90": 90, "365": 365}
"""Days that one can ask for."""
USUAL = "30"


@dataclass(frozen=True, slots=True)
class ModelTotal:
    """The replies of one model."""

    model: str
    clients: str
    replies: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    median_seconds: float
    """Of its median day."""
    slow_seconds: float
    """Of its worst day."""
    failed_attempts: int
    invalid: int
    cost_usd: float | None
    unpriced: int


async def usage(request: Request) -> Response:
    """`/usage`: charts and numbers."""
    inspector, storage = await opened(request)
    chosen = request.query_params.get("days", USUAL)
    today = utc_now().date()
    first = today - timedelta(days=RANGES.get(chosen, RANGES[USUAL]) - 1)
    mark = await list_mark(storage)
    rows = await usage_by_model_and_day(storage, utc_now().replace(hour=0, minute=0, second=0, microsecond=0) - (today - first))
    totals = _totals(rows)
    days = days_between(first, today)
    names = [total.model for total in totals]
    return inspector.render(
        "usage.html",
        section="usage",
        chosen=chosen if chosen in RANGES else USUAL,
        ranges=list(RANGES),
        rows=rows,
        totals=totals,
        whole=_total("", rows) if rows else None,
        charts=_charts(rows, names, days),
        mark=mark,
        mark_url="/mark",
    )


def _charts(rows: Sequence[ModelDay], names: Sequence[str], days: Sequence[date]) -> list[tuple[str, str, Markup]]:
    """Title, what is counted, and picture of each."""

    def by_model(value: Callable[[ModelDay], float], joined: Callable[[float, float], float] = add) -> dict[str, dict[date, float]]:
        series: dict[str, dict[date, float]] = {name: {} for name in names}
        for row in rows:
            series[row.model][row.day] = joined(series[row.model].get(row.day, 0), value(row))
        return series

    slowest = by_model(lambda row: row.median_seconds, max)
    tokens = by_model(lambda row: row.prompt_tokens + row.completion_tokens)
    troubles = by_model(lambda row: row.failed_attempts + row.invalid)
    return [
        ("Cost", "US dollars, as far as prices are known", bars(by_model(_dollars), days, short_money, title="Cost by day and model")),
        ("Tokens", "requests and replies", bars(tokens, days, compact, title="Tokens by day and model")),
        ("Replies", "answered calls", bars(by_model(lambda row: row.replies), days, compact, title="Replies by day and model")),
        (
            "Latency",
            "median seconds of a call",
            lines(slowest, days, seconds, title="Median latency by day and model"),
        ),
        ("Errors", "failed attempts and invalid objects", bars(troubles, days, compact, title="Errors by day and model")),
    ]


def _dollars(row: ModelDay) -> float:
    return row.cost_usd or 0.0


def _totals(rows: Sequence[ModelDay]) -> list[ModelTotal]:
    """By model, the one with most tokens first."""
    found: dict[str, list[ModelDay]] = {}
    for row in rows:
        found.setdefault(row.model, []).append(row)
    totals = [_total(model, days) for model, days in found.items()]
    return sorted(totals, key=lambda total: -(total.prompt_tokens + total.completion_tokens))


def _total(model: str, days: Sequence[ModelDay]) -> ModelTotal:
    medians = sorted(day.median_seconds for day in days)
    return ModelTotal(
        model,
        ", ".join(sorted({day.client for day in days})),
        sum(day.replies for day in days),
        sum(day.prompt_tokens for day in days),
        sum(day.completion_tokens for day in days),
        sum(day.cached_tokens for day in days),
        medians[(len(medians) - 1) // 2],
        max(day.slow_seconds for day in days),
        sum(day.failed_attempts for day in days),
        sum(day.invalid for day in days),
        *sum_of(days),
    )
