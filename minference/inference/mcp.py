"""`McpServer`: the tools of a server that speaks the Model Context Protocol, as tools of a thread."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO
from urllib.parse import urlsplit

from pydantic import JsonValue, ValidationError

from minference.ecs.callables import CallableRegistry
from minference.errors import (
    InvalidToolResult,
    McpConnectionLost,
    McpToolFailed,
    McpUnavailable,
    MissingExtra,
    ToolNameTaken,
)
from minference.inference.mcp_connections import over_http, over_pipes, why
from minference.inference.mcp_results import result_of, tool_of
from minference.threads.tools import CallableTool
from minference.waiting import ended

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import Tool

_log = logging.getLogger(__name__)
_Connect = Callable[[], AbstractAsyncContextManager["Client"]]

MOST_PAGES = 100
"""Pages of a list of tools that are read: a server might never end it."""


class McpServer:
    """A server whose tools can be called while it is open; it is opened and closed with `async with`.

    ```python
    async with McpServer.stdio("python", "server.py") as files, McpServer.http("http://127.0.0.1:8000/mcp") as web:
        thread.tools.extend([*await files.tools(), *await web.tools(prefix="web_")])
    ```

    The tools are stored like any others. To run them after loading, in this process or another, open the server and call
    `tools()` with the same prefix again.
    """

    def __init__(self, name: str, connect: _Connect, connect_timeout: float = 30.0) -> None:
        """Use `stdio` or `http`."""
        self.name = name
        """What errors call it."""
        self._connect = connect
        self._timeout = connect_timeout
        self._functions: dict[str, McpFunction] = {}
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def stdio(
        cls,
        command: str | Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        name: str | None = None,
        stderr: TextIO | None = None,
        connect_timeout: float = 30.0,
    ) -> Self:
        """A server that is a program, run as a child of this process while it is open.

        Args:
            command: The program.
            arguments: What it is called with.
            env: Its environment, beside PATH, HOME and the like: it gets no other variable of this process, so no keys.
            cwd: Where it runs; by default, where this process does.
            name: What errors call it; by default, the command's name.
            stderr: An open file for what it writes to standard error; by default, only errors quote the end of it.
            connect_timeout: Seconds that it may take to answer at first, and to list its tools.
        """
        program, options = str(command), dict(env) if env is not None else None
        shown = name or Path(program).name
        return cls(shown, lambda: over_pipes(shown, program, arguments, options, cwd, stderr), connect_timeout)

    @classmethod
    def http(cls, url: str, *, headers: Mapping[str, str] | None = None, name: str | None = None, connect_timeout: float = 30.0) -> Self:
        """A server at a URL (streamable HTTP).

        Args:
            url: Its endpoint.
            headers: Sent with each request, e.g. for authorization. They are kept nowhere else.
            name: What errors call it; by default, the host.
            connect_timeout: Seconds that it may take to answer at first, and to list its tools.
        """
        sent = dict(headers or {})
        return cls(name or urlsplit(url).hostname or "MCP server", lambda: over_http(url, sent), connect_timeout)

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            McpUnavailable: It does not answer as an MCP server does; says why.
            MissingExtra: The client of the protocol is not installed.
        """
        if importlib.util.find_spec("mcp") is None:
            raise MissingExtra("calling tools of MCP servers", "mcp", 'pip install "minference[mcp]"')
        if self._task is not None:
            raise McpUnavailable(self.name, "it is open already")
        await asyncio.to_thread(importlib.import_module, "mcp")  # takes a second or more
        self._loop = asyncio.get_running_loop()
        ready: asyncio.Future[Client] = self._loop.create_future()
        # The protocol's client must be entered and left in one task; `async with` may be left in another.
        self._task = asyncio.create_task(self._serve(ready))
        try:
            watched: set[asyncio.Future[Any]] = {ready, self._task}
            done, _ = await asyncio.wait(watched, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            await self._end()
            raise
        if not ready.done():
            failure = self._task.exception() if self._task in done else None
            await self._end()
            if isinstance(failure, McpUnavailable):
                raise failure
            raise McpUnavailable(self.name, why(failure) if failure else f"it did not answer within {self._timeout:g} s") from failure
        self._client = ready.result()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for name, function in self._functions.items():
            CallableRegistry.remove(name, function)
        self._functions.clear()
        self._client = None
        self._closing.set()
        assert self._task is not None, "it was entered"
        try:
            await asyncio.wait({self._task})
        finally:
            await self._end()

    async def tools(self, *, prefix: str = "", only: Collection[str] | None = None, timeout: float | None = 60.0) -> list[CallableTool]:
        """The server's tools, in its order; while it is open, they are registered and can be called.

        A tool is taken for idempotent only if the server says so, or that it only reads.

        Args:
            prefix: Put before each name, e.g. `"files_"`. Characters that a tool's name cannot have become `_`.
            only: Names, as the server gives them, of the tools to take; by default all.
            timeout: Seconds for one call.

        Raises:
            ToolNameTaken: Another function has one of the names; none was registered.
            InvalidToolSchema: The schema of a tool is not one of an object; none was registered.
            McpUnavailable: The server is not open, did not list its tools, or has none of the name in `only`.
        """
        listed = {tool.name: tool for tool in await self._listed()}
        if unknown := sorted(set(only or ()) - listed.keys()):
            raise McpUnavailable(self.name, f"it has no tool {unknown[0]!r}: it has {', '.join(map(repr, listed)) or 'none'}")
        chosen = [tool for name, tool in listed.items() if only is None or name in only]
        made = [(tool.name, tool_of(tool, _plain_name(self.name, prefix, tool.name), timeout)) for tool in chosen]
        self._register({tool.name: remote for remote, tool in made}, [tool.name for _, tool in made])
        return [tool for _, tool in made]

    async def call(self, tool: str, remote: str, arguments: dict[str, JsonValue]) -> JsonValue:
        """The result of the server's tool `remote`, which is called `tool` here. If cancelled, the server is told.

        Raises:
            McpToolFailed: The server says that it failed.
            McpConnectionLost: The connection ended meanwhile, or before.
            InvalidToolResult: The server broke its promise of what it returns.
        """
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED

        if self._client is None:
            raise McpConnectionLost(tool, self.name)
        if asyncio.get_running_loop() is not self._loop:
            raise McpUnavailable(self.name, "it was opened in another event loop: open it in this one")
        try:
            result = await self._client.call_tool(remote, arguments)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                raise McpConnectionLost(tool, self.name) from error
            raise McpToolFailed(tool, self.name, error.message) from error
        except (RuntimeError, ValidationError) as error:  # what the client finds wrong with the answer
            raise InvalidToolResult(tool, str(error)) from error
        return result_of(tool, self.name, result)

    async def _serve(self, ready: asyncio.Future[Client]) -> None:
        async with self._connect() as client:
            if not ready.done():
                ready.set_result(client)
            await self._closing.wait()

    async def _end(self) -> None:
        """Nothing of the connection is left when this returns."""
        task, self._task, self._client = self._task, None, None
        self._closing = asyncio.Event()
        if task is None:
            return
        task.cancel()
        await ended([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.debug("the connection to MCP server %s ended with an error", self.name, exc_info=error)

    async def _listed(self) -> list[Tool]:
        from mcp import MCPError

        if self._client is None:
            raise McpUnavailable(self.name, "it is not open: use it inside `async with`")
        found: list[Tool] = []
        cursor: str | None = None
        try:
            async with asyncio.timeout(self._timeout):
                for _ in range(MOST_PAGES):
                    page = await self._client.list_tools(cursor=cursor, cache_mode="refresh")
                    found += page.tools
                    if (cursor := page.next_cursor) is None:
                        return found
        except TimeoutError as error:
            raise McpUnavailable(self.name, f"it did not list its tools within {self._timeout:g} s") from error
        except (MCPError, ValidationError) as error:
            raise McpUnavailable(self.name, f"it did not list its tools ({why(error)})") from error
        raise McpUnavailable(self.name, f"its list of tools has more than {MOST_PAGES} pages")

    def _register(self, remotes: Mapping[str, str], names: Sequence[str]) -> None:
        """Register a function for each name, or none."""
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ToolNameTaken(twice, f"two tools of MCP server {self.name!r}", "take one of them with only=[...]")
        added: list[str] = []
        try:
            for name, remote in remotes.items():
                function = McpFunction(self, name, remote)
                if self._functions.get(name) != function:
                    CallableRegistry.register(name, function)
                    self._functions[name] = function
                    added.append(name)
        except ToolNameTaken as error:
            for name in added:
                CallableRegistry.remove(name, self._functions.pop(name))
            raise ToolNameTaken(error.name, error.holder, "pass a prefix, e.g. tools(prefix='mcp_')") from error


@dataclass(frozen=True)
class McpFunction:
    """A tool of an MCP server as a function of this process."""

    server: McpServer
    tool: str
    """What it is called here."""
    remote: str
    """What the server calls it."""

    async def __call__(self, /, **arguments: Any) -> Any:
        """Call the tool on its server."""
        return await self.server.call(self.tool, self.remote, arguments)


def _plain_name(server: str, prefix: str, name: str) -> str:
    """The name with every character replaced that no provider takes."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", prefix + name)
    if not 1 <= len(plain) <= 64:
        reason = f"the name of its tool {name!r} has {len(plain)} characters, and a tool's name has 1 to 64: leave it out with only=[...]"
        raise McpUnavailable(server, reason)
    return plain
