"""What an answer in the dialect of Chat Completions says, whole or put together from a stream. Pure, without the SDK."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from minference.clients.base import Reply, TokenUsage
from minference.clients.call_ids import made_up_ids
from minference.clients.counts import Counts
from minference.clients.failures import describe
from minference.clients.halves import joined
from minference.clients.parsing import Name, Part, as_json, other_reason, read
from minference.clients.reasoning import kept_blocks
from minference.errors import InvalidReply, ProviderError
from minference.threads.messages import FinishReason, ToolCall

_FINISH = {
    "stop": FinishReason.stop,
    "length": FinishReason.length,
    "tool_calls": FinishReason.tool_calls,
    "function_call": FinishReason.tool_calls,
    "content_filter": FinishReason.content_filter,
}
_BROKEN = ("error", "abort", "insufficient_system_resource")
"""What servers say of a reply that did not come to its end: OpenRouter, vLLM and SGLang, DeepSeek."""


class _Function(Part):
    name: Name
    arguments: str | dict[str, Any] | None = None
    """JSON text, as promised; some servers send what it says, or nothing where there are none."""

    def as_json(self) -> str:
        """The arguments as JSON text."""
        return joined(self.arguments if isinstance(self.arguments, str) else as_json(self.arguments or {})) or "{}"


class _ToolCall(Part):
    id: str | None = None
    """Some servers of open models send none."""
    type: Literal["function"] = "function"
    function: _Function


class _Message(Part):
    content: str | None = None
    refusal: str | None = None
    tool_calls: tuple[_ToolCall, ...] | None = Field(default=None, strict=False)
    function_call: dict[str, Any] | None = None
    """The one call that there could be before `tool_calls`; some servers still write it so."""
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    thinking_blocks: list[dict[str, Any]] | None = None


class _Choice(Part):
    message: _Message
    finish_reason: str
    error: dict[str, Any] | None = None
    """What OpenRouter says if the provider behind it broke off."""


class _Completion(Part):
    model: str
    choices: list[_Choice] = Field(min_length=1)


def read_completion(client: str, payload: dict[str, Any]) -> Reply:
    """What the answer says.

    Raises:
        InvalidReply: It is not what the dialect promises.
    """
    usage = read_usage(client, payload.get("usage"))
    try:
        return _reply(client, payload, usage)
    except ProviderError as error:
        error.usage = error.usage or usage  # whatever is wrong with the answer, this was used
        raise


def _reply(client: str, payload: dict[str, Any], usage: TokenUsage | None) -> Reply:
    completion = read(client, payload, _Completion)
    choice = completion.choices[0]
    if choice.error is not None:
        read(client, {"error": choice.error}, _Completion)  # raises
    message = choice.message
    ids = made_up_ids(str(payload.get("id")), message.content or "")
    calls = tuple(
        ToolCall(id=call.id or next(ids), name=call.function.name, arguments_json=call.function.as_json())
        for call in message.tool_calls or _old_call(client, message)
    )
    return Reply(
        content=joined(message.content or ""),
        model=completion.model,
        finish_reason=_finish_reason(client, choice, bool(calls)),
        tool_calls=calls,
        usage=usage,
        reasoning=message.reasoning_content or message.reasoning or None,
        reasoning_json=kept_blocks(client, message.reasoning_details or message.thinking_blocks or []),
        refusal=message.refusal or None,
    )


def _old_call(client: str, message: _Message) -> tuple[_ToolCall, ...]:
    written = message.function_call or {}
    return (_ToolCall(function=read(client, written, _Function)),) if any(written.values()) else ()


def _finish_reason(client: str, choice: _Choice, calls: bool) -> FinishReason:
    said = calls or choice.message.content or choice.message.refusal
    whole = bool(said) and choice.finish_reason not in _BROKEN
    reason = _FINISH.get(choice.finish_reason) or other_reason(client, choice.finish_reason, whole=whole)
    if reason in (FinishReason.stop, FinishReason.other) and choice.message.refusal:
        return FinishReason.refusal
    return FinishReason.tool_calls if reason is FinishReason.stop and calls else reason


def read_usage(client: str, written: object) -> TokenUsage | None:
    """What was counted; `None` if that is not told whole. A detail that cannot be read is unknown."""
    counts = Counts(client, written)
    prompt, completion = counts.of("prompt_tokens"), counts.of("completion_tokens")
    total = counts.of("total_tokens") if completion is None and not counts.odd else None
    if total is not None and prompt is not None and total > prompt:
        completion = total - prompt  # Gemini counts no reply if all went into thoughts
    if prompt is None or completion is None:
        return None
    asked, said = counts.within("prompt_tokens_details"), counts.within("completion_tokens_details")
    audio = [tokens for tokens in (asked.of("audio_tokens"), said.of("audio_tokens")) if tokens is not None]
    return TokenUsage(
        prompt=prompt,
        completion=completion,
        cached=asked.of("cached_tokens"),
        cache_written=asked.of("cache_write_tokens"),
        reasoning=said.of("reasoning_tokens"),
        audio=sum(audio) if audio else None,
        accepted_prediction=said.of("accepted_prediction_tokens"),
        rejected_prediction=said.of("rejected_prediction_tokens"),
    )


class CompletionStream:
    """Puts the chunks of a stream together to the answer that would have come without streaming."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._top: dict[str, Any] = {}
        self._message: dict[str, Any] = {"role": "assistant", "content": None}
        self._calls: list[tuple[int, dict[str, Any]]] = []
        self._finish_reason: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the model said why it ended; without that, the stream broke off."""
        return self._finish_reason is not None

    @property
    def begun(self) -> bool:
        """Whether a part of the reply has come."""
        return bool(self._calls) or any(value for name, value in self._message.items() if name != "role")

    @property
    def usage(self) -> TokenUsage | None:
        """What was counted until now; few servers tell before the end."""
        told = self._top.get("usage")
        if not isinstance(told, dict):
            return None
        return read_usage(self._client, {**told, "completion_tokens": told.get("completion_tokens") or 0})

    def add(self, chunk: object) -> str:
        """Take in one chunk; the new text in it, or an empty string.

        Raises:
            InvalidReply: The chunk is not what the dialect promises.
        """
        try:
            return self._add(chunk)
        except Exception as error:  # whatever it is, a chunk of the promised shape raises nothing
            problem = f"streamed {describe(chunk)}, which is no chunk of a completion"
            raise InvalidReply(self._client, problem, status=200) from error

    def payload(self) -> dict[str, Any]:
        """The answer as it would have come in one piece."""
        message = {**self._message, **({"tool_calls": [call for _, call in self._calls]} if self._calls else {})}
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason}
        return {**self._top, "object": "chat.completion", "choices": [choice]}

    def _add(self, chunk: Any) -> str:
        self._top |= {key: value for key, value in chunk.items() if key not in ("choices", "object") and value is not None}
        if not (choices := chunk.get("choices")):
            return ""
        choice = choices[0]
        text = self._add_delta(choice.get("delta") or {})
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        return text

    def _add_delta(self, delta: dict[str, Any]) -> str:
        for name in ("content", "refusal", "reasoning_content", "reasoning"):
            if delta.get(name):
                self._message[name] = (self._message.get(name) or "") + delta[name]
        for detail in delta.get("reasoning_details") or ():
            self._add_reasoning_detail(detail)
        for block in delta.get("thinking_blocks") or ():
            self._add_thinking(block)
        for place, part in enumerate(delta.get("tool_calls") or ()):
            self._add_call(part, is_another=place > 0 and "index" not in part)
        if delta.get("function_call"):
            _extend(self._message.setdefault("function_call", {"name": "", "arguments": ""}), delta["function_call"])
        return delta.get("content") or ""

    def _add_call(self, part: dict[str, Any], *, is_another: bool) -> None:
        """Servers tell calls apart by index, some by id alone: a part with a new id begins a new call. Two of one chunk are two."""
        known = [call for index, call in self._calls if index == part.get("index", index)]
        call = known[-1] if known else None
        if call is None or is_another or (part.get("id") and call["id"] and part["id"] != call["id"]):
            call = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            self._calls.append((part.get("index", len(self._calls)), call))
        call["id"] = part.get("id") or call["id"]
        _extend(call["function"], part.get("function") or {})

    def _add_reasoning_detail(self, detail: dict[str, Any]) -> None:
        details = self._message.setdefault("reasoning_details", [])
        same = next((known for known in details if "index" in known and known["index"] == detail.get("index")), None)
        if same is None or same.get("type") != detail.get("type"):
            details.append(dict(detail))
            return
        for name, value in detail.items():
            grows = name in ("text", "summary", "data") and isinstance(same.get(name), str) and isinstance(value, str)
            same[name] = same[name] + value if grows else (value if value is not None else same.get(name))

    def _add_thinking(self, block: dict[str, Any]) -> None:
        """Pieces of one block of thoughts come until its signature does."""
        blocks = self._message.setdefault("thinking_blocks", [])
        last = blocks[-1] if blocks else None
        if last is None or last.get("signature") or last.get("type") != block.get("type") or "thinking" not in last:
            blocks.append(dict(block))
            return
        last["thinking"] += block.get("thinking") or ""
        last |= {"signature": block["signature"]} if block.get("signature") else {}


def _extend(function: dict[str, Any], part: dict[str, Any]) -> None:
    """Take in a part of a call."""
    if (name := part.get("name") or "") != function["name"]:  # some servers say it in each part
        function["name"] += name
    arguments = part.get("arguments") or ""
    function["arguments"] += as_json(arguments) if isinstance(arguments, dict) else arguments
