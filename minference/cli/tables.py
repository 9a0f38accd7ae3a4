"""Plain tables: one line for each row, as fast with ten thousand rows as with ten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.text import Text

from minference.ecs.diff_render import printable

SHORT = 20
"""Characters of a column, an id or a time, that is cut only where nothing else fits."""
LEAST = 8
"""Characters that every column keeps: a short id. Where even these do not fit, the terminal wraps the lines."""
GAP = 2
"""Blanks between columns."""

Cell = str | Text


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below headings. Rich prints it; `soft_wrap` lets a narrow terminal wrap what does not fit."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    """What they hold is printable, and each on one line."""
    least: Sequence[int] = ()
    """The widths that columns want at least: those of a longer table of which this is a part."""
    headed: bool = True
    """Whether the headings are printed."""

    @property
    def height(self) -> int:
        """The lines that it takes."""
        return self.headed + len(self.rows)

    def wanted(self) -> list[int]:
        """The width of each column that nothing would be cut in."""
        wanted = [max(map(_width, column)) for column in zip(self.headings, *self.rows, strict=True)]
        return list(map(max, wanted, self.least)) if self.least else wanted

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """The lines, for Rich."""
        wanted = self.wanted()
        widths = shared(wanted, options.max_width - GAP * (len(wanted) - 1))
        if self.headed:
            yield from _line([Text(each, style="bold") for each in self.headings], widths, console)
        for row in self.rows:
            yield from _line(row, widths, console)


def table(headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table; cells may hold anything, what would steer the terminal or break the line is made visible."""
    return Table(headings, [[cell if isinstance(cell, Text) else on_one_line(cell) for cell in row] for row in rows])


def on_one_line(text: str) -> str:
    """The text without what would steer a terminal or end the line: such characters stand as escapes."""
    shown = printable(text)
    return shown if shown.isprintable() else shown.replace("\n", "\\n").replace("\t", "\\t")


def shared(wanted: Sequence[int], room: int) -> list[int]:
    """Widths of columns that want these: short ones get theirs, long ones what is left, in equal parts as far as they need it.

    Where not even short ones fit, all share alike, down to `LEAST`.
    """
    short = sum(width for width in wanted if width <= SHORT) + SHORT * sum(width > SHORT for width in wanted)
    least = LEAST if short > room else SHORT
    given = [width if width <= least else 0 for width in wanted]
    left = room - sum(given)
    long = sorted((width, number) for number, width in enumerate(wanted) if width > least)
    for done, (width, number) in enumerate(long):
        given[number] = min(width, max(least, left // (len(long) - done)))
        left -= given[number]
    return given


def _line(row: Sequence[Cell], widths: Sequence[int], console: Console) -> Iterator[Segment]:
    cells = [_fitted(cell, width) for cell, width in zip(row, widths, strict=True)]
    plain = [cell for cell in cells if isinstance(cell, str)]
    if len(plain) == len(cells):
        yield Segment((" " * GAP).join(plain).rstrip() + "\n")
        return
    line = Text(" " * GAP).join(Text(cell) if isinstance(cell, str) else cell for cell in cells)
    line.rstrip()
    yield from line.render(console, end="\n")


def _fitted(cell: Cell, width: int) -> Cell:
    """The cell, exactly so wide."""
    if isinstance(cell, Text):
        cell = cell.copy()
        cell.truncate(width, overflow="ellipsis", pad=True)
        return cell
    missing = width - _width(cell)
    return cell + " " * missing if missing >= 0 else set_cell_size(cell, width - 1) + "…"


def _width(cell: Cell) -> int:
    if isinstance(cell, Text):
        return cell.cell_len
    return len(cell) if cell.isascii() else cell_len(cell)
