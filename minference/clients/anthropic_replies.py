"""What an answer in Anthropic's dialect says, whole or put together from a stream. Pure, without the SDK."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from minference.clients.base import Reply, TokenUsage
from minference.clients.counts import Counts
from minference.clients.failures import describe
from minference.clients.halves import joined
from minference.clients.parsing import Name, Part, Understanding, as_json, other_reason, parse_json, read
from minference.clients.reasoning import kept_blocks
from minference.errors import InvalidReply, ProviderError
from minference.threads.messages import FinishReason, ToolCall

THINKING = ("thinking", "redacted_thinking")

_FINISH = {
    "end_turn": FinishReason.stop,
    "stop_sequence": FinishReason.stop,
    "max_tokens": FinishReason.length,
    "model_context_window_exceeded": FinishReason.length,
    "tool_use": FinishReason.tool_calls,
    "refusal": FinishReason.refusal,
}


class _Text(Part):
    text: str


class _Thinking(Part):
    thinking: str


class _ToolUse(Part):
    id: Name
    name: Name
    input: dict[str, JsonValue] | str
    """A string only from a stream that ended before the JSON did."""


class _Block(Part):
    type: str


class _StopDetails(Part):
    explanation: str | None = None


class _Answer(Part):
    model: str
    content: list[dict[str, Any]]
    stop_reason: str
    stop_details: _StopDetails | None = None


def read_answer(client: str, payload: dict[str, Any]) -> Reply:
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
    answer = read(client, payload, _Answer)
    types = [read(client, block, _Block).type for block in answer.content]
    texts = [read(client, block, _Text).text for block in answer.content if block["type"] == "text"]
    thoughts = [read(client, block, _Thinking).thinking for block in answer.content if block["type"] == "thinking"]
    calls = tuple(_call(read(client, block, _ToolUse)) for block in answer.content if block["type"] == "tool_use")
    said = joined("".join(texts))
    reason = _FINISH.get(answer.stop_reason) or other_reason(client, answer.stop_reason, whole=bool(said or calls))
    refusal = _refusal(answer, said) if reason is FinishReason.refusal else None
    return Reply(
        content="" if refusal == said else said,
        model=answer.model,
        finish_reason=reason,
        tool_calls=calls,
        usage=usage,
        reasoning="".join(thoughts) or None,
        reasoning_json=_blocks_to_keep(client, answer.content, types),
        refusal=refusal,
    )


def _refusal(answer: _Answer, said: str) -> str:
    """Why the model declined: explained by the provider, or in its own words."""
    return (answer.stop_details and answer.stop_details.explanation) or said or "declined without a word"


def _call(block: _ToolUse) -> ToolCall:
    written = block.input if isinstance(block.input, str) else as_json(block.input)
    return ToolCall(id=block.id, name=block.name, arguments_json=written)


def _blocks_to_keep(client: str, blocks: list[dict[str, Any]], types: list[str]) -> str | None:
    """The thinking blocks, to be sent back unchanged; all blocks if their order is not the usual one of thinking, text, calls."""
    usual = sorted(types, key=lambda kind: (*THINKING, "text", "tool_use").index(kind) // 2 if _is_known(kind) else -1)
    ordered = usual == types and all(map(_is_known, types)) and types.count("text") <= 1
    kept = [block for block in blocks if block["type"] in THINKING] if ordered else blocks
    return kept_blocks(client, kept)


def _is_known(kind: str) -> bool:
    return kind in (*THINKING, "text", "tool_use")


def read_usage(client: str, written: object) -> TokenUsage | None:
    """What was counted; `None` if that is not told whole."""
    counts = Counts(client, written)
    sent, completion = counts.of("input_tokens"), counts.of("output_tokens")
    cached, cache_written = counts.of("cache_read_input_tokens"), counts.of("cache_creation_input_tokens")
    if sent is None or completion is None or counts.odd:
        return None
    return TokenUsage(
        prompt=sent + (cached or 0) + (cache_written or 0),
        completion=completion,
        cached=cached,
        cache_written=cache_written,
        reasoning=counts.within("output_tokens_details").of("thinking_tokens"),
    )


class AnswerStream:
    """Puts the events of a stream together to the answer that would have come without streaming."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._answer: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, str] = {}

    @property
    def finished(self) -> bool:
        """Whether the model said why it ended; without that, the stream broke off."""
        return bool(self._answer.get("stop_reason"))

    @property
    def begun(self) -> bool:
        """Whether a part of the reply has come."""
        return bool(self._blocks)

    @property
    def usage(self) -> TokenUsage | None:
        """What was counted until now: the request, before the reply begins."""
        told = self._answer.get("usage")
        if not isinstance(told, dict):
            return None
        return read_usage(self._client, {**told, "output_tokens": told.get("output_tokens") or 0})

    def add(self, event: object) -> str:
        """Take in one event; the new text in it, or an empty string.

        Raises:
            InvalidReply: The event is not what the dialect promises.
        """
        try:
            return self._add(event)
        except Exception as error:  # whatever it is, an event of the promised shape raises nothing
            raise InvalidReply(self._client, f"streamed {describe(event)}, which is no event of a message", status=200) from error

    def payload(self) -> dict[str, Any]:
        """The answer as it would have come in one piece; arguments that were cut off stay text.

        Raises:
            InvalidReply: The blocks do not make one.
        """
        try:
            with Understanding(self._client):
                return self._payload()
        except InvalidReply as error:
            error.usage = self.usage
            raise

    def _payload(self) -> dict[str, Any]:
        for index, written in self._inputs.items():
            self._blocks[index]["input"] = _arguments(written)
        usage = self._answer.get("usage") or None  # nothing was counted
        return {**self._answer, "usage": usage, "content": [self._blocks[index] for index in sorted(self._blocks)]}

    def _add(self, event: Any) -> str:
        match event["type"]:
            case "message_start":
                self._answer = dict(event["message"])
            case "content_block_start":
                self._blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                return self._add_delta(event["index"], event["delta"])
            case "message_delta":
                self._answer |= event["delta"]
                self._count(event.get("usage"))
        return ""

    def _count(self, usage: object) -> None:
        """Later counts take the place of earlier ones."""
        known = self._answer.get("usage")
        if isinstance(usage, dict) and isinstance(known, dict):
            usage = known | {name: count for name, count in usage.items() if count is not None}
        self._answer["usage"] = usage or known

    def _add_delta(self, index: int, delta: dict[str, Any]) -> str:
        block = self._blocks[index]
        match delta["type"]:
            case "text_delta":
                block["text"] += delta["text"]
                return str(delta["text"])
            case "input_json_delta":
                self._inputs[index] = self._inputs.get(index, "") + delta["partial_json"]
            case "thinking_delta":
                block["thinking"] += delta["thinking"]
            case "signature_delta":
                block["signature"] = delta["signature"]
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        return ""


def _arguments(written: str) -> dict[str, Any] | str:
    try:
        parsed = parse_json(joined(written or "{}"))
    except ValueError:
        return written
    return parsed if isinstance(parsed, dict) else written
