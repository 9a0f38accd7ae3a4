"""Tool calls that open models write into their text, when the server in front of them does not take them for calls. Pure.

Between `<tool_call>` and `</tool_call>`, or `[TOOL_REQUEST]` and `[END_TOOL_REQUEST]`, whatever is there is meant as a call.
JSON without such marks is one only if it is nothing but a name of a tool on offer and its arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Set
from typing import Any

_MARKED = re.compile(
    r"<tool_call>(?P<angled>.*?)(?:</tool_call>|\Z)|\[TOOL_REQUEST\](?P<squared>.*?)(?:\[END_TOOL_REQUEST\]|\Z)", re.DOTALL
)
_FENCED = re.compile(r"```(?:json|tool_call|tool_code)?[ \t]*\n(?P<inside>.*?)\n?[ \t]*```", re.DOTALL)
_NAME = re.compile(r'"name"\s*:\s*"(?P<name>[^"\\]+)"')
_ARGUMENTS = re.compile(r'"(?:arguments|parameters)"\s*:\s*(?P<arguments>.*)', re.DOTALL)

Written = tuple[str, str]
"""The name of a tool, and the arguments as JSON text or what was written instead."""


def find_written_calls(text: str, offered: Set[str]) -> tuple[str, list[Written]]:
    """The text without the calls in it, and the calls in their order; the text as it is if there are none."""
    if "<tool_call>" in text or "[TOOL_REQUEST]" in text:
        found = [(match, [_marked(match["angled"] or match["squared"] or "")]) for match in _MARKED.finditer(text)]
    elif "```" in text:
        found = [(match, list(_plain(match["inside"], offered))) for match in _FENCED.finditer(text)]
    else:
        calls = list(_plain(text, offered)) if text.lstrip()[:1] in ("{", "[") else []
        return ("", calls) if calls else (text, [])
    taken = [(match, [call for call in calls if call is not None]) for match, calls in found]
    taken = [(match, calls) for match, calls in taken if calls]
    return _without(text, [match for match, _ in taken]) if taken else text, [call for _, calls in taken for call in calls]


def _without(text: str, matches: list[re.Match[str]]) -> str:
    kept, end = [], 0
    for match in matches:
        kept.append(text[end : match.start()].strip())
        end = match.end()
    return "\n".join(filter(None, [*kept, text[end:].strip()]))


def _marked(inside: str) -> Written | None:
    """A call, even one whose arguments are no JSON: the model is to be told so. `None` if there is no name in it."""
    parsed = _json(inside)
    if isinstance(parsed, dict) and isinstance(parsed.get("name"), str) and parsed["name"]:
        return parsed["name"], _arguments(parsed)
    name = _NAME.search(inside)
    if name is None:
        return None
    arguments = _ARGUMENTS.search(inside)
    return name["name"], arguments["arguments"].strip().removesuffix("}").strip() if arguments else "{}"


def _plain(inside: str, offered: Set[str]) -> Iterator[Written]:
    """The calls of JSON that has no marks around it: all of it, or none."""
    parsed = _json(inside)
    calls = parsed if isinstance(parsed, list) else [parsed]
    if all(_is_call(call, offered) for call in calls):
        yield from ((call["name"], _arguments(call)) for call in calls)


def _is_call(value: Any, offered: Set[str]) -> bool:
    if not isinstance(value, dict) or not isinstance(name := value.get("name"), str) or name not in offered:
        return False
    return value.keys() in ({"name", "arguments"}, {"name", "parameters"}) and isinstance(_passed(value), dict)


def _passed(call: dict[str, Any]) -> Any:
    return call.get("arguments", call.get("parameters", {}))


def _arguments(call: dict[str, Any]) -> str:
    passed = _passed(call)
    return passed if isinstance(passed, str) else json.dumps(passed, ensure_ascii=False)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
