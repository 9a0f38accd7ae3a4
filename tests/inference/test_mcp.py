"""Tools of MCP servers: found, stored, called, and answered for in every way in which a server can fail."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from minference import McpServer
from minference.clients.scripted import ScriptedClient
from minference.ecs.callables import CallableRegistry
from minference.errors import (
    InvalidToolArguments,
    InvalidToolResult,
    InvalidToolSchema,
    McpConnectionLost,
    McpToolFailed,
    McpUnavailable,
    MissingExtra,
    ToolError,
    ToolNameTaken,
    ToolTimedOut,
    UnregisteredTool,
)
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.tool_results import ToolFailed, ToolOutcome, ToolSucceeded, error_text
from minference.inference.tool_runs import run_tool_call
from minference.storage.base import EntityStorage
from minference.threads.messages import ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.inference.helpers import completed, thread
from tests.inference.tool_calls import a_call

PATIENCE = 30.0
CHILD = Path(__file__).parent / "mcp_child.py"


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.ecs.callables._FUNCTIONS", {})


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    left = [child for child in psutil.Process().children(recursive=True) if "mcp_child" in " ".join(child.cmdline())]
    assert left == []


def child(behaviour: str = "usual", **options: Any) -> McpServer:
    return McpServer.stdio(sys.executable, str(CHILD), behaviour, name="child", **options)


async def outcome(server: McpServer, name: str, *, timeout: float | None = PATIENCE, **arguments: Any) -> ToolOutcome:
    [tool] = await server.tools(only=[name], timeout=timeout)
    return await run_tool_call(tool, a_call(tool.name, **arguments))


async def value(server: McpServer, name: str, **arguments: Any) -> Any:
    found = await outcome(server, name, **arguments)
    assert isinstance(found, ToolSucceeded), found
    return found.value


async def failure(server: McpServer, name: str, **arguments: Any) -> ToolError:
    found = await outcome(server, name, **arguments)
    assert isinstance(found, ToolFailed), found
    return found.error


# Finding tools


async def test_a_servers_tools_are_tools_like_any_others() -> None:
    async with child() as server:
        tools = {tool.name: tool for tool in await server.tools(timeout=7)}
        assert list(tools)[:3] == ["echo", "files_read_all", "depth"]
        assert len(tools) == 16
        echo = tools["echo"]
        assert echo.model_dump(include={"docstring", "input_schema", "output_schema", "timeout", "strict_schema", "callable_text"}) == {
            "docstring": "Repeat.",
            "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
            "output_schema": None,
            "timeout": 7.0,
            "strict_schema": False,
            "callable_text": None,
        }
        assert tools["files_read_all"].docstring == "Read files"
        assert tools["odd"].input_schema == {"type": "object", "properties": {}}
        assert tools["depth"].input_schema["$defs"]
        assert (await server.tools(only=["measure"]))[0].output_schema is not None


async def test_only_tools_that_say_so_are_run_again_after_a_crash() -> None:
    async with child() as server:
        tools = await server.tools(only=["echo", "depth", "odd"])
        assert {tool.name: tool.idempotent for tool in tools} == {"echo": True, "depth": True, "odd": False}


async def test_names_that_are_taken_are_refused_and_a_prefix_helps() -> None:
    CallableTool.from_callable(lambda: 1, name="depth")
    async with child() as server:
        with pytest.raises(ToolNameTaken, match=r"tool name 'depth' belongs to .*: pass a prefix, e.g. tools\(prefix='mcp_'\)"):
            await server.tools()
        assert CallableRegistry.names() == ["depth"]
        tools = await server.tools(prefix="tea_")
        assert [tool.name for tool in tools[:2]] == ["tea_echo", "tea_files_read_all"]
        assert await run_tool_call(tools[0], a_call("tea_echo", text="hello")) == ToolSucceeded("hello", "hello")
        assert await server.tools(prefix="tea_") != tools
    assert CallableRegistry.names() == ["depth"]


async def test_two_servers_with_the_same_tools_are_told_apart_by_prefix() -> None:
    async with child() as one, child() as other:
        await one.tools()
        with pytest.raises(ToolNameTaken):
            await other.tools()
        [tool] = await other.tools(prefix="b_", only=["echo"])
        assert await run_tool_call(tool, a_call(tool.name, text="other")) == ToolSucceeded("other", "other")


@pytest.mark.parametrize(
    ("behaviour", "error", "message"),
    [
        ("bad-schema", InvalidToolSchema, "tool 'bad' has an invalid JSON schema: it refers to 'http://127.0.0.1:9/a'"),
        ("same-names", ToolNameTaken, r"tool name 'a_b' belongs to two tools of MCP server 'child': take one of them with only=\[...\]"),
        ("long-name", McpUnavailable, r"has 65 characters, and a tool's name has 1 to 64: leave it out with only=\[...\]"),
        ("no-list", McpUnavailable, r"MCP server 'child' cannot be used: it did not list its tools \(there is no such thing\)"),
        ("endless-list", McpUnavailable, "its list of tools has more than 100 pages"),
    ],
)
async def test_tools_that_cannot_be_used_are_refused_with_the_reason(behaviour: str, error: type[ToolError], message: str) -> None:
    async with child(behaviour) as server:
        with pytest.raises(error, match=message):
            await server.tools()
        assert CallableRegistry.names() == []


async def test_a_tool_that_is_not_there_is_named() -> None:
    async with child("bad-schema") as server:
        with pytest.raises(McpUnavailable, match="it has no tool 'tea': it has 'echo', 'bad'"):
            await server.tools(only=["tea"])
        assert [tool.name for tool in await server.tools(only=["echo"])] == ["echo"]
    async with child("empty") as server:
        assert await server.tools() == []


# Calling them


ODD = (
    "Look:\n[image (image/png, 5 bytes), which cannot be shown here]\n[audio (audio/wav, 6 bytes), which cannot be shown here]\n"
    "Notes.\n[resource file:///data.bin (unknown type, 3 bytes), which cannot be shown here]\n[resource file:///more.txt: more]"
)


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("echo", {"text": "größer \u2028 \0 😀"}, "größer \u2028 \0 😀"),
        ("files.read/all", {"text": "all"}, "read all"),
        ("depth", {"tree": {"name": "root", "kids": [{"name": "leaf"}]}}, "44"),
        ("measure", {}, {"length": 4, "unit": "cm"}),
        ("nothing", {}, ""),
        ("self", {"self": "me"}, "me"),
        ("odd", {}, ODD),
    ],
)
async def test_a_result_is_structured_content_or_text(name: str, arguments: dict[str, Any], result: Any) -> None:
    async with child() as server:
        assert await value(server, name, **arguments) == result


async def test_nothing_that_comes_beside_structured_content_is_dropped() -> None:
    async with child() as server:
        assert (await value(server, "both")).startswith('{"n":1}\n[image (image/png, 5 bytes), which cannot be shown here]')


async def test_arguments_are_validated_before_the_server_sees_them() -> None:
    async with child() as server:
        error = await failure(server, "depth", tree={"name": "root", "kids": [{"name": 1}]})
        assert isinstance(error, InvalidToolArguments)
        assert error.reason == 'tree.kids.0.name: 1 is not of type "string"'


@pytest.mark.parametrize(
    ("name", "error", "shown"),
    [
        ("refuse", McpToolFailed, "tool 'refuse' failed: no tea in pot.txt"),
        ("refuse_silently", McpToolFailed, "tool 'refuse_silently' failed: it gives no reason"),
        ("protocol_error", McpToolFailed, "tool 'protocol_error' failed: there is no such thing"),
        ("lie", InvalidToolResult, "tool 'lie' returned an unusable result: "),
        ("malformed", InvalidToolResult, "tool 'malformed' returned an unusable result: "),
        ("leave", McpConnectionLost, "tool 'leave' gave no result, because the connection to MCP server 'child' ended; it may have"),
    ],
)
async def test_what_the_server_does_wrong_is_a_tool_error(name: str, error: type[ToolError], shown: str) -> None:
    async with child() as server:
        found = await failure(server, name)
        assert isinstance(found, error)
        assert error_text(found).startswith(shown)


async def test_a_server_that_dies_fails_the_calls_that_wait_and_those_that_follow() -> None:
    async with child() as server:
        echo, hang, leave = await server.tools(only=["echo", "hang", "leave"])
        waiting = [asyncio.create_task(run_tool_call(hang, a_call("hang"))) for _ in range(3)]
        outcomes = [await run_tool_call(leave, a_call("leave")), *await asyncio.gather(*waiting)]
        outcomes.append(await run_tool_call(echo, a_call("echo", text="?")))
        assert [type(each.error) for each in outcomes if isinstance(each, ToolFailed)] == [McpConnectionLost] * 5


async def test_a_call_that_takes_too_long_is_cancelled_on_the_server(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stderr:
        async with child(stderr=stderr) as server:
            assert isinstance(await failure(server, "hang", timeout=0.05), ToolTimedOut)
            assert await value(server, "echo", text="still there") == "still there"
    assert log.read_text() == "a call was cancelled\n"


async def test_a_cancelled_call_is_cancelled_on_the_server(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stderr:
        async with child(stderr=stderr) as server:
            echo, hang = await server.tools(only=["echo", "hang"])
            task = asyncio.create_task(run_tool_call(hang, a_call("hang")))
            assert await run_tool_call(echo, a_call("echo", text="first")) == ToolSucceeded("first", "first")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await run_tool_call(echo, a_call("echo", text="then")) == ToolSucceeded("then", "then")
    assert log.read_text() == "a call was cancelled\n"


async def test_many_calls_run_side_by_side() -> None:
    async with child() as server:
        [tool] = await server.tools(only=["echo"])
        outcomes = await asyncio.gather(*(run_tool_call(tool, a_call("echo", str(n), text=str(n))) for n in range(50)))
        assert outcomes == [ToolSucceeded(str(n), str(n)) for n in range(50)]


# Opening and closing


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (lambda: McpServer.stdio("/nowhere/tea"), r"MCP server 'tea' cannot be used: FileNotFoundError: .*No such file"),
        (lambda: child("crash"), "Connection closed; it wrote: cannot find the teapot"),
        (lambda: child("web-page"), "MCP server 'child' cannot be used: Connection closed"),
        (lambda: child("silent", connect_timeout=0.3), "it did not answer within 0.3 s"),
        (lambda: McpServer.http("http://127.0.0.1:9/mcp?key=secret"), "MCP server '127.0.0.1' cannot be used: ConnectError: "),
    ],
    ids=["no program", "crash", "web page", "silent", "no server"],
)
async def test_a_server_that_does_not_answer_is_named_with_the_reason(server: Any, reason: str) -> None:
    with pytest.raises(McpUnavailable, match=reason) as caught:
        async with server():
            pytest.fail("it was entered")
    assert "secret" not in str(caught.value)


async def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingExtra, match=r'pip install "minference\[mcp\]"'):
        async with child():
            pytest.fail("it was entered")


async def test_a_closed_server_offers_nothing_and_can_be_opened_again() -> None:
    server = child()
    with pytest.raises(McpUnavailable, match="it is not open"):
        await server.tools()
    async with server:
        [tool] = await server.tools(only=["echo"])
        function = CallableRegistry.get("echo")
        with pytest.raises(McpUnavailable, match="it is open already"):
            await server.__aenter__()
    after = await run_tool_call(tool, a_call("echo", text="?"))
    assert isinstance(after, ToolFailed)
    assert isinstance(after.error, UnregisteredTool)
    with pytest.raises(McpConnectionLost):
        await function(text="?")
    async with server:
        await server.tools(only=["echo"])
        assert await run_tool_call(tool, a_call("echo", text="again")) == ToolSucceeded("again", "again")


async def test_a_server_may_be_closed_in_another_task_than_it_was_opened_in() -> None:
    server = await asyncio.create_task(child().__aenter__())
    assert await value(server, "echo", text="here") == "here"
    await asyncio.create_task(server.__aexit__(None, None, None))


async def test_opening_that_is_cancelled_leaves_no_process() -> None:
    task = asyncio.create_task(child("silent").__aenter__())
    while not psutil.Process().children():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_call_from_another_event_loop_is_refused() -> None:
    async with child() as server:
        [tool] = await server.tools(only=["echo"])
        found: list[ToolOutcome] = []
        elsewhere = threading.Thread(target=lambda: found.append(asyncio.run(run_tool_call(tool, a_call("echo", text="?")))))
        elsewhere.start()
        await asyncio.to_thread(elsewhere.join)
        [outcome] = found
        assert isinstance(outcome, ToolFailed)
        assert "it was opened in another event loop" in str(outcome.error)


async def test_a_server_gets_no_key_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    async with child(env={"TEA": "green"}) as server:
        names = (await value(server, "environment")).split()
    assert "TEA" in names
    assert [name for name in names if "KEY" in name or "OPENAI" in name] == []


# In a run


async def test_a_stored_thread_uses_the_servers_tools_when_the_server_is_open_again(memory: EntityStorage) -> None:
    async with child() as server:
        chat = thread(tools=await server.tools(only=["echo"]))
        await memory.register(chat)
    loaded = await memory.get(ChatThread, chat.ecs_id)
    client = ScriptedClient([*(ToolCall.from_arguments(str(n), "echo", {"text": "hello"}) for n in range(2)), "Done."])
    async with InferenceOrchestrator(storage=memory, clients={"scripted": client}) as orchestrator:
        await orchestrator.run([loaded], max_turns=1)
        async with child() as server:
            await server.tools(only=["echo"])
            [outcome] = await orchestrator.run([loaded])
    assert completed(outcome).content == "Done."
    results = [(message.content, message.tool_error) for message in loaded.history if message.tool_call_id]
    assert results == [("tool 'echo' is not available at the moment", True), ("hello", False)]
