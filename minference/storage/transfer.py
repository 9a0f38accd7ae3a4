"""Export to files and import from lines and files, over any backend."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from minference.errors import InvalidExport
from minference.storage.base import Backend, Unit
from minference.storage.erasing import Erasure
from minference.storage.importing import Importer
from minference.storage.line_reader import LineReader, ReadCommit
from minference.storage.lines import TagLine, is_commit, read_header
from minference.storage.portable import Imported
from minference.storage.whole_files import whole_file

COMMITS_AT_ONCE = 64
"""Commits that are read from the lines before they are added together."""
BULK_AT_ONCE = 2**20
"""How large they are together, unless a single one is larger."""


async def export_to(lines: AsyncIterator[str], path: str | os.PathLike[str]) -> int:
    """See `Portable.export_to`."""
    commits = 0
    with whole_file(path) as write:
        async for line in lines:
            write(f"{line}\n".encode())
            commits += is_commit(line)
    return commits


@dataclass(slots=True)
class _Portion:
    """What is on a number of lines. Tombstones come first: what follows on the lines is written knowing of them."""

    tombstones: list[Erasure] = field(default_factory=list)
    commits: list[ReadCommit] = field(default_factory=list)
    tags: list[TagLine] = field(default_factory=list)
    bulk: int = 0

    def has_room_for(self, found: ReadCommit | TagLine | Erasure) -> bool:
        """Whether it takes that as well."""
        if isinstance(found, Erasure):
            return not self.commits
        return len(self.commits) < COMMITS_AT_ONCE and self.bulk < BULK_AT_ONCE

    def add(self, found: ReadCommit | TagLine | Erasure) -> None:
        """Take it."""
        match found:
            case Erasure():
                self.tombstones.append(found)
            case ReadCommit():
                self.commits.append(found)
                self.bulk += found.bulk
            case TagLine():
                self.tags.append(found)


async def import_lines(backend: Backend, write: Callable[[Unit], None], lines: Iterable[str], *, erase: bool) -> Imported:
    """See `Portable.import_lines`."""
    importer = Importer(backend, write, erase=erase)
    try:
        for portion in _portions(lines):
            if portion.tombstones:
                await importer.bury(portion.tombstones)
            await importer.add(portion.commits)
            importer.add_tags(portion.tags)
        await importer.finish()
    except BaseException:
        await importer.abandon()
        raise
    return importer.result


def _portions(lines: Iterable[str]) -> Iterator[_Portion]:
    """What is on the lines. If one is refused, what comes before it is given first."""
    version, body = _opened(lines)
    reader, portion, number = LineReader(version), _Portion(), 1
    try:
        for number, line in body:
            found = reader.read(line, number)
            if found is None:
                continue
            if not portion.has_room_for(found):
                yield portion
                portion = _Portion()
            portion.add(found)
        reader.end(number)
    except Exception:
        yield portion
        raise
    yield portion


async def import_from(add: Callable[[Iterable[str]], Awaitable[Imported]], path: str | os.PathLike[str]) -> Imported:
    """See `Portable.import_from`."""
    await asyncio.to_thread(_check, Path(path))
    return await add(_lines_in(Path(path)))


def _check(path: Path) -> None:
    version, body = _opened(_lines_in(path))
    reader, number = LineReader(version), 1
    for number, line in body:
        reader.read(line, number)
    reader.end(number)


def _opened(lines: Iterable[str]) -> tuple[int, Iterator[tuple[int, str]]]:
    """The version of the format, and the numbered lines after the header. Empty ones hold nothing."""
    numbered = enumerate(lines, start=1)
    _, header = next(numbered, (1, ""))
    version = read_header(header)
    return version, ((number, line) for number, line in numbered if line.strip())


def _lines_in(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                raise InvalidExport(number, f"it is no UTF-8 ({error})") from error
