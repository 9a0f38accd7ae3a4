"""What every storage promises about its own soundness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong in a database, or that could not be checked in it."""

    rule: str
    """What was checked, in a few words."""
    text: str
    """What is wrong, with ids."""
    fault: bool = True
    """Whether something is wrong; otherwise it is a note of what this program cannot check."""


@dataclass(frozen=True, slots=True)
class TableSize:
    """How much a table holds."""

    rows: int
    bytes: int | None
    """With its indexes; `None` where the database does not tell."""


@dataclass(frozen=True, slots=True)
class DatabaseSize:
    """How much a database holds."""

    bytes: int
    tables: dict[str, TableSize]
    """By name, in alphabetical order."""


class Checks(Protocol):
    """A part of `EntityStorage`."""

    async def check(self) -> list[Finding]:
        """Everything that is wrong in the database: rows that contradict each other, and versions that cannot be loaded.

        Empty if all is well and every kind is known. Of kinds that the program does not define a note says so (`Finding.fault`
        is false): what can be checked without their classes is. Reads everything, as it was at one moment; changes nothing.

        Raises:
            ConfigurationError: The storage is in memory, where there are no tables.
        """
        ...

    async def size(self) -> DatabaseSize:
        """How large the database is, and how many rows each table has.

        Raises:
            ConfigurationError: The storage is in memory, where there are no tables.
        """
        ...
