"""Charts as SVG without a script: bars and lines over days, each with its numbers in words for whoever points at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from math import floor, log10

from markupsafe import Markup

from minference.ecs.diff_render import printable

WIDTH, HEIGHT = 520, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 22
COLOURS = 8
"""Classes `c0` to `c7` of the style sheet; further series begin anew."""

_FRAME = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
_BAR = Markup('<rect class="c{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="{}"><title>{}</title></rect>')
_DOT = Markup('<circle class="c{}" cx="{:.1f}" cy="{:.1f}" r="2.8"><title>{}</title></circle>')

Series = Mapping[str, Mapping[date, float]]
"""Values by day, by what they are of."""
Text = Callable[[float], str]


def days_between(first: date, last: date) -> list[date]:
    """Every day from the first to the last."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def bars(series: Series, days: Sequence[date], text: Text, *, title: str) -> Markup:
    """Bars on top of each other, a pile for each day."""
    most = ceiling(max((sum(values.get(day, 0) for values in series.values()) for day in days), default=0))
    return _chart(title, most, days, text, _bars(series, days, most, text))


def lines(series: Series, days: Sequence[date], text: Text, *, title: str) -> Markup:
    """A line for each series, through the days that have a value."""
    most = ceiling(max((value for values in series.values() for value in values.values()), default=0))
    return _chart(title, most, days, text, _lines(series, days, most, text))


def ceiling(value: float) -> float:
    """The least of 1, 2, 4, 5 and 10 times a power of ten that is not below the value; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 4, 5, 10) if step * power >= value * 0.999999)


def _chart(title: str, most: float, days: Sequence[date], text: Text, marks: Iterator[Markup]) -> Markup:
    body = Markup("").join([*_grid(most, text), *_days(days), *marks])
    return _FRAME.format(WIDTH, HEIGHT, title, body)


def _grid(most: float, text: Text) -> Iterator[Markup]:
    for share in (0.0, 0.5, 1.0):
        y = _y(most * share, most)
        yield Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH - RIGHT, y, y)
        yield Markup('<text class="axis" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(LEFT - 6, y + 3.5, text(most * share))


def _days(days: Sequence[date]) -> Iterator[Markup]:
    """The first, the middle and the last day."""
    for index in sorted({0, len(days) // 2, len(days) - 1}):
        anchor = "middle" if len(days) < 3 or 0 < index < len(days) - 1 else "start" if index == 0 else "end"
        x = _x(index, days) if anchor == "middle" else LEFT if anchor == "start" else WIDTH - RIGHT
        label = f"{days[index].day} {days[index]:%b}"
        yield Markup('<text class="axis" x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(x, HEIGHT - 6, anchor, label)


def _bars(series: Series, days: Sequence[date], most: float, text: Text) -> Iterator[Markup]:
    room = (WIDTH - LEFT - RIGHT) / len(days)
    width = min(36.0, max(1.0, room * 0.72))
    for index, day in enumerate(days):
        below = 0.0
        for number, (name, values) in enumerate(series.items()):
            if not (value := values.get(day, 0)):
                continue
            top, bottom = _y(below + value, most), _y(below, most)
            told = printable(f"{day:%d %b %Y}  {name}: {text(value)}")
            round_by = 2 if width > 6 else 0
            yield _BAR.format(number % COLOURS, _x(index, days) - width / 2, top, width, max(bottom - top, 0.5), round_by, told)
            below += value


def _lines(series: Series, days: Sequence[date], most: float, text: Text) -> Iterator[Markup]:
    for number, (name, values) in enumerate(series.items()):
        points = [(_x(index, days), _y(values[day], most), day) for index, day in enumerate(days) if day in values]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        yield Markup('<polyline class="l{}" points="{}"/>').format(number % COLOURS, path)
        for x, y, day in points:
            told = printable(f"{day:%d %b %Y}  {name}: {text(values[day])}")
            yield _DOT.format(number % COLOURS, x, y, told)


def _x(index: int, days: Sequence[date]) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / len(days)


def _y(value: float, most: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / most)
