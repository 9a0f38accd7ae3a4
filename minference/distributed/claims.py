"""Who is at which thread: advisory locks of PostgreSQL, on a connection that lives as long as the work.

They end with the connection, and so with the process or the machine: a killed worker leaves none behind, and one that only seems
dead (stopped, swapped out) keeps its threads until it really is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import Any, TypeVar
from uuid import UUID

from psycopg import AsyncConnection, Error

from minference.errors import ClaimsLost, QueueFailed
from minference.waiting import ended, to_the_end

T = TypeVar("T")

_TAKE = "SELECT key FROM unnest(%s::bigint[]) AS key WHERE pg_try_advisory_lock(key)"
_KEEPALIVE = (
    "SELECT set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),"
    " set_config('tcp_keepalives_count', '3', false)"
)
"""The server finds out within half a minute that a machine is gone, and not after its two hours."""


class Claims:
    """The threads that a job may work on."""

    def __init__(self, run: str, connection: AsyncConnection, held: Sequence[UUID], elsewhere: Sequence[UUID]) -> None:
        self._run = run
        self._connection = connection
        self.held = tuple(held)
        self.elsewhere = tuple(elsewhere)
        """Threads that others are at."""

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work gives, which is cancelled if the claims are lost. It has ended when this returns or raises.

        Raises:
            ClaimsLost: The connection ended first.
        """
        task, watch = asyncio.create_task(work), asyncio.create_task(self._watch())
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise ClaimsLost(self._run, watch.result())
        finally:
            for each in (task, watch):
                each.cancel()
            await ended([task, watch])
            if not task.cancelled():
                task.exception()  # that the claims were lost comes before what this did to the work

    async def _watch(self) -> str:
        """Why the connection ended, once it has."""
        try:
            async for _ in self._connection.notifies():
                continue
        except Error as error:
            return _line(error)
        return "it was closed"


@asynccontextmanager
async def claimed(conninfo: str, run: str, lineages: Sequence[UUID]) -> AsyncIterator[Claims]:
    """Those of these threads that nobody else is at; others keep away from them until the block is left.

    Raises:
        QueueFailed: The database cannot be reached.
    """
    keys = {_key(lineage_id): lineage_id for lineage_id in lineages}
    try:
        connection = await AsyncConnection.connect(conninfo, autocommit=True)
    except Error as error:
        raise QueueFailed(_line(error)) from error
    try:
        try:
            await connection.execute(_KEEPALIVE)
            taken = {keys[key] for (key,) in await (await connection.execute(_TAKE, [list(keys)])).fetchall()}
        except Error as error:
            raise QueueFailed(_line(error)) from error
        held, elsewhere = ([each for each in lineages if (each in taken) is here] for here in (True, False))
        yield Claims(run, connection, held, elsewhere)
    finally:
        await to_the_end(_release(connection))


async def _release(connection: AsyncConnection) -> None:
    with suppress(Error):  # it is gone, and its locks with it
        await connection.execute("SELECT pg_advisory_unlock_all()")
    await connection.close()


def _key(lineage_id: UUID) -> int:
    """The lock of a thread. Should two ever share one, one of them waits for the other."""
    return int.from_bytes(blake2b(lineage_id.bytes, digest_size=8, person=b"minference").digest(), signed=True)


def _line(error: Error) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__
