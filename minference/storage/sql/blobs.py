"""Reading bytes by their hash."""

from __future__ import annotations

from collections.abc import Sequence

from minference.errors import BlobNotFound
from minference.storage.sql.among import among_texts, text_parameter
from minference.storage.sql.driver import Fetch
from minference.storage.sql.types import DamagedCell, DialectName


async def stored_blobs(fetch: Fetch, dialect: DialectName, hashes: Sequence[str]) -> set[str]:
    """Those of these hashes whose bytes are stored."""
    return {row[0] for row in await fetch(f"SELECT sha256 FROM blob WHERE sha256 {among_texts(dialect)}", text_parameter(dialect, hashes))}


async def read_blobs(fetch: Fetch, dialect: DialectName, hashes: Sequence[str]) -> dict[str, bytes]:
    """The bytes of each of these hashes.

    Raises:
        BlobNotFound: One is not stored.
        DamagedCell: One is stored as something else than bytes.
    """
    rows = await fetch(f"SELECT sha256, data FROM blob WHERE sha256 {among_texts(dialect)}", text_parameter(dialect, hashes))
    found: dict[str, bytes] = dict(rows)
    for each in hashes:
        if each not in found:
            raise BlobNotFound(each)
        if not isinstance(found[each], bytes):
            raise DamagedCell(found[each])
    return found
