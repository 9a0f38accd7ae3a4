"""How commands print: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python
from rich.console import Console
from rich.text import Text

from minference.cli.tables import Table
from minference.ecs.diff_render import printable

_STEERING = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What JSON would let through: it must escape only the older half of the control characters."""
WIDE = 200
"""Columns when nobody looks: a pipe or a file gets whole lines."""


def stdout() -> Console:
    """A console on stdout. Nothing that is printed is read as markup."""
    return _console(stderr=False)


def stderr() -> Console:
    """A console on stderr."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=None if stream.isatty() else WIDE)


def page(what: Text | Table) -> None:
    """Print something; on a terminal that is too low for it, with `$PAGER`, or `less`."""
    console = stdout()
    if not console.is_terminal or _height(what, console.width) < console.height:
        console.print(what, soft_wrap=True)
        return
    os.environ.setdefault("LESS", "FRX")  # as git does: with colours, and without clearing the screen
    with console.pager(styles=True):
        console.print(what, soft_wrap=True)


def _height(what: Text | Table, width: int) -> int:
    """The lines that something takes, more or less."""
    return what.height if isinstance(what, Table) else sum(1 + len(line) // width for line in what.plain.split("\n"))


def print_json(data: Any, *, lines: bool = False) -> None:
    """One JSON document, indented; with `lines`, on one line.

    What would steer a terminal stands as escapes, and so do halves of characters, as streams cut them.
    """
    indent = None if lines else 2
    try:
        document = to_json(data, indent=indent).decode()
    except PydanticSerializationError:
        document = json.dumps(to_jsonable_python(data), indent=indent, ensure_ascii=False)
        document = document.encode(errors="backslashreplace").decode()
    print(_STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", document))


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
