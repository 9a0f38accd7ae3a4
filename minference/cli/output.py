"""How commands print: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python
from rich.console import Console
from rich.table import Table
from rich.text import Text

from minference.ecs.diff_render import printable

WIDE = 200
"""Columns when nobody looks: a pipe or a file gets whole lines."""


def stdout() -> Console:
    """A console on stdout. Nothing that is printed is read as markup."""
    return _console(stderr=False)


def stderr() -> Console:
    """A console on stderr."""
    return _console(stderr=True)


SHORT = 20
"""Characters of a column, an id or a time, that is never cut."""


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=None if stream.isatty() else WIDE)


def page(what: Text | Table) -> None:
    """Print something; on a terminal that is too low for it, with `$PAGER`, or `less`."""
    console = stdout()
    if not console.is_terminal or _height(what, console.width) < console.height:
        console.print(what, soft_wrap=isinstance(what, Text))
        return
    os.environ.setdefault("LESS", "FRX")  # as git does: with colours, and without clearing the screen
    with console.pager(styles=True):
        console.print(what, soft_wrap=isinstance(what, Text))


def _height(what: Text | Table, width: int) -> int:
    """The lines that something takes, more or less."""
    return what.row_count + 1 if isinstance(what, Table) else sum(1 + len(line) // width for line in what.plain.split("\n"))


def print_json(data: Any, *, lines: bool = False) -> None:
    """One JSON document, indented; with `lines`, on one line. Halves of characters, as streams cut them, stand as escapes."""
    indent = None if lines else 2
    try:
        print(to_json(data, indent=indent).decode())
    except PydanticSerializationError:
        document = json.dumps(to_jsonable_python(data), indent=indent, ensure_ascii=False)
        print(document.encode(errors="backslashreplace").decode())


def table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A plain table; cells may hold anything, what would steer the terminal is made visible. Short columns stay whole."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    cells = [[cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row] for row in rows]
    longest = [max([len(heading), *(row[number].cell_len for row in cells)]) for number, heading in enumerate(headings)]
    for heading, width in zip(headings, shared(longest, stdout().width - 2 * len(headings)), strict=True):
        made.add_column(heading, overflow="ellipsis", no_wrap=True, width=width)
    for row in cells:
        made.add_row(*row)
    return made


def shared(wanted: Sequence[int], room: int) -> list[int]:
    """Widths of columns that want these: short ones get theirs, long ones what is left, in equal parts as far as they need it."""
    given = [width if width <= SHORT else 0 for width in wanted]
    left = room - sum(given)
    long = sorted((width, number) for number, width in enumerate(wanted) if width > SHORT)
    for done, (width, number) in enumerate(long):
        given[number] = min(width, max(SHORT, left // (len(long) - done)))
        left -= given[number]
    return given


def when(moment: datetime) -> str:
    """A time in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def one_line(text: str, longest: int = 70) -> str:
    """The beginning of a text, on one line."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= longest else f"{flat[: longest - 1]}…"


def counted(number: int, what: str) -> str:
    """`1 thread`, `12,001 threads`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
