"""What listens where a PostgreSQL server is looked for, and is none."""

from __future__ import annotations

import asyncio
import struct

from sqlalchemy import URL

_QUESTION = struct.pack("!ll", 8, 80_877_103)
"""PostgreSQL's question whether a connection may be encrypted: every server answers it, before anything else."""
_WAIT = 2.0
"""Seconds to wait for the answer."""


async def is_stranger(url: URL) -> bool:
    """Whether something answers there that does not speak PostgreSQL.

    Whoever breaks off or says nothing may be a server that starts, or what stands before one.
    """
    if url.host is None:
        return False
    try:
        async with asyncio.timeout(_WAIT):
            answer = await _answer(url.host, url.port or 5432)
    except OSError:
        return False
    return answer not in (b"", b"S", b"N") and not answer.startswith(b"E\0")


async def _answer(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_QUESTION)
        return await reader.read(16)
    finally:
        writer.close()
