"""`minference tools`: what there is to be called."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from pydantic import JsonValue

from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool
from tests.cli.conftest import Cli

MODULE = '''
from typing import Literal

from pydantic import BaseModel
from minference import CallableTool


class Trip(BaseModel):
    """A journey."""

    city: str
    days: int = 2


def {name}(city: str, days: list[int] = [], unit: Literal["C", "F"] | None = None) -> float:
    """The weather in a city.

    And more of it.
    """
    raise RuntimeError("nobody calls it")


def unclear(what):
    """No annotation."""


def _hidden(city: str) -> str:
    return city


COUNT = CallableTool.from_source("def count(text: str) -> int:\\n    return len(text)")
'''
SERVER = '''
from mcp.server.mcpserver import MCPServer

server = MCPServer("library")


@server.tool()
def borrow(title: str, weeks: int = 2) -> str:
    """Borrow a book."""
    return title


server.run("stdio")
'''


def schema(kind: str) -> dict[str, JsonValue]:
    return {"type": "object", "properties": {"city": {"type": kind}}, "required": ["city"]}


async def save(path: Path) -> None:
    config = LLMConfig(client="local", model="m")
    async with open_storage(f"sqlite:///{path}") as storage:
        for number in range(3):
            weather = CallableTool(name="weather", docstring="The weather.", input_schema=schema("integer" if number else "string"))
            await storage.register(ChatThread(name=f"thread {number}", llm_config=config, tools=[weather]))
        trip = StructuredTool.from_json_schema("Trip", {"type": "object", "properties": {}}, description="A journey.")
        thread = ChatThread(llm_config=config, forced_output=trip)
        await storage.register(thread)
        trip.description = "A \x1b[31mlong journey."
        await storage.register(thread)


def test_the_tools_of_a_database_are_listed_equal_ones_once(cli: Cli, tmp_path: Path) -> None:
    asyncio.run(save(tmp_path / "minference.db"))
    listed = cli("tools", "--json").json
    assert [(each["name"], each["kind"], each["stored"], each["description"]) for each in listed] == [
        ("Trip", "object", 1, "A \x1b[31mlong journey."),
        ("weather", "function", 2, "The weather."),
        ("weather", "function", 1, "The weather."),
    ]
    assert listed[2]["parameters"] == schema("string")
    printed = cli("tools").out
    assert [line.split() for line in printed.splitlines()][2:] == [
        ["weather", "function", "2", "city:", "integer", "The", "weather."],
        ["weather", "function", "1", "city:", "string", "The", "weather."],
    ]
    assert "\x1b" not in printed


def test_a_module_shows_what_its_functions_and_classes_would_be_as_tools(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "tools_of_mine.py").write_text(MODULE.replace("{name}", "weather_of_mine"))
    printed = cli("tools", "tools_of_mine").out.splitlines()
    assert [" ".join(line.partition(": annotate it")[0].split()) for line in printed] == [
        "name kind parameters description",
        "Trip object city: string, days?: integer A journey.",
        "weather_of_mine function city: string, days?: [integer], unit?: 'C' | 'F' | null The weather in a city. And more of it.",
        "unclear function function 'unclear' cannot be a tool: parameter 'what' has no annotation, so its schema is unknown",
        "count source text: string",
    ]
    [one] = cli("tools", "tools_of_mine:weather_of_mine", "--json").json
    assert (one["name"], one["stored"], one["result"]) == ("weather_of_mine", None, {"type": "number"})


def test_what_is_no_tool_is_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "odd_tools.py").write_text("NUMBER = 7\n\n\ndef f(x):\n    pass\n")
    for target, said in (
        ("nowhere_at_all", "cannot import nowhere_at_all: ModuleNotFoundError"),
        ("odd_tools:g", "odd_tools:g is no tool: there is no such name"),
        ("odd_tools:NUMBER", "odd_tools:NUMBER is no tool: it is no function"),
        ("odd_tools:f", "has no annotation"),
    ):
        done = cli("tools", target)
        assert (done.code, done.out) == (2, "")
        assert said in done.err
    assert cli("tools").code == 3
    assert "no command: No closing quotation" in cli("tools", "--mcp", "python 'x").err
    assert (cli("tools", "--mcp", "").code, cli("tools", "--mcp", "no-such-program").code) == (2, 2)


def test_the_tools_of_an_mcp_server_are_listed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    printed = cli("tools", "--mcp", f"{sys.executable} server.py").out.splitlines()
    assert " ".join(printed[1].split()) == "borrow mcp title: string, weeks?: integer Borrow a book."
