"""One erasure, over any backend."""

from __future__ import annotations

from uuid import UUID

from minference.ecs.choices import a_choice
from minference.ecs.identity import utc_now
from minference.errors import ConfigurationError
from minference.storage.arguments import a_text
from minference.storage.erasing import Erased, Eraser, Erasure, ErasureScope, Shared

NOT_SCRUBBED = "the database may keep copies outside of its tables, since it was not scrubbed: call scrub()"


async def erase(eraser: Eraser, lineage_id: UUID, reason: str, author: str | None, shared: Shared, *, scrub: bool) -> Erased:
    """See `Erasing.erase`."""
    a_choice("shared", shared, Shared)
    if author is not None:
        a_text("author", author, "a str or None")
    if not a_text("reason", reason).strip():
        raise ConfigurationError("an erasure needs a reason, which its tombstone keeps: say why, without naming what is erased")
    told = Erasure(lineage_id, utc_now(), reason, author, because_of=lineage_id)
    reached = await eraser.erase(told, shared)
    [standing] = [told] if lineage_id in reached.lineages else await eraser.erasures([lineage_id])
    remains = await eraser.scrub() if scrub else (NOT_SCRUBBED,)
    return Erased(standing, reached, remains)


async def scope(eraser: Eraser, lineage_id: UUID, shared: Shared) -> ErasureScope:
    """See `Erasing.erasure_scope`."""
    return await eraser.scope(lineage_id, a_choice("shared", shared, Shared))
