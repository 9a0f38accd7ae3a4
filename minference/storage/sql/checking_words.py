"""Check of the indexes of words on SQLite, whose tables FTS5 fills as it likes: each can be read to its end, and finds what it holds."""

from __future__ import annotations

from sqlite3 import DatabaseError

from minference.storage.sql.dialects import Transient, diagnose, reason_of
from minference.storage.sql.driver import Fetch


async def damaged_words(fetch: Fetch, index: str) -> str | None:
    """What is wrong with an index, if anything is. Makes a temporary table, which goes when the transaction is undone."""
    try:
        await fetch(f"CREATE VIRTUAL TABLE temp.{index}_there USING fts5vocab(main, {index}, row)")
        [(last,)] = await fetch(f"SELECT MAX(term) FROM temp.{index}_there")
        if last is not None and not await fetch(f"SELECT 1 FROM {index} WHERE {index} MATCH ? LIMIT 1", f'"{last}"'):
            return f"index {index} does not find all the words that it holds"
    except DatabaseError as error:
        if isinstance(diagnose(error), Transient):
            raise
        return f"index {index} cannot be read, so that searching fails: {reason_of(error)}"
    return None
