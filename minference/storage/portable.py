"""What every storage promises about taking its content elsewhere."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class KeptTag:
    """A name that another version of the lineage has here than in the export. It was not moved."""

    lineage_id: UUID
    name: str
    here: UUID
    """The version that has it here, before and after the import."""
    there: UUID
    """The version that has it in the export."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did."""

    commits: int
    """Commits that brought something new."""
    versions: int
    """New versions."""
    present: int
    """Versions that were there before."""
    blobs: int = 0
    """Contents that were not there before, of attachments for example."""
    tags: int = 0
    """Names that versions have now, and that no version of their lineage had before."""
    kept_tags: tuple[KeptTag, ...] = ()
    """Names that were not given, because another version has them here: look at both, and `tag(..., move=True)` if need be."""


class Portable(Protocol):
    """A part of `EntityStorage`."""

    def export_lines(self, lineages: Iterable[UUID] | None = None) -> AsyncIterator[str]:
        """Lineages with every version, and all that any of their versions holds, as lines of JSON; everything by default.

        A header, then one line for each commit, after all that it builds on; the same content gives the same lines, whatever
        the backend. Versions stay exactly as they are: ids, parents, authors, notes, times, order, values, tags. The bytes of
        blobs are lines of their own, each once. What is saved meanwhile is not in it. Content is read a few hundred versions
        at a time, and one blob.

        Raises:
            VersionNotFound: One of the ids is that of no lineage.
            BlobNotFound: The bytes of a blob are gone.
            UnknownKind: The program has not defined the class of a version.
        """
        ...

    async def export_to(self, path: str | os.PathLike[str], lineages: Iterable[UUID] | None = None) -> int:
        """Write `export_lines` to a file, all or nothing, and return the number of commits in it."""
        ...

    async def import_lines(self, lines: Iterable[str]) -> Imported:
        """Add what an export holds and the storage has not; what it has is left alone, so importing again changes nothing.

        Each commit is written whole or not at all, with the bytes that it brings. If a line is refused, the commits before it
        stay. Tags are set when all commits are there; a tag that names another version here is never moved: `kept_tags` says so.

        Raises:
            InvalidExport: A line is not what an export holds; the message says which, and why.
            UnknownKind: The program has not defined the class of a version.
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
