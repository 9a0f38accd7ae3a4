"""`minference threads search`: messages by their words."""

from __future__ import annotations

import asyncio

from minference.cli.database import existing
from minference.cli.output import print_json, stderr, stdout, when
from minference.cli.tables import table
from minference.cli.working import working
from minference.ecs.lineage import short_id
from minference.storage.search import Hit
from minference.threads.messages import ChatMessage


def search(database: str, text: str, limit: int, as_json: bool) -> None:
    """Print the messages in which every word of the text is, and the threads that hold them."""
    text.encode()  # what is no text would be taken for something between words
    hits = asyncio.run(_search(database, text, limit))
    if as_json:
        print_json([_as_json(hit) for hit in hits])
    elif hits:
        rows = [
            (short_id(hit.version.ecs_id), " ".join(map(short_id, hit.holders)), when(hit.version.created_at), hit.snippet) for hit in hits
        ]
        stdout().print(table(["message", "threads", "saved (UTC)", "text"], rows), soft_wrap=True)
    else:
        stderr().print("no message holds all these words")


def _as_json(hit: Hit) -> dict[str, object]:
    version = hit.version
    return {
        "message": str(version.lineage_id),
        "version": str(version.ecs_id),
        "created_at": version.created_at.isoformat(),
        "threads": [str(each) for each in hit.holders],
        "text": hit.snippet,
    }


async def _search(database: str, text: str, limit: int) -> list[Hit]:
    async with existing(database) as storage:
        with working("searching"):
            return await storage.search(ChatMessage, text, limit=limit)
