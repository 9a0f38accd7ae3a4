"""A provider's own reasoning blocks: kept with the name of the client that they came from, and sent back to nobody else.

Their signatures mean something to the provider that made them, and are refused by others.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from minference.clients.parsing import as_json
from minference.threads.messages import ChatMessage


def kept_blocks(client: str, blocks: list[dict[str, Any]]) -> str | None:
    """The blocks as text to be kept with a message; `None` if there are none."""
    return as_json({"client": client, "blocks": blocks}) if blocks else None


def own_blocks(client: str, message: ChatMessage) -> list[dict[str, Any]]:
    """The blocks of a message that came from this client. A bare list, without a client's name, is anybody's."""
    if message.reasoning_json is None:
        return []
    try:
        kept = from_json(message.reasoning_json)
    except ValueError:  # also of halves of surrogate pairs, which nobody can be sent
        return []
    if isinstance(kept, dict):
        kept = kept.get("blocks") if kept.get("client") == client else []
    return [block for block in kept if isinstance(block, dict)] if isinstance(kept, list) else []
