"""Transactions apart from the writer of versions, tried again while the database is busy or away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from minference.errors import MinferenceError
from minference.storage.sql.dialects import Transient, diagnose, write_failed
from minference.storage.sql.driver import Patience, Transaction
from minference.storage.sql.types import DialectName

T = TypeVar("T")
Work = Callable[[Transaction], Awaitable[T]]
"""What is done in a transaction; done again in another one if that could not be committed."""


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """What an attempt to write gives; attempted again for a while if the database is busy or away.

    Raises:
        WriteFailed: The database refused, or was away for too long.
    """
    patience = Patience()
    while True:
        try:
            return await attempt()
        except MinferenceError:
            raise
        except Exception as error:
            if not (isinstance(diagnose(error), Transient) and await patience.wait()):
                raise write_failed(error) from error


def with_parameters(statement: str, dialect: DialectName) -> str:
    """The statement with its parameters as the driver wants them: `{0:text}` is the first, a text."""
    return statement.format(*(_Parameter(number, postgres=dialect == "postgresql") for number in range(1, 9)))


class _Parameter:
    """One parameter of a statement, typed where the database would have to guess."""

    def __init__(self, number: int, *, postgres: bool) -> None:
        self._number = number
        self._postgres = postgres

    def __format__(self, kind: str) -> Any:
        return f"${self._number}::{kind}" if self._postgres else f"?{self._number}"
