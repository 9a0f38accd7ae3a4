"""Connections to MCP servers: over the pipes of a child process, and over HTTP."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from minference.errors import McpUnavailable

if TYPE_CHECKING:
    from mcp import Client

QUOTED = 500
"""Characters of a server's standard error that an error quotes."""


@asynccontextmanager
async def over_pipes(
    name: str, command: str, arguments: Sequence[str], env: dict[str, str] | None, cwd: str | Path | None, stderr: TextIO | None
) -> AsyncGenerator[Client, None]:
    """A client of a child process. If that ends, the error quotes what it complained about."""
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    parameters = StdioServerParameters(command=command, args=list(arguments), env=env, cwd=cwd)
    with tempfile.TemporaryFile("w+") as kept:
        try:
            async with Client(stdio_client(parameters, errlog=stderr or kept)) as client:
                yield client
        except Exception as error:
            size = os.fstat(kept.fileno()).st_size
            # The child shares the file's position, so it is not moved.
            said = os.pread(kept.fileno(), QUOTED, max(0, size - QUOTED)).decode(errors="replace").strip()
            raise McpUnavailable(name, f"{why(error)}{f'; it wrote: {said}' if said else ''}") from error


@asynccontextmanager
async def over_http(url: str, headers: dict[str, str]) -> AsyncGenerator[Client, None]:
    """A client of a server elsewhere."""
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    timeout = httpx2.Timeout(30.0, read=300.0)  # a server may hold a stream open; a tool's own timeout ends its call
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


def why(error: BaseException) -> str:
    """What to tell of an error of the protocol's client."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    from mcp import MCPError

    if isinstance(error, MCPError):
        return error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
