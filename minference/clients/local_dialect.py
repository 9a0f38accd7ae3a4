"""What a small model needs to call tools and to keep to a schema, between OpenAI's dialect and llama.cpp. Pure.

A model of a hundred million parameters neither knows tools nor follows a schema when it is told to. So the tools are
told in the words of the Qwen 2.5 and Hermes templates, a call that must come is begun for the model, and a grammar
leaves it only the choices that are valid. None of this is seen in a thread: requests and answers are in OpenAI's form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minference.clients.base import Request

OPENING, CLOSING = "<tool_call>", "</tool_call>"
_CALL_START = f"{OPENING}\n" + '{"name":'
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}
"""Written like `json.dumps` does; keywords that a grammar cannot hold are left to validation."""
_CALL = re.compile(r'\s*"(?P<name>[^"]+)", "arguments": (?P<arguments>.*)', re.DOTALL)
_TOOLS = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


@dataclass(frozen=True, slots=True)
class Lowered:
    """A request as llama.cpp takes it, and what is to be made of the answer."""

    body: Request
    begun: str = ""
    """How the answer was begun for the model."""
    calls: bool = False
    """Whether a tool call must come: all that the model writes is one."""
    may_call: bool = False
    """Whether a tool call may come instead of text."""


def lower(request: Request) -> Lowered:
    """The request without tools and schemas: both become words and a grammar. The request is not changed."""
    body = {key: value for key, value in request.items() if key not in ("tools", "tool_choice", "response_format", "messages")}
    tools = _offered(request)
    schema = _schema(request.get("response_format"))
    choice: Any = request.get("tool_choice", "auto") if tools else "none"
    if choice == "none":
        told = _system(request["messages"], [_schema_words(schema)] if schema else [])
        grammar = {"grammar": _grammar("object", [_json_rule("object", schema)])} if schema is not None else {}
        messages = _plain_messages(told, answer_now=schema is None)
        return Lowered({**body, **grammar, "messages": messages}, begun=_prefill(messages))
    messages = _plain_messages(_system(request["messages"], [_tool_words(tools)]), answer_now=False)
    if choice == "auto":
        return Lowered({**body, "messages": messages, "grammar": _call_or_text(tools)}, may_call=True)
    wanted = tools if choice == "required" else [tool for tool in tools if tool["name"] == choice["function"]["name"]]
    begun, grammar_text = _forced(wanted)
    messages.append({"role": "assistant", "content": begun})
    return Lowered({**body, "messages": messages, "grammar": grammar_text}, begun=begun, calls=True)


def raise_answer(lowered: Lowered, payload: dict[str, Any]) -> dict[str, Any]:
    """The answer of llama.cpp in OpenAI's form. What has not the shape of an answer is returned as it is, for the reader to refuse."""
    match payload:
        case {"choices": [{"message": {"content": str(content)} as message, **choice}, *_]}:
            written = content.removeprefix(lowered.begun)
            call = _call_in(lowered, written, f"call_{str(payload.get('id', '')).removeprefix('chatcmpl-')}")
            raised = {**message, "content": written} if call is None else {**message, "content": None, "tool_calls": [call]}
            reason = choice.get("finish_reason")
            finish = {"finish_reason": "tool_calls" if call is not None and reason == "stop" else reason}
            return {**payload, "choices": [{**choice, **finish, "message": raised}]}
        case _:
            return payload


def _call_in(lowered: Lowered, written: str, call_id: str) -> dict[str, Any] | None:
    """The call that was written, also one that `max_tokens` cut off after the name of its tool."""
    if lowered.calls:
        whole = lowered.begun + written
    elif lowered.may_call and written.startswith(_CALL_START):
        whole = written
    else:
        return None
    found = _CALL.match(whole.removeprefix(_CALL_START))
    if found is None:
        return None
    arguments = _first_object(found["arguments"])
    return {"id": call_id, "type": "function", "function": {"name": found["name"], "arguments": arguments}}


def _first_object(text: str) -> str:
    """The JSON value that the text begins with; all of the text if it breaks off before the value's end."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return text
    return text[:end]


def _offered(request: Request) -> list[dict[str, Any]]:
    return [
        {"name": tool["function"]["name"], "description": tool["function"].get("description", ""), "parameters": _parameters(tool)}
        for tool in request.get("tools", ())
    ]


def _parameters(tool: dict[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = tool["function"].get("parameters", {"type": "object"})
    return parameters


def _schema(response_format: dict[str, Any] | None) -> dict[str, Any] | None:
    match response_format:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
        case {"type": "json_object"}:
            return {"type": "object"}
        case _:
            return None


def _system(messages: Sequence[dict[str, Any]], additions: Sequence[str]) -> list[dict[str, Any]]:
    """The messages with these paragraphs in the first system message, which is made if there is none."""
    if not additions:
        return list(messages)
    first, rest = ([messages[0]["content"]], messages[1:]) if messages and messages[0]["role"] == "system" else ([], messages)
    new = [addition for addition in additions if addition]
    return [{"role": "system", "content": "\n\n".join([*first, *new])}, *rest] if first or new else list(rest)


def _schema_words(schema: dict[str, Any]) -> str:
    """The form of the object. What the object is called is left out: a small model takes it for a value."""
    if not schema.get("properties"):
        return ""
    return f"Reply with a JSON object: {json.dumps({key: schema[key] for key in schema if key not in ('title', 'description')})}"


def _tool_words(tools: Sequence[dict[str, Any]]) -> str:
    return _TOOLS.format(tools="\n".join(json.dumps({"type": "function", "function": tool}) for tool in tools))


def _plain_messages(messages: Sequence[dict[str, Any]], *, answer_now: bool) -> list[dict[str, Any]]:
    """The messages without tool calls and results: the calls as the model would write them, the results as the user's words.

    If the last messages are results and the model is to answer, the question is repeated: it would be forgotten.
    """
    plain: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    question, after_results = "", False
    for message in messages:
        if message["role"] == "tool":
            told = f"The tool {names.get(message['tool_call_id'], 'that you called')} returned: {message['content']}"
            if after_results:
                plain[-1] = {"role": "user", "content": f"{plain[-1]['content']}\n{told}"}
            else:
                plain.append({"role": "user", "content": told})
            after_results = True
            continue
        after_results = False
        question = message["content"] if message["role"] == "user" else question
        names |= {call["id"]: call["function"]["name"] for call in message.get("tool_calls", ())}
        plain.append({"role": message["role"], "content": _with_calls(message)})
    if after_results and answer_now and question:
        plain[-1]["content"] += f"\nUse it to answer the question: {question}"
    return plain


def _with_calls(message: dict[str, Any]) -> str:
    calls = [
        f'{_CALL_START} {json.dumps(call["function"]["name"])}, "arguments": {call["function"]["arguments"]}}}\n{CLOSING}'
        for call in message.get("tool_calls", ())
    ]
    return "\n".join([*([message["content"]] if message["content"] else []), *calls])


def _prefill(messages: Sequence[dict[str, Any]]) -> str:
    return str(messages[-1]["content"]) if messages and messages[-1]["role"] == "assistant" else ""


def _forced(tools: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """How a call of one of the tools begins, and the grammar of the rest. What need not be chosen costs no tokens."""
    if len(tools) == 1:
        begun = f'{_CALL_START} {json.dumps(tools[0]["name"])}, "arguments":'
        return begun, _grammar('" " arguments', [_json_rule("arguments", tools[0]["parameters"])])
    return _CALL_START, _grammar("call", _call_rules(tools))


def _call_or_text(tools: Sequence[dict[str, Any]]) -> str:
    whole = f"whole: {json.dumps(_CALL_START)} call {json.dumps(f'{chr(10)}{CLOSING}')}"
    return _grammar("whole | text", [whole, *_call_rules(tools), r"text: /[^<](.|\n)*/"])


def _call_rules(tools: Sequence[dict[str, Any]]) -> list[str]:
    """The rule `call`: the name of one of the tools with arguments that fit it, up to the end of the JSON object."""
    alternatives = []
    rules = []
    for number, tool in enumerate(tools):
        name = json.dumps(f' {json.dumps(tool["name"])}, "arguments": ')
        alternatives.append(f'{name} arguments_{number} "}}"')
        rules.append(_json_rule(f"arguments_{number}", tool["parameters"]))
    return [f"call: {' | '.join(alternatives)}", *rules]


def _json_rule(name: str, schema: dict[str, Any]) -> str:
    return f"{name}: %json {json.dumps({**schema, 'x-guidance': _COMPACT})}"


def _grammar(start: str, rules: Sequence[str]) -> str:
    """A grammar in the dialect of llguidance, the engine of constraints that xllamacpp is built with."""
    return "\n".join(["%llguidance {}", f"start: {start}", *rules])
