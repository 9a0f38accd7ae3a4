"""A server made with the protocol's own SDK. Run as a program, it serves on standard input and output."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations
from pydantic import BaseModel


class Place(BaseModel):
    """Somewhere, and what is in it."""

    name: str
    inside: list[Place] = []


def make_server() -> MCPServer[Any]:
    """A server with a few tools."""
    server: MCPServer[Any] = MCPServer("atlas", log_level="CRITICAL")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def count(place: Place, start: int = 0) -> int:
        """Count places."""
        return start + 1 + sum(count(inner) for inner in place.inside)

    @server.tool()
    def find(name: str) -> Place:
        """Find a place."""
        if name == "Atlantis":
            raise LookupError(name)
        return Place(name=name, inside=[Place(name="centre")])

    @server.tool()
    async def wait() -> str:
        """Never comes back."""
        await asyncio.Event().wait()
        return "?"

    @server.tool()
    def leave() -> None:
        """End the process."""
        os._exit(3)

    return server


if __name__ == "__main__":
    make_server().run("stdio")
