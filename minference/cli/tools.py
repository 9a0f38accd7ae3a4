"""`minference tools`: what models can be given to call, in a database, in a module, or on an MCP server."""

from __future__ import annotations

import asyncio
import inspect
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from pydantic import BaseModel, JsonValue

from minference.cli.database import existing
from minference.cli.output import one_line, print_json, stdout
from minference.cli.own_modules import import_own
from minference.cli.tables import table
from minference.cli.working import working
from minference.ecs.entity import Entity
from minference.errors import ConfigurationError, ToolError
from minference.inference.mcp import McpServer
from minference.storage.base import EntityStorage
from minference.threads.tools import CallableTool, StructuredTool

Tool = CallableTool | StructuredTool


@dataclass(frozen=True, slots=True)
class ToolLine:
    """A tool as it is listed."""

    name: str
    kind: str
    """`function`, `source` (program text), `object` (a schema that an answer must fit), or `mcp`."""
    description: str
    parameters: Mapping[str, JsonValue]
    """JSON schema of the arguments, or of the object."""
    result: Mapping[str, JsonValue] | None
    """JSON schema of what comes back, if it is known."""
    stored: int | None
    """How many tools in the database are like this one; `None` for what is not in it."""
    problem: str | None = None
    """Why it cannot be a tool."""


def list_tools(database: str, targets: Sequence[str], mcp: str | None, as_json: bool) -> None:
    """Print the tools of modules and of an MCP server, if there are any of these, else those of the database.

    Raises:
        ConfigurationError: A module cannot be imported, or has no such name.
        McpUnavailable: The server cannot be reached.
        StorageError: The database cannot be used.
    """
    lines = [line for target in targets for line in _of_module(target)]
    if mcp is not None:
        lines += asyncio.run(_of_server(mcp))
    if not targets and mcp is None:
        lines = asyncio.run(_of_database(database))
    if as_json:
        print_json([asdict(line) for line in lines])
    else:
        stdout().print(_table(lines) if lines else "no tools", soft_wrap=True)


def _table(lines: Sequence[ToolLine]) -> Any:
    counted = any(line.stored is not None for line in lines)
    headings = ("name", "kind", *(("stored",) if counted else ()), "parameters", "description")
    rows = [
        (line.name, line.kind, *((f"{line.stored:,}",) if counted else ()), parameters_in_words(line.parameters), _told(line))
        for line in lines
    ]
    return table(headings, rows)


def _told(line: ToolLine) -> str:
    return one_line(line.problem or line.description, 120)


def parameters_in_words(schema: Mapping[str, JsonValue]) -> str:
    """`city: string, days?: integer`; a question mark stands behind what may be left out."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return ""
    needed = required if isinstance(required, list) else []
    return ", ".join(f"{name}{'' if name in needed else '?'}: {_type_in_words(each)}" for name, each in properties.items())


def _type_in_words(schema: JsonValue) -> str:
    if not isinstance(schema, dict):
        return "any"
    if isinstance(values := schema.get("enum"), list):
        return " | ".join(map(repr, values))
    if isinstance(choices := schema.get("anyOf"), list):
        return " | ".join(map(_type_in_words, choices))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"[{_type_in_words(schema.get('items'))}]"
    return " | ".join(map(str, kind)) if isinstance(kind, list) else str(kind)


def _line(tool: Tool, stored: int | None = None, kind: str | None = None) -> ToolLine:
    if isinstance(tool, StructuredTool):
        return ToolLine(tool.name, kind or "object", tool.description, tool.json_schema, None, stored)
    kind = kind or ("function" if tool.source_text is None else "source")
    return ToolLine(tool.name, kind, tool.docstring, tool.input_schema, tool.output_schema, stored)


async def _of_database(database: str) -> list[ToolLine]:
    """The newest version of each tool, equal ones once, by name."""
    async with existing(database) as storage:
        with working("reading tools"):
            tools = [*await _newest(storage, CallableTool), *await _newest(storage, StructuredTool)]
    counts: Counter[str] = Counter(map(_content, tools))
    different = {_content(tool): tool for tool in tools}
    return sorted((_line(tool, counts[content]) for content, tool in different.items()), key=lambda line: (line.name, -(line.stored or 0)))


async def _newest(storage: EntityStorage, kind: type[CallableTool] | type[StructuredTool]) -> list[Tool]:
    versions = [version.ecs_id for version in await storage.list_by_type(kind)]
    return [*await storage.peek(kind, versions)]


def _content(tool: Tool) -> str:
    """The same for tools that say the same."""
    return f"{type(tool).__name__} {tool.model_dump_json(exclude=set(Entity.model_fields))}"


async def _of_server(target: str) -> list[ToolLine]:
    """What a server offers."""
    async with _server(target) as server:
        return [_line(tool, kind="mcp") for tool in await server.tools()]


def _server(target: str) -> McpServer:
    """One at an address, or a command that is run as one.

    Raises:
        ConfigurationError: It is neither.
    """
    if target.startswith(("http://", "https://")):
        return McpServer.http(target)
    try:
        command = shlex.split(target)
    except ValueError as error:
        raise ConfigurationError(f"--mcp {target!r} is no command: {error}") from error
    if not command:
        raise ConfigurationError("--mcp needs the address of a server, or the command that starts one")
    return McpServer.stdio(command[0], *command[1:])


def _of_module(target: str) -> list[ToolLine]:
    """Tools of `module`, or the one that `module:name` names.

    Raises:
        ConfigurationError: It has no such name, or what has it is no tool and cannot be one.
    """
    name, _, part = target.partition(":")
    module = import_own(name)
    if not part:
        return list(_public(module))
    found = getattr(module, part, None)
    line = None if found is None else _offered(part, found)
    if line is None or line.problem:
        reason = line.problem if line else "it is no function, pydantic class or tool" if found is not None else "there is no such name"
        raise ConfigurationError(f"{target} is no tool: {reason}")
    return [line]


def _public(module: ModuleType) -> Iterable[ToolLine]:
    """Tools that it holds, and functions and pydantic classes that are written in it, apart from those with `_`."""
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__ or isinstance(value, CallableTool | StructuredTool)
        if own and not name.startswith("_") and (line := _offered(name, value)) is not None:
            yield line


def _offered(name: str, value: Any) -> ToolLine | None:
    """What becomes of a value if it is made a tool; `None` if it is nothing that one would make one of."""
    if isinstance(value, CallableTool | StructuredTool):
        return _line(value)
    is_class = isinstance(value, type)
    try:
        if is_class and issubclass(value, BaseModel) and not issubclass(value, Entity):
            return _line(StructuredTool.from_pydantic(value))
        if inspect.isroutine(value):
            return _line(CallableTool.from_callable(value, replace=True))
    except ToolError as error:
        return ToolLine(name, "object" if is_class else "function", "", {}, None, None, str(error))
    return None
