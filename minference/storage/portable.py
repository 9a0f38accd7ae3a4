"""What every storage promises about taking its content elsewhere."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did."""

    commits: int
    """Commits that brought something new."""
    versions: int
    """New versions."""
    present: int
    """Versions that were there before."""


class Portable(Protocol):
    """A part of `EntityStorage`."""

    def export_lines(self, lineages: Iterable[UUID] | None = None) -> AsyncIterator[str]:
        """Lineages with every version, and all that any of their versions holds, as lines of JSON; everything by default.

        A header, then one line for each commit, after all that it builds on; the same content gives the same lines, whatever
        the backend. Versions stay exactly as they are: ids, parents, authors, notes, times, order, values. Tags are not
        exported. What is saved meanwhile is not in it. Content is read a few hundred versions at a time. Versions in older shapes
        are exported as their class reads them now, those of kinds that the program does not define as they are stored.

        Raises:
            VersionNotFound: One of the ids is that of no lineage.
            UnknownKind: The program has defined neither the class of a version nor its table, nor was noted where it is.
        """
        ...

    async def export_to(self, path: str | os.PathLike[str], lineages: Iterable[UUID] | None = None) -> int:
        """Write `export_lines` to a file, all or nothing, and return the number of commits in it."""
        ...

    async def import_lines(self, lines: Iterable[str]) -> Imported:
        """Add what an export holds and the storage has not; what it has is left alone, so importing again changes nothing.

        Each commit is written whole or not at all. If a line is refused, the commits before it stay. Versions from an older
        program are brought into the present shape of their class; those of kinds that this program does not define are kept
        as they are.

        Raises:
            InvalidExport: A line is not what an export holds, or does not fit; the message says which, and why.
            NewerSchema: A version was written by newer code than this program's.
            WriteFailed: The database refused.
        """
        ...

    async def import_from(self, path: str | os.PathLike[str]) -> Imported:
        """`import_lines` from a file whose lines are all checked before the first one is written.

        Raises:
            InvalidExport: A line is not what an export holds; nothing was written.
            OSError: The file cannot be read.
        """
        ...
