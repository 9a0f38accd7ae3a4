"""Export to files and import from lines and files, over any backend."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path

from minference.errors import InvalidExport
from minference.storage.base import Backend, Unit
from minference.storage.erasing import Erasure
from minference.storage.importing import Importer
from minference.storage.line_reader import LineReader, ReadCommit
from minference.storage.lines import TagLine, is_commit, read_header
from minference.storage.portable import Imported
from minference.storage.whole_files import whole_file


async def export_to(lines: AsyncIterator[str], path: str | os.PathLike[str]) -> int:
    """See `Portable.export_to`."""
    commits = 0
    with whole_file(path) as write:
        async for line in lines:
            write(f"{line}\n".encode())
            commits += is_commit(line)
    return commits


async def import_lines(backend: Backend, write: Callable[[Unit], None], lines: Iterable[str], *, erase: bool) -> Imported:
    """See `Portable.import_lines`."""
    reader, importer = LineReader(), Importer(backend, write, erase=erase)
    number = 1
    tombstones: list[Erasure] = []
    try:
        for number, line in _body(lines):
            found = reader.read(line, number)
            if isinstance(found, Erasure):
                tombstones.append(found)
                continue
            await _bury(importer, tombstones)
            match found:
                case ReadCommit() as commit:
                    await importer.add(commit)
                case TagLine() as tag:
                    importer.add_tag(tag)
        reader.end(number)
        await _bury(importer, tombstones)
        await importer.finish()
    except BaseException:
        await importer.abandon()
        raise
    return importer.result


async def _bury(importer: Importer, tombstones: list[Erasure]) -> None:
    """Put up those that were read one after another, together."""
    if tombstones:
        await importer.bury(tombstones)
        tombstones.clear()


async def import_from(add: Callable[[Iterable[str]], Awaitable[Imported]], path: str | os.PathLike[str]) -> Imported:
    """See `Portable.import_from`."""
    await asyncio.to_thread(_check, Path(path))
    return await add(_lines_in(Path(path)))


def _check(path: Path) -> None:
    reader, number = LineReader(), 1
    for number, line in _body(_lines_in(path)):
        reader.read(line, number)
    reader.end(number)


def _body(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The numbered lines after the header. Empty ones hold nothing."""
    numbered = enumerate(lines, start=1)
    _, header = next(numbered, (1, ""))
    read_header(header)
    return ((number, line) for number, line in numbered if line.strip())


def _lines_in(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                raise InvalidExport(number, f"it is no UTF-8 ({error})") from error
