"""What the real providers refuse: a strict `ProviderServer` refuses it too, with the words of the rule that was broken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import pairwise
from typing import Any

Body = Mapping[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_PLAIN_ID = re.compile(r"[a-zA-Z0-9_-]+")
_LONGEST_ID = 40
_MESSAGE_FIELDS = {
    "system": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "refusal", "reasoning_details", "thinking_blocks"},
    "tool": {"role", "content", "tool_call_id"},
}
_KEYWORDS = {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs", "description"}
_OPENAI_KEYWORDS = _KEYWORDS | {
    "pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems",
}  # fmt: skip
_ANTHROPIC_KEYWORDS = _KEYWORDS | {"format", "minItems", "title", "allOf"}
_GONE = ("temperature", "top_p", "top_k")
_OLD_VERSION = "2023-06-01"
_MARKS = 4


def openai_problem(body: Body, signatures: Set[str]) -> str | None:
    """The first rule of Chat Completions that the body breaks; `signatures` are those that this server has given."""
    checks: tuple[Iterator[str], ...] = (
        _openai_messages(body["messages"]),
        _openai_calls(body["messages"]),
        _foreign(_openai_blocks(body["messages"]), signatures),
        _openai_tools(body),
        _openai_format(body),
    )
    return _first(checks)


def anthropic_problem(body: Body, signatures: Set[str], version: str) -> str | None:
    """The first rule of Messages that the body breaks, under a version of the API."""
    checks: tuple[Iterator[str], ...] = (
        _anthropic_top(body, version),
        _anthropic_roles(body["messages"], version),
        _anthropic_blocks(body["messages"]),
        _anthropic_calls(body["messages"]),
        _foreign((block for message in body["messages"] for block in _blocks(message)), signatures),
        _anthropic_tools(body),
        _anthropic_marks(body),
    )
    return _first(checks)


def _first(checks: Sequence[Iterator[str]]) -> str | None:
    return next((problem for check in checks for problem in check), None)


def _openai_messages(messages: Sequence[Body]) -> Iterator[str]:
    if not messages:
        yield "messages: there are none"
    for number, message in enumerate(messages):
        where, role = f"messages[{number}]", message.get("role")
        if role not in _MESSAGE_FIELDS:
            yield f"{where}.role: {role!r} is none"
        elif unknown := sorted(message.keys() - _MESSAGE_FIELDS[role]):
            yield f"{where}: unknown field {unknown[0]!r} of a message of the {role}"
        if message.get("content") is None and not message.get("tool_calls"):
            yield f"{where}.content: null is only for messages with tool_calls"
        if "tool_calls" in message and not message["tool_calls"]:
            yield f"{where}.tool_calls: an empty list"


def _openai_calls(messages: Sequence[Body]) -> Iterator[str]:
    """Results follow their calls, each once, before anybody else speaks."""
    waiting: list[str] = []
    for number, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                yield f"messages[{number}]: a result of {message['tool_call_id']!r}, which is no call of the message before it without one"
                return
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            yield f"messages[{number}]: the calls {waiting} have no results before it"
        calls = message.get("tool_calls", ())
        waiting = [call["id"] for call in calls]
        if len(set(waiting)) < len(waiting):
            yield f"messages[{number}].tool_calls: two have one id"
        for call in calls:
            if not call["id"] or len(call["id"]) > _LONGEST_ID:
                yield f"messages[{number}].tool_calls: the id {call['id']!r} is empty or longer than {_LONGEST_ID}"
            if not _NAME.fullmatch(call["function"]["name"]):
                yield f"messages[{number}].tool_calls: {call['function']['name']!r} is no name of a function"
            if call.get("type") != "function" or not isinstance(call["function"]["arguments"], str):
                yield f"messages[{number}].tool_calls: {call!r} is no function call"
    if waiting:
        yield f"messages: the calls {waiting} have no results"


def _openai_blocks(messages: Sequence[Body]) -> Iterator[Body]:
    for message in messages:
        yield from message.get("reasoning_details") or ()
        yield from message.get("thinking_blocks") or ()


def _foreign(blocks: Iterator[Body], signatures: Set[str]) -> Iterator[str]:
    for block in blocks:
        kind = block.get("type")
        signed = block.get("signature") or block.get("data")
        if (kind in ("thinking", "redacted_thinking") or str(kind).startswith("reasoning.")) and signed not in signatures:
            yield f"a {kind} block whose signature {signed!r} is not ours"


def _openai_tools(body: Body) -> Iterator[str]:
    functions = [tool["function"] for tool in body.get("tools", ())]
    yield from _names([function["name"] for function in functions])
    if "tools" in body and not functions:
        yield "tools: an empty list"
    for function in functions:
        if function.get("strict"):
            yield from _schema_problems(function["parameters"], _OPENAI_KEYWORDS, all_required=True)
    choice = body.get("tool_choice")
    if choice is not None and not functions:
        yield "tool_choice: there are no tools"
    if isinstance(choice, dict) and choice["function"]["name"] not in [function["name"] for function in functions]:
        yield f"tool_choice: there is no tool {choice['function']['name']!r}"


def _openai_format(body: Body) -> Iterator[str]:
    match body.get("response_format"):
        case {"type": "json_object"} if "json" not in str(body["messages"]).lower():
            yield "messages: must contain the word 'json' to use response_format json_object"
        case {"type": "json_schema", "json_schema": wanted}:
            yield from _names([wanted["name"]])
            if wanted.get("strict"):
                yield from _schema_problems(wanted["schema"], _OPENAI_KEYWORDS, all_required=True)


def _names(names: Sequence[str]) -> Iterator[str]:
    if len(set(names)) < len(names):
        yield f"tools: two have one name, of {list(names)}"
    yield from (f"tools: {name!r} is no name of a tool" for name in names if not _NAME.fullmatch(name))


def _schema_problems(schema: Any, keywords: Set[str], *, all_required: bool) -> Iterator[str]:
    if schema.get("type") != "object":
        yield f"a strict schema must be of an object: {schema}"
    for node in _schemas(schema):
        if unknown := sorted(node.keys() - keywords):
            yield f"a strict schema cannot have {unknown[0]!r}: {node}"
        if not node.keys() & {"type", "anyOf", "allOf", "enum", "const", "$ref"}:
            yield f"a strict schema must say the type: {node}"
        if "object" in _types(node):
            if node.get("additionalProperties") is not False:
                yield f"a strict schema must have additionalProperties: false: {node}"
            if all_required and set(node.get("required", ())) != set(node.get("properties", ())):
                yield f"a strict schema must require every property: {node}"


def _types(node: Body) -> Sequence[Any]:
    kind = node.get("type")
    return kind if isinstance(kind, list) else [kind]


def _schemas(node: Any) -> Iterator[Body]:
    yield node
    parts = [*node.get("$defs", {}).values(), *node.get("properties", {}).values(), *node.get("anyOf", ()), *node.get("allOf", ())]
    for part in [*parts, *([node["items"]] if "items" in node else [])]:
        yield from _schemas(part)


def _anthropic_top(body: Body, version: str) -> Iterator[str]:
    if not isinstance(body.get("max_tokens"), int):
        yield "max_tokens: field required"
    if version != _OLD_VERSION:
        yield from (f"{name}: extra inputs are not permitted" for name in _GONE if name in body)
    if not all(block.get("text", "").strip() for block in body.get("system", ())):
        yield "system: text content blocks must contain non-whitespace text"
    if unknown := sorted(body.keys() - _ANTHROPIC_FIELDS):
        yield f"{unknown[0]}: extra inputs are not permitted"


_ANTHROPIC_FIELDS = {
    "model", "messages", "max_tokens", "system", "tools", "tool_choice", "stream", "stop_sequences", "thinking", "output_config",
    "cache_control", "metadata", "service_tier", "container", *_GONE,
}  # fmt: skip


def _anthropic_roles(messages: Sequence[Body], version: str) -> Iterator[str]:
    if not messages or messages[0]["role"] != "user":
        yield "messages: the first message must use the user role"
    for number, (one, other) in enumerate(pairwise(messages)):
        if one["role"] == other["role"]:
            yield f"messages[{number + 1}]: roles must alternate"
    if messages and messages[-1]["role"] == "assistant" and version != _OLD_VERSION:
        yield "messages: this model does not support assistant message prefill"


def _blocks(message: Body) -> Sequence[Body]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _anthropic_blocks(messages: Sequence[Body]) -> Iterator[str]:
    for number, message in enumerate(messages):
        blocks = _blocks(message)
        if not blocks:
            yield f"messages[{number}]: there is no content"
        if any(block["type"] == "text" and not block["text"].strip() for block in blocks):
            yield f"messages[{number}]: text content blocks must contain non-whitespace text"
        if blocks and blocks[-1]["type"] in ("thinking", "redacted_thinking"):
            yield f"messages[{number}]: the final block cannot be thinking"
        if any("cache_control" in block for block in blocks if block["type"] in ("thinking", "redacted_thinking")):
            yield f"messages[{number}]: thinking cannot be marked for caching"


def _anthropic_calls(messages: Sequence[Body]) -> Iterator[str]:
    """Results stand first in the message after their calls, one for each; ids are never used twice."""
    seen: set[str] = set()
    waiting: list[str] = []
    for number, message in enumerate(messages):
        blocks = _blocks(message)
        answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if sorted(answered) != sorted(waiting):
            yield f"messages[{number}]: results of {answered}, where those of {waiting} are wanted"
        if any(block["type"] == "tool_result" for block in blocks[len(answered) :]):
            yield f"messages[{number}]: tool_result blocks must come first"
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        for block in blocks:
            if block["type"] == "tool_use" and (not _PLAIN_ID.fullmatch(block["id"]) or block["id"] in seen):
                yield f"messages[{number}]: the tool_use id {block['id']!r} is used twice or has odd letters"
            if block["type"] == "tool_use" and not (isinstance(block["input"], dict) and _NAME.fullmatch(block["name"])):
                yield f"messages[{number}]: the input of a tool_use must be an object, and its name a name"
        seen |= set(waiting)
    if waiting:
        yield f"messages: the calls {waiting} have no results"


def _anthropic_tools(body: Body) -> Iterator[str]:
    tools, choice = body.get("tools", ()), body.get("tool_choice") or {"type": "auto"}
    yield from _names([tool["name"] for tool in tools])
    for schema in [tool["input_schema"] for tool in tools if tool.get("strict")]:
        yield from _schema_problems(schema, _ANTHROPIC_KEYWORDS, all_required=False)
    wanted = (body.get("output_config") or {}).get("format")
    if wanted is not None:
        yield from _schema_problems(wanted["schema"], _ANTHROPIC_KEYWORDS, all_required=False)
    called = any(block["type"] == "tool_use" for message in body["messages"] for block in _blocks(message))
    if called and not tools:
        yield "tools: required when messages hold tool_use blocks"
    if choice["type"] == "tool" and choice["name"] not in [tool["name"] for tool in tools]:
        yield f"tool_choice: there is no tool {choice['name']!r}"
    thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    if thinks and choice["type"] in ("tool", "any"):
        yield "thinking may not be enabled when tool_choice forces tool use"


def _anthropic_marks(body: Body) -> Iterator[str]:
    places: list[Body] = [body, *body.get("system", ()), *body.get("tools", ()), *(each for m in body["messages"] for each in _blocks(m))]
    marks = sum("cache_control" in place for place in places)
    if marks > _MARKS:
        yield f"a maximum of {_MARKS} blocks with cache_control may be provided, found {marks}"
