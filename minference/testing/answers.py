"""What the test provider says, and its form in both dialects."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic_core import to_json

from minference.testing.examples import example


@dataclass(frozen=True, slots=True)
class Called:
    """A tool call in an answer."""

    name: str
    arguments: Mapping[str, Any] | str
    """Text that is no JSON object is sent as it is, as models do it."""
    id: str | None = None
    """`None` for one that follows from the request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply, in neither dialect."""

    text: str = ""
    calls: tuple[Called, ...] = ()
    reasoning: str | None = None
    reasoning_field: Literal["reasoning_content", "reasoning_details", "thinking_blocks"] = "reasoning_content"
    """Where the dialect of OpenAI has it; the last two are signed, as Anthropic's thinking is."""
    finish: str | None = None
    """The reason in the words of the dialect; `None` for the ordinary one."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Laid over the body."""


def default_answer(body: Mapping[str, Any], *, call_tools: bool = False) -> Answer:
    """A reply that depends on the request alone: the forced tool, a value of the schema, or an echo of the user's last words.

    With `call_tools`, the first tool is called whenever the last message is the user's.
    """
    said = last_user_text(body)
    tools = _tools(body)
    if forced := _forced(body):
        return Answer(calls=(Called(forced, example(tools[forced], said)),))
    if call_tools and tools and said is not None and not _ends_with_result(body):
        name, schema = next(iter(tools.items()))
        return Answer(calls=(Called(name, example(schema, said)),))
    if _must_call(body):
        name, schema = list(tools.items())[-1]
        return Answer(calls=(Called(name, example(schema, said)),))
    if wanted := _wanted_schema(body):
        return Answer(to_json(example(wanted, said)).decode())
    if (body.get("response_format") or {}).get("type") == "json_object" or body["messages"][-1]["role"] == "assistant":
        return Answer(to_json({"said": said}).decode())
    if _ends_with_result(body):
        return Answer(f"The tools said: {' | '.join(_results(body))}")
    return Answer(f"You said: {said or ''}")


def last_user_text(body: Mapping[str, Any]) -> str | None:
    """What the user said last, in either dialect; `None` if nothing."""
    for message in reversed(body["messages"]):
        if message["role"] == "user" and (text := _text(message["content"])):
            return text
    return None


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content if block["type"] == "text")


def _ends_with_result(body: Mapping[str, Any]) -> bool:
    """Whether results were told last, or what is attached to them was shown."""
    *before, last = body["messages"]
    if not isinstance(last["content"], list):
        return bool(last["role"] == "tool")
    return last["content"][-1]["type"] == "tool_result" or bool(before and before[-1]["role"] == "tool")


def _results(body: Mapping[str, Any]) -> list[str]:
    """The results after the last assistant message."""
    results: list[str] = []
    for message in reversed(body["messages"]):
        if message["role"] == "assistant":
            break
        if message["role"] == "tool":
            results.insert(0, message["content"])
        elif isinstance(message["content"], list):
            results[:0] = [_text(block["content"]) for block in message["content"] if block["type"] == "tool_result"]
    return results


def _tools(body: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Name and schema of each tool on offer."""
    if (body.get("tool_choice") or {}) == {"type": "none"}:
        return {}
    functions = [tool.get("function", tool) for tool in body.get("tools", ())]
    return {function["name"]: function.get("parameters") or function.get("input_schema") or {"type": "object"} for function in functions}


def _forced(body: Mapping[str, Any]) -> str | None:
    choice = body.get("tool_choice")
    if not isinstance(choice, dict):
        return None
    found = choice.get("function", choice).get("name")
    return str(found) if found else None


def _must_call(body: Mapping[str, Any]) -> bool:
    return body.get("tool_choice") in ("required", {"type": "any"})


def _wanted_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    openai = (body.get("response_format") or {}).get("json_schema")
    anthropic = (body.get("output_config") or {}).get("format")
    found: Mapping[str, Any] | None = (openai or anthropic or {}).get("schema")
    return found


def completion(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    """The answer as Chat Completions would have it."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.reasoning:
        message[answer.reasoning_field] = _reasoning(body, answer, answer.reasoning)
    if answer.calls:
        message["tool_calls"] = [
            {"id": call.id or _id("call", body, number), "type": "function", "function": {"name": call.name, "arguments": _written(call)}}
            for number, call in enumerate(answer.calls)
        ]
    prompt, written = _counts(body, answer)
    return {
        "id": _id("chatcmpl", body),
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": body["model"],
        "choices": [
            {"index": 0, "message": message, "finish_reason": answer.finish or ("tool_calls" if answer.calls else "stop"), "logprobs": None}
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written},
        **answer.fields,
    }


def _reasoning(body: Mapping[str, Any], answer: Answer, text: str) -> str | list[dict[str, Any]]:
    signature = _id("sig", body)
    match answer.reasoning_field:
        case "reasoning_content":
            return text
        case "reasoning_details":
            return [{"type": "reasoning.text", "text": text, "signature": signature, "index": 0}]
        case "thinking_blocks":
            return [{"type": "thinking", "thinking": text, "signature": signature}]


def signatures_in(whole: Mapping[str, Any]) -> set[str]:
    """The signatures of the reasoning blocks of an answer in either dialect."""
    said = (whole.get("choices") or [{}])[0].get("message", {})
    blocks = [*(said.get("reasoning_details") or ()), *(said.get("thinking_blocks") or ()), *(whole.get("content") or ())]
    return {block["signature"] for block in blocks if "signature" in block}


def message(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    """The answer as Anthropic's Messages would have it."""
    content: list[dict[str, Any]] = []
    if answer.reasoning:
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": _id("sig", body)})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    content += [
        {"type": "tool_use", "id": call.id or _id("toolu", body, number), "name": call.name, "input": _input(call)}
        for number, call in enumerate(answer.calls)
    ]
    prompt, written = _counts(body, answer)
    return {
        "id": _id("msg", body),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": answer.finish or ("tool_use" if answer.calls else "end_turn"),
        "stop_sequence": None,
        "usage": {"input_tokens": prompt, "output_tokens": written},
        **answer.fields,
    }


_SHOWN = ("image_url", "file", "image", "document")
_SHOWN_TOKENS = 1_000
"""An attachment, whatever its size."""


def _counts(body: Mapping[str, Any], answer: Answer) -> tuple[int, int]:
    asked = sum(map(_weight, body["messages"]))
    said = len(answer.text.encode()) + sum(len(_written(call)) for call in answer.calls)
    return max(1, asked // 4), max(1, said // 4)


def _weight(message: Mapping[str, Any]) -> int:
    """The bytes of a message, its attachments aside."""
    if not isinstance(content := message["content"], list):
        return len(_json(message).encode())
    words = [part for part in content if part["type"] not in _SHOWN]
    return len(_json({**message, "content": words}).encode()) + 4 * _SHOWN_TOKENS * (len(content) - len(words))


def _id(kind: str, body: Mapping[str, Any], number: int = 0) -> str:
    """The same for the same request, another for another."""
    return f"{kind}_{hashlib.sha256(_json(body).encode()).hexdigest()[:20]}{number}"


def _written(call: Called) -> str:
    return call.arguments if isinstance(call.arguments, str) else _json(call.arguments)


def _input(call: Called) -> dict[str, Any] | str:
    return call.arguments if isinstance(call.arguments, str) else dict(call.arguments)


def _json(value: Any) -> str:
    return to_json(value).decode()


def completion_chunks(body: Mapping[str, Any], whole: Mapping[str, Any]) -> list[str]:
    """The server-sent events of a streamed completion."""
    choice = whole["choices"][0]
    said = choice["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": piece} for piece in _pieces(said.get("reasoning_content"))]
    deltas += [{name: [block]} for name in ("reasoning_details", "thinking_blocks") for block in said.get(name, ())]
    deltas += [{"content": piece} for piece in _pieces(said["content"])]
    for number, call in enumerate(said.get("tool_calls", ())):
        start = {"index": number, "id": call["id"], "type": "function", "function": {"name": call["function"]["name"], "arguments": ""}}
        deltas.append({"tool_calls": [start]})
        pieces = _pieces(call["function"]["arguments"])
        deltas += [{"tool_calls": [{"index": number, "function": {"arguments": piece}}]} for piece in pieces]
    top = {"id": whole["id"], "object": "chat.completion.chunk", "created": whole["created"], "model": whole["model"]}
    chunks = [{**top, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**top, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**top, "choices": [], "usage": whole["usage"]})
    return [f"data: {_json(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]


def message_events(whole: Mapping[str, Any]) -> list[str]:
    """The server-sent events of a streamed message."""
    start = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(whole["content"]):
        empty, deltas = _block_deltas(block)
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ended, "usage": {"output_tokens": whole["usage"]["output_tokens"]}})
    events.append({"type": "message_stop"})
    return [f"event: {event['type']}\ndata: {_json(event)}\n\n" for event in events]


def _block_deltas(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A content block as it begins, and what is then added to it."""
    match block["type"]:
        case "thinking":
            grown = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(block["thinking"])]
            return {"type": "thinking", "thinking": "", "signature": ""}, [
                *grown,
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        case "tool_use":
            written = [{"type": "input_json_delta", "partial_json": piece} for piece in _pieces(_text_of(block["input"]))]
            return {**block, "input": {}}, written
        case _:
            return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])]


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _pieces(text: str | None, size: int = 7) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)] if text else []
