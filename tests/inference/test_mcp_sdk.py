"""Servers made with the protocol's own SDK, over HTTP and over pipes, in the newest version of the protocol."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from minference import McpServer
from minference.errors import McpConnectionLost, McpToolFailed, McpUnavailable, ToolTimedOut
from minference.inference.tool_results import ToolFailed, ToolOutcome, ToolSucceeded
from minference.inference.tool_runs import run_tool_call
from minference.threads.tools import CallableTool
from tests.inference.tool_calls import a_call

PATIENCE = 60.0
TOKEN = "Bearer token-of-a-test"
SERVER = Path(__file__).parent / "mcp_sdk_server.py"


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.ecs.callables._FUNCTIONS", {})


class Guarded:
    """An application that only whoever has the token may use."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != TOKEN.encode():
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"who are you?"})
            return
        await self.application(scope, receive, send)


class HttpServer:
    """The server on a port of this machine, in a thread."""

    def __init__(self) -> None:
        from tests.inference.mcp_sdk_server import make_server

        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/mcp"
        application = Guarded(make_server().streamable_http_app())
        config = uvicorn.Config(application, ws="none", log_config=None, log_level="critical", timeout_graceful_shutdown=0)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Serve no longer."""
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        self._socket.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[HttpServer]:
    server = HttpServer()
    yield server
    server.stop()


@pytest.fixture
async def atlas(shared: HttpServer) -> AsyncIterator[McpServer]:
    """The server over HTTP, open."""
    async with McpServer.http(shared.url, headers={"authorization": TOKEN}, name="atlas") as server:
        yield server


async def call(tools: list[CallableTool], tool_name: str, /, timeout: float = PATIENCE, **arguments: Any) -> ToolOutcome:
    [tool] = [tool for tool in tools if tool.name == tool_name]
    tool.timeout = timeout
    return await run_tool_call(tool, a_call(tool_name, **arguments))


async def test_tools_over_http(atlas: McpServer) -> None:
    tools = await atlas.tools()
    assert {tool.name: tool.docstring for tool in tools} == {
        "count": "Count places.",
        "find": "Find a place.",
        "wait": "Never comes back.",
        "leave": "End the process.",
    }
    assert [tool.name for tool in tools if tool.idempotent] == ["count"]
    tree = {"name": "Rome", "inside": [{"name": "Forum", "inside": [{"name": "Curia"}]}]}
    assert await call(tools, "count", place=tree, start=10) == ToolSucceeded('{"result":13}', {"result": 13})
    assert await call(tools, "find", name="Rome") == ToolSucceeded(
        '{"name":"Rome","inside":[{"name":"centre","inside":[]}]}', {"name": "Rome", "inside": [{"name": "centre", "inside": []}]}
    )


async def test_errors_and_timeouts_over_http(atlas: McpServer) -> None:
    tools = await atlas.tools()
    wrong = await call(tools, "find", name="Atlantis")
    assert isinstance(wrong, ToolFailed)
    assert isinstance(wrong.error, McpToolFailed)
    assert str(wrong.error) == "tool 'find' failed: Error executing tool find"
    late = await call(tools, "wait", timeout=0.05)
    assert isinstance(late, ToolFailed)
    assert isinstance(late.error, ToolTimedOut)
    assert isinstance(await call(tools, "find", name="Rome"), ToolSucceeded)


async def test_many_calls_over_http_run_side_by_side(atlas: McpServer) -> None:
    tools = await atlas.tools()
    outcomes = await asyncio.gather(*(call(tools, "count", place={"name": "Rome"}, start=n) for n in range(20)))
    assert [outcome.value for outcome in outcomes if isinstance(outcome, ToolSucceeded)] == [{"result": n + 1} for n in range(20)]


async def test_without_the_right_header_the_server_is_not_entered(shared: HttpServer) -> None:
    with pytest.raises(McpUnavailable):
        async with McpServer.http(shared.url, headers={"authorization": "Bearer another"}):
            pytest.fail("it was entered")


async def test_a_server_that_goes_away_fails_calls_and_not_the_caller() -> None:
    going = HttpServer()
    async with McpServer.http(going.url, headers={"authorization": TOKEN}) as server:
        tools = await server.tools()
        assert isinstance(await call(tools, "find", name="Rome"), ToolSucceeded)
        await asyncio.to_thread(going.stop)
        lost = await call(tools, "find", name="Rome")
        assert isinstance(lost, ToolFailed)
        assert isinstance(lost.error, McpToolFailed | McpConnectionLost)
        lost = await call(tools, "find", name="Rome")
        assert isinstance(lost, ToolFailed)
        assert isinstance(lost.error, McpConnectionLost)


async def test_tools_over_pipes() -> None:
    async with McpServer.stdio(sys.executable, str(SERVER), connect_timeout=PATIENCE) as server:
        tools = await server.tools(prefix="atlas_")
        assert await call(tools, "atlas_find", name="Rome") == ToolSucceeded(
            '{"name":"Rome","inside":[{"name":"centre","inside":[]}]}', {"name": "Rome", "inside": [{"name": "centre", "inside": []}]}
        )
        assert isinstance(await call(tools, "atlas_wait", timeout=0.05), ToolFailed)
        assert isinstance(await call(tools, "atlas_find", name="Rome"), ToolSucceeded)
