"""Pages whose programs, queries and outputs are true: what they show is run, one block after the other.

A page is Markdown. Its blocks share one namespace and one working directory:

- `python` blocks run as they stand, with `await` at the top level.
- `sql` blocks are one SELECT each, on the database that the page's variable `url` names. A parameter `:name` takes the value
  of the page's variable `name`, ids as 32 hexadecimal digits.
- An `output` block is what the block before it printed, or the rows that it found. `…` stands for anything on a line, and blanks
  beside `|` do not count.

`python -m tests.support.pages docs/tables.md` runs a page in a new directory. A URL after it takes the place of `sqlite:///chats.db`, or of
`postgresql://localhost/chats` in pages that need PostgreSQL;
`--write` puts what was found into outputs that are wrong.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

DATABASE = "sqlite:///chats.db"
"""Where pages keep what they show."""
SERVER = "postgresql://localhost/chats"
"""Where those do that need PostgreSQL; they are run on a server of the tests."""
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced part of a page."""

    language: str
    text: str
    line: int
    """Of its first line in the page."""
    start: int = 0
    """Where its text begins in the page."""


class WrongPage(AssertionError):
    """A page shows what is not so."""


def blocks(page: str, *languages: str) -> Iterator[Block]:
    """The blocks of a page in order; of these languages, if any are named."""
    for match in _BLOCK.finditer(page):
        if not languages or match[1] in languages:
            yield Block(match[1], match[2], page.count("\n", 0, match.start(2)) + 1, match.start(2))


async def execute(block: Block, namespace: dict[str, Any], file: str) -> str:
    """Run a block of Python; what it printed."""
    padded = "\n" * (block.line - 1) + block.text  # so that tracebacks name the line of the page
    code = compile(padded, file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    with redirect_stdout(StringIO()) as printed:
        result = eval(code, namespace)  # top-level await makes a coroutine of it
        if inspect.isawaitable(result):
            await result
    return printed.getvalue()


async def query(block: Block, namespace: dict[str, Any]) -> str:
    """Run a block of SQL; its rows as lines."""
    from sqlalchemy import text

    from minference import open_storage

    statement = text(block.text.strip().removesuffix(";"))
    values = {name: namespace[name] for name in statement.compile().params}
    values = {name: value.hex if isinstance(value, UUID) else value for name, value in values.items()}
    async with open_storage(namespace["url"]) as storage, storage.sql() as session:
        result = await session.execute(statement, values)
        return _aligned([tuple(result.keys()), *map(tuple, result.all())])


def _aligned(rows: list[tuple[Any, ...]]) -> str:
    shown = [["NULL" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join(" | ".join(map(str.ljust, row, widths)).rstrip() for row in shown)


def compare(block: Block, found: str) -> None:
    """Make sure that an `output` block shows what was found.

    Raises:
        WrongPage: It shows something else.
    """
    wanted, lines = _lines(block.text), _lines(found)
    for number, (line, other) in enumerate(zip_longest(wanted, lines), block.line):
        if line is None or other is None or not re.fullmatch(".*".join(map(re.escape, line.split("…"))), other):
            shown = "\n".join(found.splitlines())
            raise WrongPage(f"line {number} shows {line!r}, and it is {other!r}. Everything that was found:\n{shown}")


def _lines(text: str) -> list[str]:
    return [re.sub(r"\s*\|\s*", "|", line.rstrip()) for line in text.strip("\n").splitlines()]


async def run(file: str, page: str, *, write: bool = False) -> str:
    """Run all blocks of a page; the page, with `write` as it should be.

    Raises:
        WrongPage: An output is not as the page shows it.
    """
    namespace: dict[str, Any] = {"__name__": Path(file).stem}
    found, right, moved = "", page, 0
    for block in blocks(page, "python", "sql", "output"):
        match block.language:
            case "python":
                found = await execute(block, namespace, file)
            case "sql":
                found = await query(block, namespace)
            case _:
                try:
                    compare(block, found)
                except WrongPage:
                    if not write:
                        raise
                    text = found.rstrip("\n") + "\n"
                    at = block.start + moved
                    right = right[:at] + text + right[at + len(block.text) :]
                    moved += len(text) - len(block.text)
    return right


def main(arguments: Sequence[str]) -> None:
    """Run one page."""
    path = Path(arguments[0]).absolute()
    page = path.read_text(encoding="utf-8")
    place = SERVER if SERVER in page else DATABASE
    url = next((each for each in arguments[1:] if "://" in each), place)
    with TemporaryDirectory() as directory, chdir(directory):
        right = asyncio.run(run(arguments[0], page.replace(place, url), write="--write" in arguments))
    if right != page.replace(place, url):
        path.write_text(right.replace(url, place), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
