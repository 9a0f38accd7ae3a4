"""Checks of bytes: they are what their hash says, and the tables say who refers to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from minference.ecs.blob_fields import blobs_in
from minference.storage.base import Record
from minference.storage.checks import Finding
from minference.storage.sql.blobs import read_blobs
from minference.storage.sql.driver import Fetch, Rows
from minference.storage.sql.types import DamagedCell, DialectName

HOLDS = "SELECT h.owner_id, h.sha256, b.size FROM entity_blob h LEFT JOIN blob b ON b.sha256 = h.sha256 WHERE h.owner_id {among}"
"""Who refers to what, and how large that is."""


async def wrong_contents(fetch: Fetch, dialect: DialectName) -> list[Finding]:
    """Blobs whose bytes have another hash. Reads one at a time. What is no text, or no bytes, is left to the check of cells."""
    findings: list[Finding] = []
    for (sha256,) in await fetch("SELECT sha256 FROM blob ORDER BY sha256"):
        if not isinstance(sha256, str):
            continue
        try:
            [content] = (await read_blobs(fetch, dialect, [sha256])).values()
        except DamagedCell:
            continue
        if hashlib.sha256(content).hexdigest() != sha256:
            findings.append(Finding("blobs whole", f"the bytes of blob {sha256} have another hash"))
    return findings


def wrong_holds(records: Mapping[int, Record], rows: Rows) -> list[Finding]:
    """Where `HOLDS` of some versions contradicts their values."""
    holds: dict[int, dict[str, int | None]] = {}
    for owner, sha256, size in rows:
        holds.setdefault(owner, {})[sha256] = size
    problems = (
        f"version {record.version.ecs_id} {problem}" for key, record in records.items() for problem in _problems(record, holds.get(key, {}))
    )
    return [Finding("blobs in use", problem) for problem in problems]


def _problems(record: Record, held: Mapping[str, int | None]) -> Iterator[str]:
    named = {blob.sha256: blob.size for blob in blobs_in(record.cls, record.values)}
    yield from (f"holds blob {each}, and entity_blob does not say so" for each in _without(named, held))
    yield from (f"is said by entity_blob to hold blob {each}, and does not" for each in _without(held, named))
    for sha256, size in named.items():
        if (stored := held.get(sha256)) is not None and stored != size:
            yield f"holds blob {sha256} with {size} bytes, and it has {stored}"


def _without(these: Iterable[str], those: Mapping[str, int | None]) -> list[str]:
    return [each for each in these if each not in those]
