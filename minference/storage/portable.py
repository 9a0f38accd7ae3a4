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
    emptied: int = 0
    """New versions that came without their content, because their lineage is erased here."""
    erased: int = 0
    """Lineages that were here and were erased, because the export says that they were erased where it comes from."""


class Portable(Protocol):
    """A part of `EntityStorage`."""

    def export_lines(self, lineages: Iterable[UUID] | None = None) -> AsyncIterator[str]:
        """Lineages with every version, and all that any of their versions holds, as lines of JSON; everything by default.

        A header, then one line for each commit, after all that it builds on, and a last one that says how many there were, so
        that a part of an export is not taken for all of it. The same content gives the same lines, whatever the backend, and in
        whatever parts it came there. Versions stay exactly as they are: ids, parents, authors, notes, times, order, values,
        tags; of what was erased the tombstones come first. The bytes of blobs are lines of their own, each once. What is saved
        meanwhile is not in it. Content is read a few hundred versions at a time, and one blob. Versions in older shapes are
        exported as their class reads them now, those of kinds that the program does not define as they are stored.

        Raises:
            VersionNotFound: One of the ids is that of no lineage.
            BlobNotFound: The bytes of a blob are gone.
            UnknownKind: The program has defined neither the class of a version nor its table, nor was noted where it is.
        """
        ...

    async def export_to(self, path: str | os.PathLike[str], lineages: Iterable[UUID] | None = None) -> int:
        """Write `export_lines` to a file, all or nothing, and return the number of commits in it.

        Raises:
            UnwritableFile: It cannot be written, or it is an SQLite database.
        """
        ...

    async def import_lines(self, lines: Iterable[str], *, erase: bool = True) -> Imported:
        """Add what an export holds and the storage has not; what it has is left alone, so importing again changes nothing.

        What is erased stays erased: of a lineage that is erased here, new versions come without their content. What was erased
        where the export comes from is erased here as well, unless `erase` is false; `scrub` afterwards if that was much.
        Each commit is written whole or not at all, with the bytes that it brings. If a line is refused, what comes before it
        stays. Tags are set when all commits are there; a tag that names another version here is never moved: `kept_tags` says
        so. Versions from an older program are brought into the present shape of their class; those of kinds that this program
        does not define are kept as they are.

        Raises:
            InvalidExport: A line is not what an export holds, or does not fit, or lines are missing; the message says which, and
                why.
            NewerSchema: A version was written by newer code than this program's.
            WriteFailed: The database refused.
        """
        ...

    async def import_from(self, path: str | os.PathLike[str], *, erase: bool = True) -> Imported:
        """`import_lines` from a file whose lines are all checked before the first one is written.

        Raises:
            InvalidExport: A line is not what an export holds, or the file was cut; nothing was written.
            OSError: The file cannot be read.
        """
        ...
