"""An MCP server on standard input and output, written by hand, so that it starts at once and can be as odd as a test wants.

Run as `mcp_child.py BEHAVIOUR`. Speaks the protocol of 2025-06-18, which a client falls back to.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

OBJECT = {"type": "object"}
ONE = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TREE = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"tree": {"$ref": "#/$defs/Tree"}},
    "required": ["tree"],
    "$defs": {
        "Tree": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
            "required": ["name"],
        }
    },
}


def text(said: str) -> dict[str, Any]:
    """A result that is text."""
    return {"content": [{"type": "text", "text": said}]}


def odd_things(_arguments: dict[str, Any]) -> dict[str, Any]:
    """A result of every kind of content."""
    return {
        "content": [
            {"type": "text", "text": "Look:"},
            {"type": "image", "data": "aGFsbG8=", "mimeType": "image/png"},
            {"type": "audio", "data": "aGFsbG8h", "mimeType": "audio/wav"},
            {"type": "resource", "resource": {"uri": "file:///notes.txt", "text": "Notes."}},
            {"type": "resource", "resource": {"uri": "file:///data.bin", "blob": "AAAA"}},
            {"type": "resource_link", "uri": "file:///more.txt", "name": "more"},
        ]
    }


def leave(_arguments: dict[str, Any]) -> dict[str, Any]:
    """End in the middle of a call."""
    print("out of tea", file=sys.stderr, flush=True)
    os._exit(3)


def environment(_arguments: dict[str, Any]) -> dict[str, Any]:
    """The names of its environment variables."""
    return text(" ".join(sorted(os.environ)))


CALLS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "echo": lambda arguments: text(arguments["text"]),
    "files.read/all": lambda arguments: text(f"read {arguments['text']}"),
    "depth": lambda arguments: text(str(len(json.dumps(arguments["tree"])))),
    "measure": lambda _arguments: {**text("4 cm"), "structuredContent": {"length": 4, "unit": "cm"}},
    "lie": lambda _arguments: {**text("?"), "structuredContent": {"length": "long"}},
    "both": lambda _arguments: {**odd_things({}), "structuredContent": {"n": 1}},
    "odd": odd_things,
    "nothing": lambda _arguments: {"content": []},
    "refuse": lambda _arguments: {**text("no tea in /srv/tea/pot.txt"), "isError": True},
    "refuse_silently": lambda _arguments: {"content": [], "isError": True},
    "malformed": lambda _arguments: {"content": "none"},
    "environment": environment,
    "leave": leave,
    "self": lambda arguments: text(arguments["self"]),
}
LENGTH = {"type": "object", "properties": {"length": {"type": "number"}, "unit": {"type": "string"}}, "required": ["length"]}
TOOLS: list[dict[str, Any]] = [
    {"name": "echo", "description": "Repeat.", "inputSchema": ONE, "annotations": {"readOnlyHint": True}},
    {"name": "files.read/all", "title": "Read files", "inputSchema": ONE},
    {"name": "depth", "inputSchema": TREE, "annotations": {"idempotentHint": True}},
    {"name": "measure", "inputSchema": OBJECT, "outputSchema": LENGTH},
    {"name": "lie", "inputSchema": OBJECT, "outputSchema": LENGTH},
    *({"name": name, "inputSchema": OBJECT} for name in ("both", "odd", "nothing", "refuse", "refuse_silently", "malformed")),
    *({"name": name, "inputSchema": OBJECT} for name in ("environment", "hang", "protocol_error", "leave")),
    {"name": "self", "inputSchema": {"type": "object", "properties": {"self": {"type": "string"}}}},
]
"""The usual tools; their list comes in pages."""
LISTS: dict[str, list[dict[str, Any]]] = {
    "bad-schema": [TOOLS[0], {"name": "bad", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/a"}}}}],
    "same-names": [{"name": "a.b", "inputSchema": OBJECT}, {"name": "a/b", "inputSchema": OBJECT}],
    "long-name": [TOOLS[0], {"name": "n" * 65, "inputSchema": OBJECT}],
    "empty": [],
}


class Server:
    """Answers requests until its input ends."""

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour

    def listed(self, cursor: str | None) -> dict[str, Any]:
        """One page of tools."""
        if self.behaviour == "endless-list":
            return {"tools": [], "nextCursor": "again"}
        tools = LISTS.get(self.behaviour, TOOLS)
        return {"tools": tools[5:]} if cursor else {"tools": tools[:5], **({"nextCursor": "5"} if len(tools) > 5 else {})}

    def result(self, method: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """What a request is answered with; `None` for an error."""
        match method:
            case "initialize":
                return {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "child", "version": "1"},
                }
            case "tools/list" if self.behaviour != "no-list":
                return self.listed(parameters.get("cursor"))
            case "tools/call" if (call := CALLS.get(parameters["name"])) is not None:
                return call(parameters.get("arguments") or {})
            case _:
                return None

    def answers(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What is written for one line that was read."""
        if request["method"] == "notifications/cancelled":
            print("a call was cancelled", file=sys.stderr, flush=True)
        if "id" not in request or request.get("params", {}).get("name") == "hang":
            return
        found = self.result(request["method"], request.get("params", {}))
        answer = {"result": found} if found is not None else {"error": {"code": -32601, "message": "there is no such thing"}}
        yield {"jsonrpc": "2.0", "id": request["id"], **answer}


def main(behaviour: str) -> None:
    """Serve."""
    if behaviour == "crash":
        sys.exit("cannot find the teapot")
    if behaviour == "web-page":
        print("<html>Not here</html>", flush=True)
        return
    server = Server(behaviour)
    for line in sys.stdin:
        if behaviour == "silent":
            continue
        for answer in server.answers(json.loads(line)):
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
